/** A device artifact, fetched: its manifest, its arrays and its graphs. docs/device.md describes the files. */

import { InferenceSession } from "../runtime/ort.wasm.bundle.min.mjs";
import { ItemTable, numbers } from "./table.js";
import { Vocabulary } from "./vocabulary.js";

const FORMAT_VERSIONS = [1, 4];
// Graphs that a click or a correction may need; `targets` is for new items, which this page does not have.
const GRAPHS = ["step", "fold", "prefill", "window", "correct"];

export class Artifact {
  /** Everything is fetched here, so that no click needs the network. `folder` is the artifact's address. */
  static async fetch(folder) {
    const manifest = JSON.parse(new TextDecoder().decode(await bytes(folder, "manifest.json")));
    if (!FORMAT_VERSIONS.includes(manifest.format_version)) {
      const known = FORMAT_VERSIONS.join(" or ");
      throw new Error(`the artifact has format ${manifest.format_version}; this page reads ${known}`);
    }
    if (manifest.delta) throw new Error("the artifact has a delta, which this page does not read");
    const artifact = new Artifact();
    artifact.manifest = manifest;
    artifact.width = manifest.width;
    artifact.window = manifest.window;
    artifact.miniBatch = manifest.mini_batch;
    const arrays = await fetched(folder, manifest.arrays);
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
    artifact.graphs = await opened(folder, manifest, arrays.weights);
    return artifact;
  }
}

async function fetched(folder, entries) {
  const pairs = Object.entries(entries).map(async ([name, entry]) => {
    const content = await bytes(folder, entry.file);
    if (content.byteLength !== entry.bytes) {
      throw new Error(`${entry.file} has ${content.byteLength} bytes, the manifest says ${entry.bytes}`);
    }
    return [name, content];
  });
  return Object.fromEntries(await Promise.all(pairs));
}

/** The graphs, ready to run; each is given the file of weights that they share. */
async function opened(folder, manifest, weights) {
  const wanted = Object.fromEntries(Object.entries(manifest.graphs).filter(([name]) => GRAPHS.includes(name)));
  const files = await fetched(folder, wanted);
  const options = {
    executionProviders: ["wasm"],
    externalData: [{ path: manifest.arrays.weights.file, data: new Uint8Array(weights) }],
    logSeverityLevel: 3,
  };
  const graphs = {};
  // One after another: ONNX Runtime Web starts up once, under the first.
  for (const [name, file] of Object.entries(files)) {
    graphs[name] = await InferenceSession.create(new Uint8Array(file), options);
  }
  return graphs;
}

async function bytes(folder, file) {
  const answer = await fetch(new URL(file, folder));
  if (!answer.ok) throw new Error(`${file}: the server answered ${answer.status}`);
  return answer.arrayBuffer();
}
