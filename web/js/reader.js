/** The graphs of an artifact, run over one user's state: clicks to user vectors. Mirrors device/reader.py. */

import { Tensor } from "../runtime/ort.wasm.bundle.min.mjs";

// Clicks of a history that are read at once by a model that reads any number.
const AT_ONCE = 1024;

export class Reader {
  constructor(artifact) {
    this.artifact = artifact;
    this.recurrent = artifact.initialState !== null;
    this.state = this.recurrent ? this.#start() : null;
  }

  /** User vector after one more click on `row`, `clicks` having been read. A failed call leaves the state as it was. */
  async click(row, clicks) {
    const { miniBatch } = this.artifact;
    const feed = { item: this.#tensor([row]), state: this.state };
    if (miniBatch) {
      const slot = clicks % miniBatch;
      if (clicks && slot === 0) feed.state = await this.#fold(this.state);
      feed.slot = whole(slot);
    }
    const { user, state_after } = await this.#run("step", feed);
    const result = finite(user);
    this.state = state_after;
    return result;
  }

  /**
   * User vector after the clicks `rows` and no others. `window` makes no state: a session that reads as many clicks
   * as the window holds reads windows from then on.
   */
  async fromStart(rows) {
    const { graphs, window } = this.artifact;
    if (!this.recurrent) return finite((await this.#run("prefill", { items: this.#tensor(rows) })).user);
    if (graphs.window && rows.length === window) {
      return finite((await this.#run("window", { items: this.#tensor(rows) })).user);
    }
    return this.#read(rows, 0, this.#start());
  }

  /** User vector after the clicks `rows`, `clicks` having been read before. */
  goOn(rows, clicks) {
    return this.#read(rows, clicks, this.state);
  }

  async #read(rows, clicks, state) {
    const { miniBatch } = this.artifact;
    let user;
    for (let at = 0; at < rows.length; ) {
      const start = miniBatch ? (clicks + at) % miniBatch : 0;
      const part = rows.slice(at, at + (miniBatch ? miniBatch - start : AT_ONCE));
      const feed = { state, items: this.#tensor(part) };
      if (miniBatch) {
        if (start === 0 && clicks + at) feed.state = await this.#fold(state);
        // Laid on the rows of their slots; row 0 of the table, padding, fills those that are not read.
        const grid = [...Array(start).fill(0), ...part];
        feed.items = this.#tensor(grid, miniBatch);
        feed.start = whole(start);
        feed.stop = whole(start + part.length);
      }
      ({ user, state_after: state } = await this.#run("prefill", feed));
      at += part.length;
    }
    const result = finite(user);
    this.state = state;
    return result;
  }

  async #fold(state) {
    return (await this.#run("fold", { state })).state_after;
  }

  #run(name, feed) {
    return this.artifact.graphs[name].run(feed);
  }

  #start() {
    return new Tensor("float32", this.artifact.initialState.slice(), this.artifact.stateShape);
  }

  #tensor(rows, length = rows.length) {
    const { items, width } = this.artifact;
    return new Tensor("float32", items.vectors(rows, length), [length, width]);
  }
}

function whole(number) {
  return new Tensor("int64", BigInt64Array.of(BigInt(number)), []);
}

function finite(tensor) {
  if (!tensor.data.every(Number.isFinite)) throw new Error("the item table is damaged: a user vector is not finite");
  return tensor.data;
}
