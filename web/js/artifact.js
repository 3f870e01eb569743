/** A device artifact, fetched: its manifest, its arrays and its graphs. docs/device.md describes the files. */

import { bytes } from "./bytes.js";
import { NativeModel, runsNatively } from "./native.js";
import { ItemTable, numbers } from "./table.js";
import { Vocabulary } from "./vocabulary.js";

const FORMAT_VERSIONS = [1, 4];
const RUNTIMES = ["native", "onnx"];
// Graphs that a session needs; no session here has new items.
const GRAPHS = ["step", "fold", "prefill", "window", "correct"];

export class Artifact {
  /**
   * What the artifact says of itself (docs/device.md).
   * @type {Record<string, any>}
   */
  manifest;
  /**
   * What computes: the C library in WebAssembly, or ONNX Runtime Web.
   * @type {"native" | "onnx"}
   */
  runtime;
  /** @private */
  graphs = {};
  /** @private */
  native = null;

  /**
   * Everything is fetched here, so that no click needs the network.
   *
   * @param {URL | string} folder The artifact's address, of a server or, in Node, a file: address.
   * @param {object} [options]
   * @param {"native" | "onnx"} [options.runtime] What computes. Left out: the C library where the artifact is a CoCorrRec
   *   with weights for it, otherwise ONNX Runtime Web.
   * @param {() => Promise<any>} [options.onnx] Loads ONNX Runtime Web, where it is needed:
   *   `() => import("onnxruntime-web/wasm")`.
   * @returns {Promise<Artifact>}
   */
  static async fetch(folder, { runtime, onnx } = {}) {
    const root = new URL(String(folder).replace(/\/?$/, "/"), globalThis.location?.href);
    const manifest = JSON.parse(new TextDecoder().decode(await bytes(new URL("manifest.json", root))));
    if (!FORMAT_VERSIONS.includes(manifest.format_version)) {
      const known = FORMAT_VERSIONS.join(" or ");
      throw new Error(`the artifact has format ${manifest.format_version}; this page reads ${known}`);
    }
    if (manifest.delta) throw new Error("the artifact has a delta, which this page does not read");
    const artifact = new Artifact();
    artifact.folder = root;
    artifact.manifest = manifest;
    artifact.runtime = runtime ?? (runsNatively(manifest) ? "native" : "onnx");
    if (!RUNTIMES.includes(artifact.runtime)) throw new Error(`runtime is ${runtime}; it must be native or onnx`);
    if (artifact.runtime === "native" && !runsNatively(manifest)) {
      throw new Error("the artifact holds no weights for the native runtime, which runs CoCorrRec alone; use onnx");
    }
    artifact.width = manifest.width;
    artifact.window = manifest.window;
    artifact.miniBatch = manifest.mini_batch;
    // The weights are for the graphs alone, and tokens are looked up in a map of JavaScript's.
    const { weights, token_index, ...entries } = manifest.arrays;
    const arrays = await fetched(root, entries);
    const values = (name) => arrays[name] && numbers(arrays[name], manifest.arrays[name].dtype);
    artifact.items = new ItemTable(values("item_vectors"), values("item_scales"), manifest.width);
    artifact.targets = artifact.items;
    if (arrays.target_vectors) {
      artifact.targets = new ItemTable(values("target_vectors"), values("target_scales"), manifest.width);
    }
    artifact.vocabulary = new Vocabulary(values("token_bytes"), values("token_offsets"));
    artifact.neighbours = null;
    if (manifest.neighbours) {
      const parts = ["indptr", "items", "weights", "scales"].map((part) => [part, values(`neighbour_${part}`)]);
      artifact.neighbours = Object.fromEntries(parts);
    }
    artifact.initialState = values("state") ?? null;
    artifact.uploadNorm = values("upload_norm") ?? null;
    artifact.stateShape = manifest.arrays.state?.shape ?? null;
    if (artifact.runtime === "native") {
      artifact.native = await NativeModel.open(manifest, arrays);
      artifact.targets = null; // the library has its own copy; the neighbour table also says what speaks for an item
    } else {
      await artifact.#loadGraphs(onnx);
    }
    return artifact;
  }

  /** Open the artifact's graphs, which loads ONNX Runtime Web. One after another: it starts up under the first. */
  async #loadGraphs(onnx) {
    const { graphs, arrays: { weights } } = this.manifest;
    if (!onnx) {
      throw new Error("this needs ONNX Runtime Web: give `onnx: () => import(\"onnxruntime-web/wasm\")` to open it");
    }
    const wanted = Object.fromEntries(GRAPHS.filter((name) => graphs[name]).map((name) => [name, graphs[name]]));
    const files = await fetched(this.folder, { weights, ...wanted });
    this.ort = await onnx();
    const options = {
      executionProviders: ["wasm"],
      externalData: [{ path: weights.file, data: new Uint8Array(files.weights) }],
      logSeverityLevel: 3,
    };
    for (const name of Object.keys(wanted)) {
      this.graphs[name] = await this.ort.InferenceSession.create(new Uint8Array(files[name]), options);
    }
  }

  /** @private */
  tensor(type, data, shape) {
    return new this.ort.Tensor(type, data, shape);
  }
}

async function fetched(folder, entries) {
  const pairs = Object.entries(entries).map(async ([name, entry]) => {
    const content = await bytes(new URL(entry.file, folder));
    if (content.byteLength !== entry.bytes) {
      throw new Error(`${entry.file} has ${content.byteLength} bytes, the manifest says ${entry.bytes}`);
    }
    return [name, content];
  });
  return Object.fromEntries(await Promise.all(pairs));
}
