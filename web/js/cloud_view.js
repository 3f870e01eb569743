/** What the page shows beside the device's list: the switch of the cloud, the second list, why it differs, what it cost. */

import { arrowKeys, fill } from "./lists.js";
import { movement } from "./movement.js";
import { becauseText, changeText, greatestRise } from "./story.js";

const element = (id) => document.getElementById(id);
const ranking = element("corrected");

export const isOn = () => element("cloud-switch").checked;
export const onSwitch = (change) => element("cloud-row").addEventListener("change", change);

/** Call `click` with the token of a title of the corrected list that is clicked. */
export function onItem(click) {
  ranking.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) click(button.dataset.token);
  });
  arrowKeys(ranking);
}

/** `reason` says why there is no cloud to ask; empty where there is one. `methods` is [[value, name]]. */
export function offer(reason, methods) {
  element("cloud-switch").disabled = Boolean(reason);
  element("cloud-about").textContent = reason ? `Not available: ${reason}.` : "Off: nothing leaves this page.";
  const radios = methods.map(([value, name], i) => {
    const label = document.createElement("label");
    const radio = label.appendChild(document.createElement("input"));
    Object.assign(radio, { type: "radio", name: "method", value, checked: i === 0, autocomplete: "off" });
    label.append(name);
    return label;
  });
  element("cloud-method").append(...radios);
}

/** Of the methods, the one that is chosen. */
export const chosen = () => document.querySelector("input[name=method]:checked").value;

/** What the switch says and shows; `method` is null while it is off. */
export function showSwitch(method, service, deadline) {
  const on = Boolean(method);
  element("cloud-figures").hidden = !on;
  element("cloud-method").hidden = !on || element("cloud-method").querySelectorAll("input").length < 2;
  element("cloud-about").textContent = on
    ? `On: after each click ${method.sends} go to ${service}.`
    : "Off: nothing leaves this page.";
  element("deadline").textContent = deadline;
  clear();
}

/** Whether there is a second list, called `title`; null where the device's model is alone. */
export function showSecond(title) {
  document.body.classList.toggle("two-lists", title !== null);
  for (const id of ["cloud", "cloud-said"]) element(id).hidden = title === null;
  element("next-title").textContent = title === null ? "Next for you" : "The model alone";
  element("cloud-title").textContent = title;
}

/**
 * The second list beside that of the model alone, both with more places than are `shown`. `moved` says how far each title
 * stands from its place in the first, `reason` gives the click that speaks for a token, or null.
 */
export function showBoth(corrected, alone, moved, shown, reason, titles) {
  const rows = corrected.slice(0, shown).map((token, place) => {
    const [kind, text, spoken] = movement(moved[place]);
    const parts = [["place", `${place + 1}`], ["title", titles.title(token)], [`move ${kind}`, text, spoken]];
    if (["up", "new"].includes(kind) && reason(token)) parts.push(["because", becauseText(reason(token), titles)]);
    return { token, parts };
  });
  fill(ranking, rows);
  const first = new Set(alone.slice(0, shown));
  const other = rows.filter(({ token }, place) => token !== alone[place]).length;
  const entered = rows.filter(({ token }) => !first.has(token)).length;
  element("cloud-note").textContent = other
    ? `▲ ▼ against the model alone: ${other} of ${rows.length} places differ, ${entered} ${entered === 1 ? "title is" : "titles are"} new.`
    : `The same ${rows.length} places as the model alone.`;
}

/** What made the second list differ: the story in one sentence. */
export function changeOf(by, corrected, moved, shown, reason, titles) {
  return changeText(by, greatestRise(corrected.slice(0, shown), moved, reason), reason, titles);
}

export const say = (text) => (element("cloud-said").textContent = text);

/**
 * What became of the request: {status, reason, upload, download, milliseconds}; `late` if it came after the deadline,
 * `change` what it changed.
 */
export function showAnswer({ status, reason, upload, download, milliseconds }, deadline, late, change) {
  element("cloud-status").textContent = status;
  element("cloud-status").className = status;
  element("upload").textContent = upload.toLocaleString("en");
  element("download").textContent = download.toLocaleString("en");
  element("round-trip").textContent = milliseconds === undefined ? "–" : inMilliseconds(milliseconds);
  if (status !== "corrected") return say(`${reason}: the list is the device's own.`);
  const took = `after ${inMilliseconds(milliseconds)} ms`;
  const when = late ? `${took}, later than the ${deadline} ms allowed; the list has been updated` : `in time, ${took} of ${deadline}`;
  say(`Corrected ${when}. ${change}`);
}

const inMilliseconds = (value) => value.toFixed(value < 10 ? 2 : 0);

export function clear() {
  fill(ranking, []);
  for (const id of ["upload", "download", "round-trip", "cloud-status"]) element(id).textContent = "–";
  element("cloud-status").className = "";
  element("cloud-note").textContent = "The cloud is asked after your next click.";
  say("");
}
