/** Work that waits for the work before it: what is asynchronous still happens one after another. */

export class Turns {
  constructor() {
    this.last = Promise.resolve();
  }

  /** Run `work` once all earlier work has ended; returns what it returns, or fails as it fails. */
  run(work) {
    const done = this.last.then(work);
    this.last = done.catch(() => {}); // the caller is told; those who wait go on
    return done;
  }
}
