/** Milliseconds of the clicks, and requests made since the page was loaded. */

const KEPT = 1000;

export class Figures {
  constructor() {
    this.clear();
    this.requests = 0;
    // The browser lists every request that has ended; those until now loaded the page.
    const started = performance.now();
    this.observer = new PerformanceObserver((list) => {
      this.requests += list.getEntries().filter((entry) => entry.startTime > started).length;
    });
    this.observer.observe({ type: "resource" });
  }

  took(milliseconds) {
    this.times = [...this.times, milliseconds].slice(-KEPT);
  }

  clear() {
    this.times = [];
  }

  get last() {
    return this.times.at(-1);
  }

  get median() {
    const sorted = this.times.toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  /** Nothing is sent without a request; how much one carried the browser does not tell. */
  get sent() {
    if (this.requests === 0) return "0";
    return this.requests === 1 ? "in 1 request" : `in ${this.requests} requests`;
  }
}
