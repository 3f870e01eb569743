/** A session with the cloud: asks after a click, waits as long as allowed, ranks. Mirrors cloud/session.py. */

import { CORRECTED, LATE, REFUSED } from "./cloud.js";

export class Corrected {
  /** `session` is the device's; `cloud` is whom to ask, `method`, of METHODS, for what. */
  constructor(session, cloud, method) {
    this.session = session;
    this.cloud = cloud;
    this.method = method;
    this.request = null; // {asked, log, pending} of the last clicks
  }

  /** Ask for the clicks that were read, `log`; returns at once. */
  ask(log) {
    this.cancel();
    this.session.withoutCorrection();
    const asked = this.method.request(this.session, log);
    this.request = { asked, log: [...log], pending: this.cloud.ask(asked.path, asked.headers, asked.body) };
  }

  /**
   * Wait for the answer until the deadline, and use it. Returns what became of it: {status, reason, upload, download,
   * milliseconds} and, if it is corrected, `ranked`, the `k` best tokens; null if it was given up.
   *
   * What is not known by then is `late`; `later` is called once it is, unless a click came between, with a function
   * that uses it, or gives null if one came since.
   */
  async rank(k, later) {
    const { request } = this;
    const use = (answer) => (this.request === request ? this.#used(request, answer, k) : null);
    const answer = await request.pending.within(this.cloud.deadline);
    if (answer) return use(answer);
    request.pending.answer.then((late) => this.request === request && later(() => use(late)));
    return { status: LATE, reason: "no answer in time", upload: request.pending.upload, download: 0 };
  }

  /** Give up what is on its way. */
  cancel() {
    this.request?.pending.cancel();
    this.request = null;
  }

  async #used({ asked, log }, answer, k) {
    if (answer.status !== CORRECTED) return answer;
    const { content, headers, ...told } = answer;
    try {
      const ranked = await this.method.rank(this.session, asked, content, headers, k, log);
      return { ...told, ranked: ranked.map((item) => item.token) };
    } catch (error) {
      return { ...told, status: REFUSED, reason: error.message };
    }
  }
}
