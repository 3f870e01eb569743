/** One user's clicks, and what the model makes of them. Mirrors device/session.py. */

import { Artifact } from "./artifact.js";
import { decoded } from "./correction.js";
import { fuse } from "./evidence.js";
import { NativeEngine } from "./native.js";
import { OnnxEngine } from "./onnx_engine.js";
import { best } from "./ranking.js";
import { packed, unpacked } from "./state.js";
import { Turns } from "./turns.js";

/**
 * @typedef {object} Ranked
 * @property {string} token The item.
 * @property {number} score Its score.
 */

/**
 * @typedef {object} Evidence The cloud's item-item scores.
 * @property {Map<string, number>} scores By token; a candidate without a score counts 0.
 * @property {number} clicks How many clicks they are of.
 * @property {string} corrector Fingerprint of what made them.
 */

const NO_CLICK = "the session has read no click yet; click or history comes first";

export class Session {
  /** @type {Artifact} */
  artifact;
  /**
   * What becomes of clicks older than the window.
   * @type {"window" | "carry"}
   */
  policy;
  /** Whether rankings use a correction; the next click ends that. */
  corrected = false;

  #engine;
  #alone = null; // the user vector without the correction that is used
  #turns = new Turns(); // a click needs the state that the one before it left

  /**
   * @param {Artifact} artifact
   * @param {"window" | "carry"} [policy] The artifact's, if left out.
   */
  constructor(artifact, policy = artifact.manifest.policy) {
    if (policy !== "window" && policy !== "carry") throw new Error(`policy is ${policy}; it must be carry or window`);
    if (artifact.initialState === null && policy !== "window") {
      throw new Error("this model keeps no state: policy is window");
    }
    this.artifact = artifact;
    this.policy = policy;
    this.#engine = artifact.native ? new NativeEngine(artifact, policy) : new OnnxEngine(artifact, policy);
  }

  /**
   * Fetch an artifact, and open a session on it.
   *
   * @param {URL | string} folder The artifact's address.
   * @param {object} [options]
   * @param {"window" | "carry"} [options.policy]
   * @param {ArrayBuffer} [options.state] What {@link save} gave, here or in Python, to go on from.
   * @param {"native" | "onnx"} [options.runtime]
   * @param {() => Promise<any>} [options.onnx] As in {@link Artifact.fetch}.
   * @returns {Promise<Session>}
   */
  static async open(folder, { policy, state, ...options } = {}) {
    const session = new Session(await Artifact.fetch(folder, options), policy);
    if (state !== undefined) await session.#restore(state);
    return session;
  }

  /** Known clicks read so far. */
  get clicks() {
    return this.#engine.clicks;
  }

  /**
   * User vector after the last click, a copy.
   * @returns {Float32Array}
   */
  get userVector() {
    this.#checkClicked();
    return this.#engine.user.slice();
  }

  /**
   * Read one click.
   *
   * @param {string} token
   * @returns {Promise<boolean>} False for an item that is not in the catalogue: nothing has changed then.
   */
  async click(token) {
    const row = this.artifact.vocabulary.row(token);
    if (row) await this.#read(() => this.#engine.click(row));
    return row !== 0;
  }

  /**
   * Read many clicks at once, after those already read.
   *
   * @param {string[]} tokens Oldest first.
   * @returns {Promise<string[]>} Those that are not in the catalogue, each once; they were left out.
   */
  async history(tokens) {
    const { vocabulary } = this.artifact;
    const rows = tokens.map((token) => vocabulary.row(token)).filter(Boolean);
    if (rows.length) await this.#read(() => this.#engine.read(rows));
    return [...new Set(tokens.filter((token) => !vocabulary.row(token)))];
  }

  /**
   * The best items of the whole catalogue.
   *
   * @param {number} [k] How many, at most.
   * @param {string[]} [exclude] Items to leave out.
   * @param {object} [options]
   * @param {boolean} [options.neighbours] Whether the artifact's neighbour table, where it has one, adds its scores.
   * @returns {Ranked[]} Best first.
   */
  rankAll(k = 10, exclude = [], { neighbours = true } = {}) {
    if (!neighbours) return this.#rankAlone(k, exclude);
    checkPlaces(k);
    this.#checkClicked();
    const { vocabulary } = this.artifact;
    const out = exclude.map((token) => vocabulary.row(token)).filter(Boolean);
    return this.#engine.best(k, out).map(([row, score]) => ({ token: vocabulary.token(row), score }));
  }

