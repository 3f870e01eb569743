/** What a session refuses, and what becomes of memory. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { Artifact, Session } from "../index.js";

const folder = process.env.COCORR_VECTORS;
const skip = folder ? false : "COCORR_VECTORS names no folder; tests/demo/test_js_package.py writes one";
const [{ name } = {}] = folder ? JSON.parse(readFileSync(join(folder, "cases.json"), "utf-8")) : [];
const address = folder && pathToFileURL(join(folder, name));

test("what cannot be is said", { skip }, async () => {
  const session = await Session.open(address);
  assert.throws(() => session.rankAll(), /has read no click yet/);
  assert.throws(() => session.userVector, /has read no click yet/);
  await session.click("item-1");
  assert.throws(() => session.rankAll(0), /k is 0; it must be a whole number from 1 on/);
  assert.throws(() => session.rank(["item-1"], 1.5), /k is 1.5; it must be/);
  const layered = await Session.open(pathToFileURL(join(folder, "shape-2")));
  await layered.click("item-1");
  assert.throws(() => layered.hiddenStates(), /takes no correction/);
  assert.throws(() => new Session(session.artifact, "neither"), /policy is neither; it must be carry or window/);
  await assert.rejects(Session.open(address, { runtime: "fast" }), /runtime is fast; it must be native or onnx/);
  await assert.rejects(Session.open(address, { runtime: "onnx" }), /needs ONNX Runtime Web: give `onnx:/);
  await assert.rejects(Session.open(new URL("nowhere/", address)), /ENOENT/);
});

test("a state that is damaged, cut off or of another policy is refused", { skip }, async () => {
  const session = await Session.open(address, { policy: "carry" });
  await session.history(["item-1", "item-2"]);
  const state = new Uint8Array(await session.save());
  const opened = (change, policy = "carry") => {
    const copy = state.slice();
    return Session.open(address, { policy, state: (change(copy) ?? copy).buffer });
  };
  assert.equal((await opened(() => {})).clicks, 2);
  await assert.rejects(opened(() => {}, "window"), /was saved under the policy carry; this session's is window/);
  for (const at of [12, 16, 40, 60, state.length - 1]) {
    await assert.rejects(opened((copy) => void (copy[at] ^= 1)), /is damaged: its contents do not match/);
  }
  await assert.rejects(opened((copy) => void (copy[0] = 0)), /is no state of a session/);
  await assert.rejects(opened((copy) => copy.slice(0, 30)), /is cut off: it has 30 bytes/);
  await assert.rejects(opened((copy) => copy.slice(0, -4)), /is damaged/);
  await assert.rejects(opened((copy) => void (copy[8] = 9)), /has format 9; this version reads format 1/);
});

test("calls that do not wait are read in order", { skip }, async () => {
  const artifact = await Artifact.fetch(address);
  const [at_once, one_by_one] = [new Session(artifact, "carry"), new Session(artifact, "carry")];
  const tokens = Array.from({ length: 9 }, (_, i) => `item-${1 + ((i * 7) % 30)}`);
  await Promise.all(tokens.map((token) => at_once.click(token)));
  for (const token of tokens) await one_by_one.click(token);
  assert.deepEqual(at_once.rankAll(5), one_by_one.rankAll(5));
});

test("sessions share a model and nothing else, and their memory is used again", { skip }, async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const artifact = await Artifact.fetch(address);
  const bytes = () => artifact.native.calls.memory.buffer.byteLength;
  const kept = new Session(artifact);
  await kept.click("item-3");
  const before = kept.rankAll(5);
  for (let i = 0; i < 20; i++) new Session(artifact);
  const some = bytes();
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < 20; i++) new Session(artifact);
    collect();
    await new Promise(setImmediate);
  }
  assert.ok(bytes() < 4 * some, `${bytes()} bytes after 4,000 sessions, ${some} after 20`);
  const fresh = new Session(artifact);
  assert.throws(() => fresh.rankAll(), /has read no click yet/);
  await fresh.click("item-3");
  assert.deepEqual(fresh.rankAll(5), before);
  assert.deepEqual(kept.rankAll(5), before);
});
