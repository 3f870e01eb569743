/** CoCorrRec by the C library, in WebAssembly. Mirrors device/native_engine.py; cocorr_wasm.c says what each call does. */

import { bytes } from "./bytes.js";

// In the order of the first members of cocorr_parts (cocorr.h). Tokens are looked up in JavaScript.
const PARTS = [
  "native",
  ...["item_vectors", "item_scales", "target_vectors", "target_scales"],
  ...["token_bytes", "token_offsets", "token_index"],
  ...["neighbour_indptr", "neighbour_items", "neighbour_weights", "neighbour_scales"],
];
const TABLES = ["fp32", "fp16", "int8"];
const POLICIES = ["carry", "window"];

// Memory of sessions that nobody can reach any more is used again.
const unreachable = new FinalizationRegistry(({ model, session }) => model.unused.push(session));

let compiled = null; // once for all artifacts

/** An instance of the library, with memory of its own. */
async function instance() {
  compiled ??= bytes(new URL("cocorr.wasm", import.meta.url)).then((code) => WebAssembly.compile(code));
  const code = await compiled.catch((error) => {
    compiled = null; // the next one tries again
    throw error;
  });
  return (await WebAssembly.instantiate(code)).exports;
}

/** BLAKE2b of some bytes, sixteen of them. */
export async function digest(content) {
  const { memory, place, digest } = await instance();
  const [at, to] = [place(content.length), place(16)];
  if (!at || !to) throw new Error(`there is no memory for ${content.length} bytes more`);
  new Uint8Array(memory.buffer, at).set(content);
  digest(at, content.length, to);
  return new Uint8Array(memory.buffer, to, 16).slice();
}

/** Whether an artifact holds weights for the library and nothing that it does not know. */
export function runsNatively({ arrays }) {
  return Boolean(arrays.native) && !Object.keys(arrays).some((name) => name.startsWith("popular_"));
}

/** A model, opened: its arrays lie in WebAssembly's memory. Any number of engines share it. */
export class NativeModel {
  /** `arrays` are the contents of the files, ArrayBuffers by name; they are copied. */
  static async open(manifest, arrays) {
    return new NativeModel(await instance(), manifest, arrays);
  }

  constructor(calls, manifest, arrays) {
    this.calls = calls;
    this.unused = []; // memory of sessions that are gone
    this.scratch = { at: 0, numbers: 0 };
    PARTS.forEach((name, number) => {
      const content = arrays[name];
      if (!content?.byteLength || name.startsWith("token_")) return;
      const at = this.place(content.byteLength);
      new Uint8Array(calls.memory.buffer, at).set(new Uint8Array(content));
      calls.part(number, at, content.byteLength);
    });
    const { items, table, policy, probes, neighbours } = manifest;
    calls.settings(items, TABLES.indexOf(table), POLICIES.indexOf(policy), probes);
    if (neighbours) {
      const { count, clicks, decay, base, per_log_click, scale } = neighbours;
      calls.neighbours(count, clicks, decay, base, per_log_click, scale);
    }
    this.check(calls.open());
    const at = this.room(6);
    calls.sizes(at);
    const [width, window, miniBatch, , recent, state] = this.whole(at, 6);
    Object.assign(this, { width, recent, state });
    if (width !== manifest.width || window !== manifest.window || miniBatch !== manifest.mini_batch) {
      throw new Error("the sizes of the native weights are not those of the manifest");
    }
    this.sessionBytes = calls.session_bytes();
    if (!this.sessionBytes) throw new Error("a session would need more than 1 GiB");
  }

  /** The memory of a new session; it is used again when `owner` is gone. */
  session(policy, owner) {
    const session = this.unused.pop() ?? this.place(this.sessionBytes);
    this.check(this.calls.start(session, POLICIES.indexOf(policy)));
    unreachable.register(owner, { model: this, session });
    return session;
  }

  /** Raise what a status says. */
  check(status) {
    if (!status) return;
    const text = new Uint8Array(this.calls.memory.buffer, this.calls.message(status));
    throw new Error(new TextDecoder().decode(text.slice(0, text.indexOf(0))));
  }

