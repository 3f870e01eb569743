/** The page: loads the artifact, reads clicks, and shows what the model makes of them. */

import { Artifact } from "./artifact.js";
import { Cloud } from "./cloud.js";
import * as cloudView from "./cloud_view.js";
import { Corrected } from "./corrected.js";
import { correctionBytes } from "./correction.js";
import { Figures } from "./figures.js";
import { METHODS } from "./methods.js";
import { onnxRuntime } from "./onnx_runtime.js";
import { moves } from "./ranking.js";
import { Session } from "./session.js";
import { matching, Titles } from "./titles.js";
import { Turns } from "./turns.js";
import * as view from "./view.js";

const SHOWN = 20; // places of the ranking
const COMPARED = 200; // places in which a title that moved is looked for
const FOUND = 100; // titles that the catalogue shows at once

const root = new URL("..", import.meta.url);

// `ranked` is the device's list, `corrected` the session with the cloud, null while that is switched off.
const page = { session: null, titles: null, log: [], before: null, ranked: null, figures: null, corrected: null };
const turns = new Turns(); // a click is read, ranked and shown before the next

async function load() {
  const artifact = await Artifact.fetch(new URL("artifact/", root), { onnx: onnxRuntime });
  page.titles = new Titles(await json("titles.json"), artifact.vocabulary);
  const { reason, service, deadline_ms, methods } = await json("cloud.json");
  page.service = service;
  page.cloud = new Cloud(root, deadline_ms);
  page.artifact = artifact;
  await warmUp();
  page.session = new Session(artifact);
  page.figures = new Figures();
  view.showAbout(artifact.manifest, page.titles.length, false);
  view.onItem((token) => turns.run(() => click(token)));
  view.onSearch(showFound);
  view.onAgain(() => turns.run(startAgain));
  cloudView.offer(reason, methods.map((name) => [name, METHODS[name].name]));
  cloudView.onItem((token) => turns.run(() => click(token)));
  cloudView.onSwitch(() => turns.run(switchCloud));
  showFound();
  view.ready();
}

async function json(file) {
  const answer = await fetch(new URL(file, root));
  if (!answer.ok) throw new Error(`${file}: the server answered ${answer.status}`);
  return answer.json();
}

/** The first runs of a graph are slower: they are done before a person clicks, on clicks that nobody made. */
async function warmUp() {
  const session = new Session(page.artifact);
  for (let i = 0; i <= page.artifact.window; i++) await session.click(page.titles.tokens[0]);
  session.rankAll(COMPARED);
}

/** The first correction fetches what computes it, and is slower too: it is one that changes nothing. */
async function warmUpCorrection() {
  const session = new Session(page.artifact);
  await session.click(page.titles.tokens[0]);
  const shapes = page.artifact.manifest.correction;
  const { clicks, fingerprint } = session.hiddenStates();
  await session.apply(new ArrayBuffer(correctionBytes(shapes)), clicks, fingerprint);
}

async function click(token) {
  const started = performance.now();
  try {
    await page.session.click(token);
    page.log.push(token);
    const ranked = page.session.rankAll(COMPARED, page.log).map((item) => item.token);
    page.figures.took(performance.now() - started);
    page.corrected?.ask(page.log); // it is on its way while the page is drawn
    show(ranked);
    await showCloud();
  } catch (error) {
    view.showError(error);
  }
}

function show(ranked) {
  const { titles, log } = page;
  const moved = page.before && moves(ranked, page.before.filter((token) => token !== log.at(-1)));
  Object.assign(page, { before: ranked, ranked });
  view.showRanking(ranked.slice(0, SHOWN), moved, titles);
  view.showLog(log, page.artifact.window, page.session.policy, titles);
  view.showFigures(log.length, page.figures, page.cloud.uploaded);
  view.showNews(log.at(-1), ranked[0], titles);
  showFound();
}

function showFound() {
  const found = matching(page.titles, view.searched());
  view.showFound(found.slice(0, FOUND), found.length, new Set(page.log), page.titles);
}

function startAgain() {
  Object.assign(page, { session: new Session(page.artifact), log: [], before: null, ranked: null });
  page.figures.clear();
  view.clear();
  view.focusSearch();
  view.showFigures(0, page.figures, page.cloud.uploaded);
  showFound();
  cloudView.clear();
  page.corrected?.cancel();
  page.corrected &&= new Corrected(page.session, page.cloud, page.corrected.method);
}

async function switchCloud() {
  page.corrected?.cancel();
  const method = await wanted();
  page.corrected = method && new Corrected(page.session, page.cloud, method);
  view.showAbout(page.artifact.manifest, page.titles.length, method);
  cloudView.showSwitch(method, page.service, page.cloud.deadline);
  if (!method || !page.log.length) return;
  try {
    page.corrected.ask(page.log);
    await showCloud();
  } catch (error) {
    view.showError(error);
  }
}

/** The method that is switched on, once it is ready; null if it is off, or cannot be made ready. */
async function wanted() {
  if (!cloudView.isOn()) return null;
  const method = METHODS[cloudView.chosen()];
  if (method !== METHODS.correct) return method;
  try {
    cloudView.showLoading();
    await (page.canCorrect ??= warmUpCorrection());
    return method;
  } catch (error) {
    page.canCorrect = null;
    cloudView.switchOff();
    view.showError(error);
    return null;
  }
}

/** Both lists, where the cloud is asked; the device's is on the page by now, so that nobody waits for it. */
async function showCloud() {
  if (!page.corrected) return;
  const late = (use) => turns.run(async () => showCorrected(await use(), true)).catch(view.showError);
  showCorrected(await page.corrected.rank(COMPARED, late), false);
}

function showCorrected(answer, late) {
  if (!answer) return; // of clicks that are no longer the last
  const ranked = answer.ranked ?? page.ranked;
  cloudView.showBoth(ranked, page.ranked, moves(ranked, page.ranked), SHOWN, page.titles);
  cloudView.showAnswer(answer, late);
  view.showFigures(page.log.length, page.figures, page.cloud.uploaded);
}

load().catch(view.showError);
