/**
 * The sessions of this package against those of the Python package, on artifacts and numbers that Python writes:
 * tests/demo/test_js_package.py does both, and reads the states that are saved here. COCORR_VECTORS is its folder.
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

import { Artifact, Session } from "../index.js";

const folder = process.env.COCORR_VECTORS;
const skip = folder ? false : "COCORR_VECTORS names no folder; tests/demo/test_js_package.py writes one";
const cases = folder ? JSON.parse(readFileSync(join(folder, "cases.json"), "utf-8")) : [];

function assertClose(ours, expected) {
  const most = Math.max(1, ...expected.map(Math.abs));
  assert.equal(ours.length, expected.length);
  expected.forEach((value, i) => assert.ok(Math.abs(ours[i] - value) <= 1e-5 * most, `${ours[i]} and ${value} at ${i}`));
}

/** The same scores in this order, and the same items, but for those whose scores differ by rounding alone. */
function assertSame(ranked, { items, scores }) {
  assertClose(ranked.map(({ score }) => score), scores);
  const most = Math.max(1, ...scores.map(Math.abs));
  ranked.forEach(({ token }, place) => {
    const other = scores[items.indexOf(token)] ?? scores.at(-1);
    assert.ok(Math.abs(other - scores[place]) <= 1e-5 * most, `${token} at place ${place}`);
  });
}

function check(session, { clicks, user, all, some, excluded, candidates }) {
  assert.equal(session.clicks, clicks);
  assertClose(session.userVector, user);
  assertSame(session.rankAll(all.items.length + 3, excluded), all);
  assertSame(session.rank(candidates, 5, excluded), some);
}

async function follow(session, moves) {
  for (const { what, value, answer, ...expected } of moves) {
    assert.deepEqual(await session[what](value), answer);
    if (expected.clicks) check(session, expected);
  }
}

for (const { name, moves, later, policy } of cases) {
  const address = pathToFileURL(join(folder, name));
  test(`${name}, ${policy}: as in Python, click by click`, { skip }, async () => {
    const artifact = await Artifact.fetch(address);
    assert.equal(artifact.runtime, "native");
    const session = new Session(artifact, policy);
    await follow(session, moves);
    writeFileSync(join(folder, `${name}-${policy}.javascript`), new Uint8Array(await session.save()));
    await follow(session, later);
  });

  test(`${name}, ${policy}: it goes on from a state that Python saved`, { skip }, async () => {
    const content = readFileSync(join(folder, `${name}-${policy}.python`));
    const state = content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
    const session = await Session.open(address, { policy, state });
    check(session, moves.at(-1));
    assert.deepEqual(Buffer.from(await session.save()), content);
    await follow(session, later);
  });
}