  place(size) {
    const at = this.calls.place(size);
    if (!at) throw new Error(`there is no memory for ${size} bytes more`);
    return at;
  }

  /** Room for so many numbers of four bytes, until the next call asks for some. */
  room(numbers) {
    if (numbers > this.scratch.numbers) {
      const more = Math.max(numbers, 2 * this.scratch.numbers, 1024);
      this.scratch = { at: this.place(4 * more), numbers: more };
    }
    return this.scratch.at;
  }

  // Views are made anew each time: they end when the memory grows.
  whole = (at, count) => new Uint32Array(this.calls.memory.buffer, at, count);
  floats = (at, count) => new Float32Array(this.calls.memory.buffer, at, count);
}

/** What a session computes, in rows of the item table; a call that fails leaves everything as it was. */
export class NativeEngine {
  constructor(artifact, policy) {
    this.artifact = artifact;
    this.policy = policy;
    this.clicks = 0;
    this.model = artifact.native;
    this.session = this.model.session(policy, this);
  }

  /** User vector after the last click, a copy; or another one, until the next click. */
  get user() {
    const { model } = this;
    return model.floats(model.calls.user(this.session), model.width).slice();
  }

  set user(vector) {
    const { model } = this;
    const at = model.room(model.width);
    model.floats(at, model.width).set(vector);
    model.check(model.calls.set_user(this.session, at));
  }

  /** Read one click. */
  async click(row) {
    this.model.check(this.model.calls.click(this.session, row));
    this.clicks += 1;
  }

  /** Read many clicks, after those already read. */
  async read(rows) {
    const at = this.#rows(rows);
    this.model.check(this.model.calls.history(this.session, at, rows.length));
    this.clicks += rows.length;
  }

  /** Rows of the last clicks that are kept, oldest first. */
  recent() {
    const { model } = this;
    const at = model.room(model.recent);
    return Array.from(model.whole(at, model.calls.recent(this.session, at)));
  }

  /** Scores of some rows, with those of the neighbour table or without. */
  scores(rows, neighbours) {
    const { model } = this;
    const at = this.#rows(rows, rows.length);
    const to = at + 4 * rows.length;
    model.check(model.calls.scores(this.session, at, rows.length, neighbours ? 1 : 0, to));
    return model.floats(to, rows.length).slice();
  }

  /** The catalogue's best, at most `k`: [[row, score]]. */
  best(k, exclude) {
    const { model } = this;
    const most = Math.min(k, this.artifact.manifest.items);
    const at = this.#rows(exclude, 2 * most);
    const [rows, scores] = [at + 4 * exclude.length, at + 4 * (exclude.length + most)];
    const count = model.calls.rank_all(this.session, most, at, exclude.length, rows, scores);
    model.check(Math.max(-count, 0));
    const values = model.floats(scores, count);
    return Array.from(model.whole(rows, count), (row, place) => [row, values[place]]);
  }

  /** The model's state. */
  state() {
    const { model } = this;
    const at = model.room(model.state);
    model.calls.state(this.session, at);
    return model.floats(at, model.state).slice();
  }

  /** Go on from what was saved. */
  restore({ clicks, recent, user, state }) {
    const { model } = this;
    const rows = this.#rows(recent, user.length + state.length);
    const vector = rows + 4 * recent.length;
    const from = vector + 4 * user.length;
    model.floats(vector, user.length).set(user);
    model.floats(from, state.length).set(state);
    model.check(model.calls.restore(this.session, clicks, rows, recent.length, vector, from));
    this.clicks = clicks;
  }

  /** Correct the user vector, until the next click. */
  async correct({ attention, bias }) {
    const { model } = this;
    const at = model.room(attention.length + bias.length);
    const then = at + 4 * attention.length;
    model.floats(at, attention.length).set(attention);
    model.floats(then, bias.length).set(bias);
    model.check(model.calls.correct(this.session, at, then));
  }

  /** Write rows into the scratch memory, with room for so many numbers behind them. */
  #rows(rows, more = 0) {
    const at = this.model.room(rows.length + more);
    this.model.whole(at, rows.length).set(rows);
    return at;
  }
}
