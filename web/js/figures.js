/** Milliseconds of the clicks, and requests made since the page was loaded. */

const KEPT = 1000;
// Requests whose bytes the page has counted itself, and the icon, which a browser fetches when it likes.
const NOT_COUNTED = ["/v1/", "/icon.svg"];

const isKnown = ({ pathname, search }) => !search && NOT_COUNTED.some((start) => pathname.startsWith(start));

export class Figures {
  constructor() {
    this.clear();
    this.requests = 0; // other ones
    // The browser lists every request that has ended; those until now loaded the page.
    const started = performance.now();
    this.observer = new PerformanceObserver((list) => {
      const other = ({ name, startTime }) => startTime > started && !isKnown(new URL(name));
      this.requests += list.getEntries().filter(other).length;
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

  /** `uploaded` bytes went to the cloud. Nothing else is sent without a request; how much one carried is not told. */
  sent(uploaded) {
    const bytes = uploaded.toLocaleString("en");
    if (this.requests === 0) return bytes;
    const others = this.requests === 1 ? "in 1 request" : `in ${this.requests} requests`;
    return uploaded ? `${bytes} + ${others}` : others;
  }
}
