/** What a session computes, in rows of the item table: by the artifact's graphs, for every model. Mirrors device/engine.py. */

import { fuse } from "./evidence.js";
import { RunningScores } from "./neighbours.js";
import { best } from "./ranking.js";
import { Reader } from "./reader.js";
import { mostRecent } from "./state.js";

/** A call that fails leaves everything as it was. */
export class OnnxEngine {
  constructor(artifact, policy) {
    this.artifact = artifact;
    this.policy = policy;
    this.clicks = 0;
    this.user = new Float32Array(artifact.width); // what rankings are made with
    this.rows = []; // of the last clicks
    this.most = mostRecent(artifact.manifest); // of them
    this.neighbourScores = artifact.neighbours && new RunningScores(artifact.neighbours, artifact.manifest.neighbours);
    this.reader = new Reader(artifact);
  }

  /** Read one click. */
  async click(row) {
    this.neighbourScores?.check(row);
    const rows = [...this.rows, row].slice(-this.most);
    const alone = this.reader.recurrent && (this.policy === "carry" || this.clicks < this.artifact.window);
    this.user = alone ? await this.reader.click(row, this.clicks) : await this.reader.fromStart(rows.slice(-this.artifact.window));
    this.rows = rows;
    this.neighbourScores?.add(row);
    this.clicks += 1;
  }

  /** Read many clicks, after those already read. */
  async read(rows) {
    rows.forEach((row) => this.neighbourScores?.check(row));
    const recent = [...this.rows, ...rows].slice(-this.most);
    const on = this.reader.recurrent && this.policy === "carry";
    this.user = on ? await this.reader.goOn(rows, this.clicks) : await this.reader.fromStart(recent.slice(-this.artifact.window));
    this.rows = recent;
    this.neighbourScores?.start([...this.neighbourScores.rows, ...rows]);
    this.clicks += rows.length;
  }

  /** Rows of the last clicks that are kept, oldest first. */
  recent() {
    return this.rows;
  }

  /** Scores of some rows, with those of the neighbour table or without. */
  scores(rows, neighbours) {
    const scores = this.artifact.targets.scores(this.user, rows);
    return neighbours && this.neighbourScores ? this.#withNeighbours(scores, rows) : scores;
  }

  /** The catalogue's best, at most `k`: [[row, score]]. */
  best(k, exclude) {
    const own = this.artifact.targets.allScores(this.user);
    const scores = this.neighbourScores ? this.#withNeighbours(own, Array.from(own.keys())) : own;
    return best(scores, k, new Set([0, ...exclude])).map((row) => [row, scores[row]]);
  }

  /** The model's state. */
  state() {
    return this.reader.numbers();
  }

  /** Go on from what was saved. */
  restore({ clicks, recent, user, state }) {
    recent.forEach((row) => this.neighbourScores?.check(row));
    this.neighbourScores?.start(recent);
    Object.assign(this, { clicks, user, rows: recent });
    this.reader.restore(state);
  }

  /** Correct the user vector, until the next click. */
  async correct(correction) {
    const { policy, clicks, artifact } = this;
    const read = policy === "carry" ? clicks : Math.min(clicks, artifact.window); // what the state was made of
    this.user = await this.reader.correct(this.rows.at(-1), read, correction);
  }

  #withNeighbours(scores, rows) {
    const p = rows.map((row) => this.neighbourScores.at(row));
    return fuse(scores, p, this.clicks, this.artifact.manifest.neighbours);
  }
}
