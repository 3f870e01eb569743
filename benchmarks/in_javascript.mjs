/** Quartiles of microseconds of a click and of a ranking, per runtime and policy; in_javascript.py calls it. */

const [code, artifact, runtime] = process.argv.slice(2);
const { Artifact, Session } = await import(`${code}/index.js`);

async function onnx() {
  const ort = await import(`${runtime}/ort.wasm.bundle.min.mjs`);
  ort.env.wasm.numThreads = 1;
  return ort;
}

const quartiles = (times) => {
  const sorted = times.toSorted((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(share * sorted.length)]);
};

const results = {};
const artifacts = { native: await Artifact.fetch(artifact), onnx: await Artifact.fetch(artifact, { runtime: "onnx", onnx }) };
for (const policy of ["carry", "window"]) {
  const sessions = Object.entries(artifacts).map(([name, opened]) => [name, new Session(opened, policy)]);
  const times = { native: { click: [], rankAll: [] }, onnx: { click: [], rankAll: [] } };
  // In turns, so that what else the machine does falls on both.
  for (let click = 0, number = 1; click < 2200; click++) {
    number = (number * 48271) % 2147483647;
    for (const [name, session] of sessions) {
      const started = performance.now();
      await session.click(`item-${1 + (number % 11999)}`);
      const read = performance.now();
      if (click >= 200) times[name].click.push(1000 * (read - started));
      if (click % 20) continue;
      const before = performance.now();
      session.rankAll(10);
      if (click >= 200) times[name].rankAll.push(1000 * (performance.now() - before));
    }
  }
  for (const [name, of] of Object.entries(times)) {
    for (const [what, all] of Object.entries(of)) results[`${what} ${policy} ${name}`] = quartiles(all);
  }
}
console.log(JSON.stringify(results));
