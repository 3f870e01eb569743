/** One user's clicks, and what the model makes of them. Mirrors device/session.py. */

import { best } from "./ranking.js";
import { Reader } from "./reader.js";
import { Turns } from "./turns.js";

export class Session {
  /** `policy` is "window" or "carry": what becomes of clicks older than the window; the artifact's, if left out. */
  constructor(artifact, policy = artifact.manifest.policy) {
    if (policy !== "window" && policy !== "carry") throw new Error(`policy is ${policy}; it must be carry or window`);
    this.artifact = artifact;
    this.policy = policy;
    this.clicks = 0;
    this.recent = []; // rows of the last clicks, at most as many as the window holds
    this.reader = new Reader(artifact);
    this.user = null;
    this.turns = new Turns(); // a click needs the state that the one before it left
    if (!this.reader.recurrent && policy !== "window") throw new Error("this model keeps no state: policy is window");
  }

  /** Read one click. False for an item that is not in the catalogue: nothing has changed then. */
  async click(token) {
    const row = this.artifact.vocabulary.row(token);
    if (row) await this.turns.run(() => this.#readOne(row));
    return row !== 0;
  }

  /** Read many clicks at once, after those already read; returns the tokens that are not in the catalogue. */
  async history(tokens) {
    const { vocabulary } = this.artifact;
    const rows = tokens.map((token) => vocabulary.row(token)).filter(Boolean);
    if (rows.length) await this.turns.run(() => this.#readMany(rows));
    return [...new Set(tokens.filter((token) => !vocabulary.row(token)))];
  }

  /** The best `k` items of the whole catalogue, but those of `exclude`: [{token, score}], best first. */
  rankAll(k = 10, exclude = []) {
    if (!(Number.isInteger(k) && k >= 1)) throw new Error(`k is ${k}; it must be a whole number from 1 on`);
    if (!this.clicks) throw new Error("the session has read no click yet; click or history comes first");
    const { targets, vocabulary } = this.artifact;
    const out = new Set([0, ...exclude.map((token) => vocabulary.row(token))]);
    const scores = targets.allScores(this.user);
    return best(scores, k, out).map((row) => ({ token: vocabulary.token(row), score: scores[row] }));
  }

  async #readOne(row) {
    const recent = [...this.recent, row].slice(-this.artifact.window);
    const alone = this.reader.recurrent && (this.policy === "carry" || this.clicks < this.artifact.window);
    this.user = alone ? await this.reader.click(row, this.clicks) : await this.reader.fromStart(recent);
    this.recent = recent;
    this.clicks += 1;
  }

  async #readMany(rows) {
    const recent = [...this.recent, ...rows].slice(-this.artifact.window);
    const on = this.reader.recurrent && this.policy === "carry";
    this.user = on ? await this.reader.goOn(rows, this.clicks) : await this.reader.fromStart(recent);
    this.recent = recent;
    this.clicks += rows.length;
  }
}
