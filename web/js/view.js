/** What the page shows. Titles are set as text, never as markup. */

import { arrowKeys, fill } from "./lists.js";
import { movement } from "./movement.js";
import { listed } from "./story.js";

const element = (id) => document.getElementById(id);
const [found, ranking, log] = ["found", "ranking", "log"].map(element);

export const searched = () => element("search").value;

/** Call `click` with the token of a title that is clicked, in either list. */
export function onItem(click) {
  for (const list of [found, ranking]) {
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) click(button.dataset.token);
    });
    arrowKeys(list);
  }
}

export const onSearch = (search) => element("search").addEventListener("input", search);
export const onAgain = (again) => element("again").addEventListener("click", again);

export function showAbout(manifest, items, cloud) {
  const { name, dataset } = manifest.model;
  const titles = `${items.toLocaleString("en")} titles${dataset ? ` of ${dataset}` : ""}`;
  const sends = cloud ? "asks the cloud for corrections" : "sends nothing";
  element("about").textContent = `${name} runs in this page: it ranks ${titles} after every click, and ${sends}.`;
}

export function ready() {
  document.querySelector("main").hidden = false;
  element("cloud-row").hidden = false;
}

export function showFound(tokens, all, clicked, titles) {
  const rows = tokens.map((token) => {
    const mark = clicked.has(token) ? "✓ " : "";
    return { token, parts: [["title", mark + titles.title(token)], ["about", titles.about(token)]] };
  });
  fill(found, rows);
  const more = all > tokens.length ? `The first ${tokens.length} of ${all.toLocaleString("en")}; the search finds the rest.` : "";
  element("found-note").textContent = all ? more : "No title has these words.";
}

/** The button that was clicked can no longer have the focus. */
export const focusSearch = () => element("search").focus();

/** `moved` holds places risen, null for a title that is new; it is null itself after the first click. */
export function showRanking(tokens, moved, titles) {
  const rows = tokens.map((token, place) => {
    const [kind, text, spoken] = moved ? movement(moved[place]) : ["same", "", ""];
    const parts = [["place", `${place + 1}`], ["title", titles.title(token)], [`move ${kind}`, text, spoken]];
    return { token, parts };
  });
  fill(ranking, rows);
  element("next-note").textContent = moved ? "▲ ▼ places since the click before." : "From the clicks alone.";
}

export function showLog(tokens, window, policy, titles) {
  const lines = tokens.map((token, i) => {
    const line = document.createElement("li");
    line.textContent = titles.title(token);
    if (policy === "window" && i < tokens.length - window) line.className = "old";
    return line;
  });
  log.replaceChildren(...lines.reverse());
  const which = policy === "window" ? `The model reads the last ${window}.` : "The model carries all of them on.";
  element("past-note").textContent = `Latest first. ${which}`;
  element("again").disabled = false;
}

/** The figures are shown from the first click on. */
export function showFigures(clicks, figures, uploaded = 0) {
  element("figures").hidden = clicks === 0;
  const milliseconds = (value) => (value === undefined ? "–" : value.toFixed(value < 10 ? 2 : 1));
  element("clicks").textContent = clicks;
  element("last-ms").textContent = milliseconds(figures.last);
  element("median-ms").textContent = milliseconds(figures.median);
  element("sent").textContent = figures.sent(uploaded);
}

/** What the device did with the last click. */
export function showNews(token, first, milliseconds, titles) {
  const [clicked, best] = [titles.title(token), titles.title(first)];
  if (!first) return say(`You clicked “${clicked}”. Nothing is left to rank.`);
  say(`You clicked “${clicked}”. The model on this device ranked all other titles in ${inWords(milliseconds)}: “${best}” is first.`);
}

/** Before the first click: whose lists these are. */
export function showExample(tokens, titles) {
  const clicked = listed(tokens.map((token) => titles.title(token)));
  say(`An example: suppose you clicked ${clicked}. Click any title, and the lists become yours.`);
}

function say(text) {
  element("news").className = "";
  element("news").textContent = text;
}

const inWords = (milliseconds) => (milliseconds < 1 ? "less than a millisecond" : `${Math.round(milliseconds)} ms`);

export function showError(error) {
  element("news").className = "error";
  element("news").textContent = `This did not work: ${error.message}`;
}

export function clear() {
  log.replaceChildren();
  element("past-note").textContent = "None yet. They are kept nowhere but in this page.";
  element("again").disabled = true;
}
