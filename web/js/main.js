/** The page: loads the artifact, reads clicks, and shows what the model makes of them. */

import { Artifact } from "./artifact.js";
import { Cloud } from "./cloud.js";
import * as cloudView from "./cloud_view.js";
import { Corrected } from "./corrected.js";
import { Figures } from "./figures.js";
import { METHODS } from "./methods.js";
import { onnxRuntime } from "./onnx_runtime.js";
import { moves } from "./ranking.js";
import { reasons } from "./reasons.js";
import { Session } from "./session.js";
import { COMPARED } from "./story.js";
import { matching, Titles } from "./titles.js";
import { Turns } from "./turns.js";
import * as view from "./view.js";

const SHOWN = 20; // places of a list; style.css has as many lines
const FOUND = 100; // titles that the catalogue shows at once
const EXAMPLE = 3; // clicks of the example that a first visit shows

const root = new URL("..", import.meta.url);

// `lists` is {log, alone, device}: the clicks, the ranking of the model alone, and with the device's neighbour table;
// `before` was `alone` one click earlier. `corrected` is the session with the cloud, null while that is switched off.
const page = { session: null, titles: null, log: [], before: null, lists: null, figures: null, corrected: null };
const turns = new Turns(); // a click is read, ranked and shown before the next

async function load() {
  const artifact = await Artifact.fetch(new URL("artifact/", root), { onnx: onnxRuntime });
  page.titles = new Titles(await json("titles.json"), artifact.vocabulary);
  const { reason, service, deadline_ms, methods } = await json("cloud.json");
  page.service = service;
  page.cloud = new Cloud(root, deadline_ms);
  page.artifact = artifact;
  await warmUp();
  page.figures = new Figures();
  view.showAbout(artifact.manifest, page.titles.length, false);
  view.onItem((token) => turns.run(() => click(token)));
  view.onSearch(showFound);
  view.onAgain(() => turns.run(startAgain));
  cloudView.offer(reason, methods.map((name) => [name, METHODS[name].name]));
  cloudView.onItem((token) => turns.run(() => click(token)));
  cloudView.onSwitch(() => turns.run(switchCloud));
  cloudView.showSecond(secondTitle());
  await start();
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

/** A new session without a click, and the lists of an example in its place. */
async function start() {
  Object.assign(page, { session: new Session(page.artifact), log: [], before: null });
  page.figures.clear();
  view.clear();
  view.showFigures(0, page.figures, page.cloud.uploaded);
  showFound();
  const log = page.titles.tokens.slice(0, EXAMPLE);
  const session = new Session(page.artifact);
  await session.history(log);
  view.showExample(log, page.titles);
  page.lists = listsOf(session, log, best(session, log));
  view.showRanking(page.lists.alone.slice(0, SHOWN), null, page.titles);
  if (!page.corrected) showTable();
}

const best = (session, log, options) => session.rankAll(COMPARED, log, options).map((item) => item.token);

/** The list that was ranked, and that of the model alone; both are one where the device has no neighbour table. */
function listsOf(session, log, device) {
  return { log, device, alone: page.artifact.neighbours ? best(session, log, { neighbours: false }) : device };
}

async function click(token) {
  try {
    const started = performance.now();
    await page.session.click(token);
    page.log.push(token);
    const device = best(page.session, page.log);
    page.figures.took(performance.now() - started);
    page.corrected?.ask(page.log); // it is on its way while the page is drawn
    show(device);
    await showCloud();
  } catch (error) {
    view.showError(error);
  }
}

function show(device) {
  const { titles, log } = page;
  const lists = listsOf(page.session, log, device);
  const moved = page.before && moves(lists.alone, page.before.filter((token) => token !== log.at(-1)));
  Object.assign(page, { before: lists.alone, lists });
  view.showRanking(lists.alone.slice(0, SHOWN), moved, titles);
  view.showLog(log, page.artifact.window, page.session.policy, titles);
  view.showFigures(log.length, page.figures, page.cloud.uploaded);
  view.showNews(log.at(-1), lists.alone[0], page.figures.last, titles);
  if (!page.corrected) showTable();
  showFound();
}

function showFound() {
  const found = matching(page.titles, view.searched());
  view.showFound(found.slice(0, FOUND), found.length, new Set(page.log), page.titles);
}

async function startAgain() {
  page.corrected?.cancel();
  cloudView.clear();
  await start();
  page.corrected &&= new Corrected(page.session, page.cloud, page.corrected.method);
  view.focusSearch();
}

/** What the second list is called; null where there is none. */
function secondTitle() {
  if (page.corrected) return "With the cloud";
  return page.artifact.neighbours ? "With the neighbour table" : null;
}

async function switchCloud() {
  page.corrected?.cancel();
  const method = wanted();
  page.corrected = method && new Corrected(page.session, page.cloud, method);
  view.showAbout(page.artifact.manifest, page.titles.length, method);
  cloudView.showSwitch(method, page.service, page.cloud.deadline);
  cloudView.showSecond(secondTitle());
  if (!method) page.session.withoutCorrection();
  if (!method) return showTable();
  if (!page.log.length) return;
  try {
    page.corrected.ask(page.log);
    await showCloud();
  } catch (error) {
    view.showError(error);
  }
}

/** The method that is switched on; null if it is off. */
const wanted = () => (cloudView.isOn() ? METHODS[cloudView.chosen()] : null);

/** The second list without the cloud, and what made it differ. */
function showTable() {
  if (!page.artifact.neighbours) return;
  const by = "The neighbour table on this device, made of everybody's clicks,";
  cloudView.say(showSecond(page.lists.device, by));
}

/** Both lists, where the cloud is asked; the device's is on the page by now, so that nobody waits for it. */
async function showCloud() {
  if (!page.corrected) return;
  const late = (use) => turns.run(async () => showCorrected(await use(), true)).catch(view.showError);
  showCorrected(await page.corrected.rank(COMPARED, late), false);
}

function showCorrected(answer, late) {
  if (!answer) return; // of clicks that are no longer the last
  const { method } = page.corrected;
  const both = method === METHODS.correct && page.artifact.neighbours;
  const by = both ? `${method.by}, together with the neighbour table on this device,` : method.by;
  const change = showSecond(answer.ranked ?? page.lists.device, by);
  cloudView.showAnswer(answer, page.cloud.deadline, late, change);
  view.showFigures(page.log.length, page.figures, page.cloud.uploaded);
}

/** Show the second list; returns what changed in it, in words. */
function showSecond(second, by) {
  const { log, alone } = page.lists;
  const [moved, reason] = [moves(second, alone), reasons(page.artifact, log)];
  cloudView.showBoth(second, alone, moved, SHOWN, reason, page.titles);
  return cloudView.changeOf(by, second, moved, SHOWN, reason, page.titles);
}

load().catch(view.showError);
