/** The page: loads the artifact, reads clicks, and shows what the model makes of them. */

import { env } from "../runtime/ort.wasm.bundle.min.mjs";
import { Artifact } from "./artifact.js";
import { Figures } from "./figures.js";
import { moves } from "./ranking.js";
import { Session } from "./session.js";
import { matching, Titles } from "./titles.js";
import { Turns } from "./turns.js";
import * as view from "./view.js";

const SHOWN = 20; // places of the ranking
const COMPARED = 200; // places in which a title that moved is looked for
const FOUND = 100; // titles that the catalogue shows at once

const root = new URL("..", import.meta.url);
env.wasm.numThreads = 1; // one click is too little work for more
env.wasm.wasmPaths = { wasm: new URL("runtime/ort-wasm-simd-threaded.wasm", root).href };

const page = { session: null, titles: null, log: [], before: null, figures: null };
const turns = new Turns(); // a click is read, ranked and shown before the next

async function load() {
  const artifact = await Artifact.fetch(new URL("artifact/", root));
  const answer = await fetch(new URL("titles.json", root));
  if (!answer.ok) throw new Error(`titles.json: the server answered ${answer.status}`);
  page.titles = new Titles(await answer.json(), artifact.vocabulary);
  page.artifact = artifact;
  await warmUp();
  page.session = new Session(artifact);
  page.figures = new Figures();
  view.showAbout(artifact.manifest, page.titles.length);
  view.onItem((token) => turns.run(() => click(token)));
  view.onSearch(showFound);
  view.onAgain(() => turns.run(startAgain));
  showFound();
  view.ready();
}

/** The first runs of a graph are slower: they are done before a person clicks, on clicks that nobody made. */
async function warmUp() {
  const session = new Session(page.artifact);
  for (let i = 0; i <= page.artifact.window; i++) await session.click(page.titles.tokens[0]);
  session.rankAll(COMPARED);
}

async function click(token) {
  const started = performance.now();
  try {
    await page.session.click(token);
    page.log.push(token);
    const ranked = page.session.rankAll(COMPARED, page.log).map((item) => item.token);
    page.figures.took(performance.now() - started);
    show(ranked);
  } catch (error) {
    view.showError(error);
  }
}

function show(ranked) {
  const { titles, log } = page;
  const moved = page.before && moves(ranked, page.before.filter((token) => token !== log.at(-1)));
  page.before = ranked;
  view.showRanking(ranked.slice(0, SHOWN), moved, titles);
  view.showLog(log, page.artifact.window, page.session.policy, titles);
  view.showFigures(log.length, page.figures);
  view.showNews(log.at(-1), ranked[0], titles);
  showFound();
}

function showFound() {
  const found = matching(page.titles, view.searched());
  view.showFound(found.slice(0, FOUND), found.length, new Set(page.log), page.titles);
}

function startAgain() {
  Object.assign(page, { session: new Session(page.artifact), log: [], before: null });
  page.figures.clear();
  view.clear();
  view.focusSearch();
  view.showFigures(0, page.figures);
  showFound();
}

load().catch(view.showError);
