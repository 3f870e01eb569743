/** The graphs of an artifact, run over one user's state: clicks to user vectors. Mirrors device/reader.py. */

// Clicks of a history that are read at once by a model that reads any number.
const AT_ONCE = 1024;

export class Reader {
  constructor(artifact) {
    this.artifact = artifact;
    this.recurrent = artifact.initialState !== null;
    this.state = this.recurrent ? this.#start() : null;
    this.unread = null; // clicks that were read without making their state, which few ask for
  }

  /** User vector after one more click on `row`, `clicks` having been read. A failed call leaves the state as it was. */
  async click(row, clicks) {
    const { miniBatch } = this.artifact;
    const feed = { item: this.#tensor([row]), state: await this.#current() };
    if (miniBatch) {
      const slot = clicks % miniBatch;
      if (clicks && slot === 0) feed.state = await this.#fold(feed.state);
      feed.slot = whole(this.artifact, slot);
    }
    const { user, state_after } = await this.#run("step", feed);
    const result = finite(user);
    this.state = state_after;
    return result;
  }

  /** User vector after the clicks `rows` and no others; their state becomes the state. */
  async fromStart(rows) {
    const { graphs, window } = this.artifact;
    if (!this.recurrent) return finite((await this.#run("prefill", { items: this.#tensor(rows) })).user);
    if (graphs.window && rows.length === window) {
      const user = finite((await this.#run("window", { items: this.#tensor(rows) })).user);
      this.unread = rows;
      return user;
    }
    return this.#read(rows, 0, this.#start());
  }

  /** User vector after the clicks `rows`, `clicks` having been read before. */
  async goOn(rows, clicks) {
    return this.#read(rows, clicks, await this.#current());
  }

  /** User vector of the last click, on `row`, with a correction; `clicks` are those that the state was made of. */
  async correct(row, clicks, { attention, bias }) {
    const { artifact } = this;
    const shapes = artifact.manifest.correction;
    const feed = {
      item: this.#tensor([row]),
      state: await this.#current(),
      slot: whole(artifact, (clicks - 1) % artifact.miniBatch),
      attention: artifact.tensor("float32", attention, shapes.attention),
      bias: artifact.tensor("float32", bias, shapes.bias),
    };
    return finite((await artifact.graphs.correct.run(feed)).user);
  }

  /** The state of the clicks that were read, as numbers; empty for a model without one. */
  async numbers() {
    return this.recurrent ? (await this.#current()).data : new Float32Array(0);
  }

  /** Go on from a state of before. */
  restore(state) {
    if (this.recurrent) this.state = this.artifact.tensor("float32", state, this.artifact.stateShape);
    this.unread = null;
  }

  async #current() {
    if (this.unread) await this.#read(this.unread, 0, this.#start());
    return this.state;
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
        feed.start = whole(this.artifact, start);
        feed.stop = whole(this.artifact, start + part.length);
      }
      ({ user, state_after: state } = await this.#run("prefill", feed));
      at += part.length;
    }
    const result = finite(user);
    this.state = state;
    this.unread = null;
    return result;
  }

  async #fold(state) {
    return (await this.#run("fold", { state })).state_after;
  }

  #run(name, feed) {
    return this.artifact.graphs[name].run(feed);
  }

  #start() {
    return this.artifact.tensor("float32", this.artifact.initialState.slice(), this.artifact.stateShape);
  }

  #tensor(rows, length = rows.length) {
    const { items, width } = this.artifact;
    return this.artifact.tensor("float32", items.vectors(rows, length), [length, width]);
  }
}

function whole(artifact, number) {
  return artifact.tensor("int64", BigInt64Array.of(BigInt(number)), []);
}

function finite(tensor) {
  if (!tensor.data.every(Number.isFinite)) throw new Error("the item table is damaged: a user vector is not finite");
  return tensor.data;
}
