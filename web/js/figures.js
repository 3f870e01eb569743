/** Milliseconds of the clicks, and requests made since the page was loaded. */

const KEPT = 1000;

export class Figures {
  constructor() {
    this.clear();
    this.requests = 0;
    // Every request of the page is listed by the browser; those until now loaded it.
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

  /** Nothing is sent without a request; what one would carry the browser does not tell. */
  get sent() {
    return this.requests === 0 ? "0" : `${this.requests} requests`;
  }
}