  #rankAlone(k, exclude) {
    checkPlaces(k);
    this.#checkClicked();
    const { vocabulary } = this.artifact;
    const out = new Set(exclude);
    const tokens = vocabulary.tokens.slice(1).filter((token) => !out.has(token));
    const scores = this.#engine.scores(tokens.map((token) => vocabulary.row(token)), false);
    return best(scores, k, new Set()).map((place) => ({ token: tokens[place], score: scores[place] }));
  }

  /**
   * The best of some candidates.
   *
   * @param {string[]} candidates
   * @param {number} k How many, at most.
   * @param {string[]} [exclude] Items to leave out.
   * @param {Evidence | null} [evidence] Takes the place of the scores of the artifact's neighbour table.
   * @returns {Ranked[]} Best first.
   */
  rank(candidates, k, exclude = [], evidence = null) {
    checkPlaces(k);
    this.#checkClicked();
    const { vocabulary } = this.artifact;
    const out = new Set(exclude);
    const tokens = [...new Set(candidates)].filter((token) => vocabulary.row(token) && !out.has(token));
    const rows = tokens.map((token) => vocabulary.row(token));
    let scores = this.#engine.scores(rows, !evidence);
    if (evidence) scores = this.#withEvidence(scores, tokens, evidence);
    return best(scores, k, new Set()).map((place) => ({ token: tokens[place], score: scores[place] }));
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

  /**
   * X of the last clicks, at most as many as the window holds, oldest first, and which clicks they are of.
   *
   * @returns {{rows: Float32Array, clicks: number, fingerprint: string}}
   */
  hiddenStates() {
    this.#checkCorrectable();
    const { items, width, window, uploadNorm, manifest } = this.artifact;
    const x = items.vectors(this.#engine.recent().slice(-window));
    for (let start = 0; start < x.length; start += width) {
      const row = x.subarray(start, start + width);
      const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + manifest.norm_eps);
      row.forEach((v, i) => (row[i] = (v / norm) * uploadNorm[i]));
    }
    if (!x.every(Number.isFinite)) throw new Error("the item table is damaged: a hidden state is not finite");
    return { rows: x, clicks: this.clicks, fingerprint: manifest.fingerprint };
  }

  /**
   * Use a correction until the next click. One that does not fit is an error, and the session goes on as it was.
   *
   * @param {ArrayBuffer} body A^ and then B^, float32.
   * @param {number} clicks How many clicks its hidden states were of.
   * @param {string | null} fingerprint Of the model that made it.
   * @returns {Promise<void>}
   */
  apply(body, clicks, fingerprint) {
    return this.#turns.run(async () => {
      this.#checkCorrectable();
      const { manifest } = this.artifact;
      if (fingerprint !== manifest.fingerprint) throw new Error("the correction was made by another model");
      const correction = decoded(body, manifest.correction);
      if (clicks !== this.clicks) {
        throw new Error(`the correction is of ${clicks} clicks, and the session has read ${this.clicks}`);
      }
      const alone = this.#alone ?? this.#engine.user;
      await this.#engine.correct(correction);
      this.#alone = alone;
      this.corrected = true;
    });
  }

  /** Rank without a correction that was applied. */
  withoutCorrection() {
    if (this.#alone) this.#engine.user = this.#alone;
    this.#alone = null;
    this.corrected = false;
  }

  /**
   * What a state file of the Python package holds; either package goes on from what the other one saved.
   *
   * @returns {Promise<ArrayBuffer>}
   */
  save() {
    return this.#turns.run(async () => {
      const engine = this.#engine;
      const { clicks, user } = engine;
      const snapshot = { policy: this.policy, corrected: this.corrected, clicks, user };
      return packed(this.artifact, { ...snapshot, recent: engine.recent(), state: await engine.state() });
    });
  }

  async #restore(content) {
    const snapshot = await unpacked(this.artifact, content);
    if (snapshot.policy !== this.policy) {
      throw new Error(`the state was saved under the policy ${snapshot.policy}; this session's is ${this.policy}`);
    }
    this.#engine.restore(snapshot);
    this.corrected = snapshot.corrected;
  }

  async #read(work) {
    await this.#turns.run(work);
    this.#alone = null;
    this.corrected = false;
  }

  #checkClicked() {
    if (!this.clicks) throw new Error(NO_CLICK);
  }

  #checkCorrectable() {
    if (!this.artifact.manifest.correction) throw new Error(`this ${this.artifact.manifest.model.name} takes no correction`);
    this.#checkClicked();
  }
}

function checkPlaces(k) {
  if (!(Number.isInteger(k) && k >= 1)) throw new Error(`k is ${k}; it must be a whole number from 1 on`);
}
