/** One user's clicks, and what the model makes of them. Mirrors device/session.py. */

import { decoded } from "./correction.js";
import { fuse } from "./evidence.js";
import { RunningScores } from "./neighbours.js";
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
    this.corrected = false; // whether rankings use a correction; the next click ends that
    this.recent = []; // rows of the last clicks, at most as many as the window holds
    this.neighbourScores = artifact.neighbours && new RunningScores(artifact.neighbours, artifact.manifest.neighbours);
    this.reader = new Reader(artifact);
    this.user = null; // what rankings are made with
    this.alone = null; // the same without a correction
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
    const own = targets.allScores(this.user);
    const scores = this.neighbourScores ? this.#withNeighbours(own, Array.from(own.keys())) : own;
    return best(scores, k, out).map((row) => ({ token: vocabulary.token(row), score: scores[row] }));
  }

  /**
   * The best `k` of `candidates`, but those of `exclude`. `evidence` is the cloud's: {scores: a map by token, clicks,
   * corrector}; a candidate without a score counts 0. It takes the place of the neighbour table's.
   */
  rank(candidates, k, exclude = [], evidence = null) {
    if (!this.clicks) throw new Error("the session has read no click yet; click or history comes first");
    const { targets, vocabulary } = this.artifact;
    const out = new Set(exclude);
    const tokens = [...new Set(candidates)].filter((token) => vocabulary.row(token) && !out.has(token));
    const rows = tokens.map((token) => vocabulary.row(token));
    let scores = targets.scores(this.user, rows);
    if (evidence) scores = this.#withEvidence(scores, tokens, evidence);
    else if (this.neighbourScores) scores = this.#withNeighbours(scores, rows);
    return best(scores, k, new Set()).map((place) => ({ token: tokens[place], score: scores[place] }));
  }

  #withNeighbours(scores, rows) {
    const p = rows.map((row) => this.neighbourScores.at(row));
    return fuse(scores, p, this.clicks, this.artifact.manifest.neighbours);
  }

  #withEvidence(scores, tokens, { scores: given, clicks, corrector }) {
    const { trust } = this.artifact.manifest;
    if (!trust) throw new Error("the artifact has no trust in item-item scores");
    if (corrector !== trust.corrector) throw new Error("the scores are of another corrector than the artifact's");
    if (!(Number.isInteger(clicks) && clicks >= 0 && clicks <= this.clicks)) {
      throw new Error(`the scores are of ${clicks} clicks, and the session has read ${this.clicks}`);
    }
    const cloud = tokens.map((token) => given.get(token) ?? 0);
    if (!cloud.every(Number.isFinite)) throw new Error("a score of the cloud is not finite");
    return fuse(scores, cloud, clicks, trust);
  }

  /** X of the last clicks, at most as many as the window holds, oldest first, and which clicks they are of. */
  hiddenStates() {
    this.#checkCorrectable();
    const { items, width, uploadNorm, manifest } = this.artifact;
    const x = items.vectors(this.recent);
    for (let start = 0; start < x.length; start += width) {
      const row = x.subarray(start, start + width);
      const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + manifest.norm_eps);
      row.forEach((v, i) => (row[i] = (v / norm) * uploadNorm[i]));
    }
    if (!x.every(Number.isFinite)) throw new Error("the item table is damaged: a hidden state is not finite");
    return { rows: x, clicks: this.clicks, fingerprint: manifest.fingerprint };
  }

  /**
   * Use a correction until the next click: `body` is A^ and then B^ as float32, made of the hidden states of `clicks`
   * by the model of `fingerprint`. One that does not fit is an error, and the session goes on as it was.
   */
  apply(body, clicks, fingerprint) {
    return this.turns.run(async () => {
      this.#checkCorrectable();
      const { manifest } = this.artifact;
      if (fingerprint !== manifest.fingerprint) throw new Error("the correction was made by another model");
      const correction = decoded(body, manifest.correction);
      if (clicks !== this.clicks) {
        throw new Error(`the correction is of ${clicks} clicks, and the session has read ${this.clicks}`);
      }
      const place = this.policy === "carry" ? this.clicks : Math.min(this.clicks, this.artifact.window);
      this.user = await this.reader.correct(this.recent.at(-1), place, correction);
      this.corrected = true;
    });
  }

  /** Rank without a correction that was applied. */
  withoutCorrection() {
    this.user = this.alone;
    this.corrected = false;
  }

  #checkCorrectable() {
    if (!this.artifact.manifest.correction) throw new Error(`this ${this.artifact.manifest.model.name} takes no correction`);
    if (!this.clicks) throw new Error("the session has read no click yet; click or history comes first");
  }

  async #readOne(row) {
    this.neighbourScores?.check(row);
    const recent = [...this.recent, row].slice(-this.artifact.window);
    const alone = this.reader.recurrent && (this.policy === "carry" || this.clicks < this.artifact.window);
    this.alone = alone ? await this.reader.click(row, this.clicks) : await this.reader.fromStart(recent);
    this.user = this.alone;
    this.recent = recent;
    this.neighbourScores?.add(row);
    this.clicks += 1;
    this.corrected = false;
  }

  async #readMany(rows) {
    rows.forEach((row) => this.neighbourScores?.check(row));
    const recent = [...this.recent, ...rows].slice(-this.artifact.window);
    const on = this.reader.recurrent && this.policy === "carry";
    this.alone = on ? await this.reader.goOn(rows, this.clicks) : await this.reader.fromStart(recent);
    this.user = this.alone;
    this.recent = recent;
    this.neighbourScores?.start([...this.neighbourScores.rows, ...rows]);
    this.clicks += rows.length;
    this.corrected = false;
  }
}
