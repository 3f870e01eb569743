/** What the cloud can be asked for: the correction network's correction, or the item-item corrector's scores. */

import { shapeName } from "./correction.js";

// Most clicks and candidates of one request for scores.
const [MOST_CLICKS, MOST_CANDIDATES] = [128, 512];

/**
 * In words each has its `name`, who makes the change (`by`) and what leaves the page (`sends`). `request(session, log)`
 * gives {path, headers, body} and what `rank` needs; `rank(session, asked, content, headers, k, log)` gives the ranking
 * with the answer, and fails for one that does not fit.
 */
export const METHODS = {
  correct: {
    name: "correction network",
    by: "The correction network in the cloud",
    sends: "the vectors that stand for your last clicks (the model's hidden states)",
    request(session) {
      const { rows, clicks, fingerprint } = session.hiddenStates();
      return { path: "v1/correct", headers: named(fingerprint, clicks), body: rows };
    },
    async rank(session, asked, content, headers, k, log) {
      checkShape(headers, shapeName(session.artifact.manifest.correction));
      await session.apply(content, clicksOf(headers), headers.get("X-Fingerprint"));
      return session.rankAll(k, log);
    },
  },
  score: {
    name: "what others clicked",
    by: "The cloud, with what it learned from everybody's clicks,",
    sends: `the numbers of the titles you clicked and of the device's ${MOST_CANDIDATES} best`,
    request(session, log) {
      const { vocabulary, manifest } = session.artifact;
      const candidates = session.rankAll(MOST_CANDIDATES, log).map((item) => item.token);
      const clicked = log.slice(-MOST_CLICKS);
      const body = Int32Array.from([...clicked, ...candidates], (token) => vocabulary.row(token));
      const headers = { ...named(manifest.trust.corrector, session.clicks), "X-Clicked": String(clicked.length) };
      return { path: "v1/score", headers, body, candidates, clicked: clicked.length };
    },
    async rank(session, asked, content, headers, k, log) {
      const { candidates, clicked } = asked;
      checkShape(headers, String(candidates.length));
      if (clicksOf(headers) !== session.clicks) throw new Error("the scores are of other clicks");
      if (content.byteLength !== 4 * candidates.length) throw new Error("the scores are too few or too many");
      const values = new Float32Array(content);
      const scores = new Map(candidates.map((token, i) => [token, values[i]]));
      const evidence = { scores, clicks: clicked, corrector: headers.get("X-Fingerprint") };
      return session.rank(candidates, k, log, evidence);
    },
  },
};

const named = (fingerprint, clicks) => ({
  "Content-Type": "application/octet-stream",
  "X-Fingerprint": fingerprint,
  "X-Clicks": String(clicks),
});

const clicksOf = (headers) => Number(headers.get("X-Clicks") ?? NaN);

function checkShape(headers, expected) {
  if (headers.get("X-Shape") !== expected) throw new Error("the answer has another shape than this model reads");
}
