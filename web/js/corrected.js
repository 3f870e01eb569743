/** A session with the cloud: asks after a click, waits as long as allowed, ranks. Mirrors cloud/session.py. */

import { CORRECTED, LATE, REFUSED } from "./cloud.js";
import { shapeName } from "./correction.js";

export class Corrected {
  /** `session` is of a model that takes corrections; `cloud` is whom to ask. */
  constructor(session, cloud) {
    this.session = session;
    this.cloud = cloud;
    this.pending = null;
  }

  /**
   * Ask for a correction of the clicks that were read, and use it if it is there by the deadline. Returns what became
   * of it. One that is not known by then is `late`, and `later` is called once it is, unless there was a click.
   */
  async correct(later) {
    this.cancel();
    const asked = this.session.hiddenStates();
    const headers = {
      "Content-Type": "application/octet-stream",
      "X-Fingerprint": asked.fingerprint,
      "X-Clicks": String(asked.clicks),
    };
    const pending = this.cloud.ask("v1/correct", headers, asked.rows);
    this.pending = pending;
    const answer = await pending.within(this.cloud.deadline);
    if (answer) return this.#used(answer);
    pending.answer.then((late) => this.#isOf(pending) && later(() => this.#isOf(pending) && this.#used(late)));
    return { status: LATE, reason: "no answer in time", upload: pending.upload, download: 0 };
  }

  /** Give up what is on its way. */
  cancel() {
    this.pending?.cancel();
    this.pending = null;
  }

  #isOf(pending) {
    return this.pending === pending;
  }

  async #used(answer) {
    if (answer.status !== CORRECTED) return answer;
    const { content, headers, ...told } = answer;
    try {
      if (headers.get("X-Shape") !== shapeName(this.session.artifact.manifest.correction)) {
        throw new Error("the correction has another shape than this model reads");
      }
      await this.session.apply(content, Number(headers.get("X-Clicks") ?? NaN), headers.get("X-Fingerprint"));
      return told;
    } catch (error) {
      return { ...told, status: REFUSED, reason: error.message };
    }
  }
}
