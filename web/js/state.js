/** The bytes of a state file, and what they hold: the format of device/state.py, which docs/device.md describes. */

import { digest } from "./native.js";

const MAGIC = "RCCSTATE";
const VERSION = 1;
const POLICIES = ["carry", "window"];
const [HEADER, DIGEST] = [48, 16];

/** Clicks that a session remembers, at most. */
export function mostRecent({ window, neighbours }) {
  return Math.max(window, neighbours?.clicks ?? 0);
}

/** The file of a session: {policy, corrected, clicks, user, recent, state}. */
export async function packed(artifact, { policy, corrected, clicks, user, recent, state }) {
  const { width, most, size } = layout(artifact);
  const file = new ArrayBuffer(size);
  const view = new DataView(file);
  const content = new Uint8Array(file);
  content.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, VERSION, true);
  view.setUint32(12, size, true);
  content.set(await identity(artifact.manifest), 16);
  view.setUint8(32, POLICIES.indexOf(policy));
  view.setUint8(33, corrected ? 1 : 0);
  view.setUint32(36, recent.length, true);
  view.setBigUint64(40, BigInt(clicks), true);
  new Float32Array(file, HEADER, width).set(user);
  new Int32Array(file, HEADER + 4 * width, most).set(recent);
  new Float32Array(file, HEADER + 4 * (width + most), state.length).set(state);
  content.set(await digest(content.subarray(0, size - DIGEST)), size - DIGEST);
  return file;
}

/** What a file holds; one that is damaged, or of another artifact, is an error. */
export async function unpacked(artifact, file) {
  const content = new Uint8Array(file);
  const { width, most, numbers, size } = layout(artifact);
  if (new TextDecoder().decode(content.subarray(0, 8)) !== MAGIC) throw new Error("this is no state of a session");
  if (file.byteLength < HEADER + DIGEST) throw new Error(`the state is cut off: it has ${file.byteLength} bytes`);
  const view = new DataView(file);
  if (view.getUint32(8, true) !== VERSION) {
    throw new Error(`the state has format ${view.getUint32(8, true)}; this version reads format ${VERSION}`);
  }
  const body = content.subarray(0, -DIGEST);
  if (view.getUint32(12, true) !== file.byteLength || !same(await digest(body), content.subarray(-DIGEST))) {
    throw new Error("the state is damaged: its contents do not match its checksum");
  }
  if (!same(await identity(artifact.manifest), content.subarray(16, 32))) {
    throw new Error("the state is of another artifact; a state is read by the model and catalogue that made it");
  }
  const [policy, corrected, zero] = [view.getUint8(32), view.getUint8(33), view.getUint16(34, true)];
  const [count, clicks] = [view.getUint32(36, true), Number(view.getBigUint64(40, true))];
  const fits = policy < POLICIES.length && corrected < 2 && zero === 0 && count === Math.min(clicks, most);
  if (!fits || file.byteLength !== size || !Number.isSafeInteger(clicks)) {
    throw new Error("the state holds what no session writes");
  }
  const user = new Float32Array(file, HEADER, width);
  const recent = Array.from(new Int32Array(file, HEADER + 4 * width, count));
  const state = new Float32Array(file, HEADER + 4 * (width + most), numbers);
  const rows = recent.every((row) => row > 0 && row < artifact.manifest.items);
  if (!rows || !user.every(Number.isFinite) || !state.every(Number.isFinite)) {
    throw new Error("the state holds what no session writes");
  }
  return { policy: POLICIES[policy], corrected: corrected === 1, clicks, user, recent, state };
}

function layout({ manifest, width, stateShape }) {
  const most = mostRecent(manifest);
  const numbers = stateShape ? stateShape.reduce((product, n) => product * n, 1) : 0;
  return { width, most, numbers, size: HEADER + 4 * (width + most + numbers) + DIGEST };
}

/** Sixteen bytes that two artifacts share only if their sessions' states can be exchanged. */
async function identity({ fingerprint, table, window, mini_batch, graphs, arrays, neighbours }) {
  const files = Object.entries({ ...graphs, ...arrays }).map(([name, { blake2b }]) => `${name}:${blake2b}`);
  const lines = [fingerprint, table, String(window), mini_batch === null ? "None" : String(mini_batch), ...files.sort()];
  if (neighbours) lines.push(inPython(neighbours.decay), String(neighbours.clicks));
  return digest(new TextEncoder().encode(lines.join("\n")));
}

/** A number from 0 to 1 as Python writes a float. */
function inPython(x) {
  if (Number.isInteger(x)) return x.toFixed(1);
  return x < 1e-4 ? x.toExponential().replace(/-(\d)$/, "-0$1") : String(x);
}

function same(a, b) {
  return a.every((byte, i) => byte === b[i]);
}
