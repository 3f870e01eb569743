/** What the page shows of the cloud: the switch, the second list, and what it cost. */

import { arrowKeys, fill } from "./lists.js";
import { movement } from "./movement.js";

const element = (id) => document.getElementById(id);
const ranking = element("corrected");

export const isOn = () => element("cloud-switch").checked;
export const switchOff = () => (element("cloud-switch").checked = false);
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

export function showLoading() {
  element("cloud-about").textContent = "Loading what computes corrections …";
}

/** Both lists, or, without a `method`, the device's alone. */
export function showSwitch(method, service, deadline) {
  const on = Boolean(method);
  document.body.classList.toggle("with-cloud", on);
  for (const id of ["cloud", "cloud-figures", "cloud-said"]) element(id).hidden = !on;
  element("cloud-method").hidden = !on || element("cloud-method").querySelectorAll("input").length < 2;
  element("next-title").textContent = on ? "The device alone" : "Next for you";
  element("cloud-about").textContent = on
    ? `On: after each click ${method.sends} go to ${service}.`
    : "Off: nothing leaves this page.";
  element("deadline").textContent = deadline;
  clear();
}

/** The corrected list beside the device's, both with more places than are `shown`. */
export function showBoth(corrected, device, moved, shown, titles) {
  const rows = corrected.slice(0, shown).map((token, place) => {
    const [kind, text, spoken] = movement(moved[place]);
    return { token, parts: [["place", `${place + 1}`], ["title", titles.title(token)], [`move ${kind}`, text, spoken]] };
  });
  fill(ranking, rows);
  const first = new Set(device.slice(0, shown));
  const other = rows.filter(({ token }, place) => token !== device[place]).length;
  const entered = rows.filter(({ token }) => !first.has(token)).length;
  element("cloud-note").textContent = other
    ? `${other} of ${rows.length} places differ from the device's; ${entered} ${entered === 1 ? "title is" : "titles are"} new here.`
    : `The same ${rows.length} places as the device's.`;
}

/** What became of the request: {status, reason, upload, download, milliseconds}; `late` if it came after the deadline. */
export function showAnswer({ status, reason, upload, download, milliseconds }, late) {
  element("cloud-status").textContent = status;
  element("cloud-status").className = status;
  element("upload").textContent = upload.toLocaleString("en");
  element("download").textContent = download.toLocaleString("en");
  const known = milliseconds !== undefined;
  element("round-trip").textContent = known ? milliseconds.toFixed(milliseconds < 10 ? 2 : 0) : "–";
  const after = late ? " after the deadline; the list has been updated" : " in time";
  element("cloud-said").textContent = status === "corrected" ? `Corrected${after}.` : `${reason}: the list is the device's own.`;
}

export function clear() {
  fill(ranking, []);
  for (const id of ["upload", "download", "round-trip", "cloud-status"]) element(id).textContent = "–";
  element("cloud-status").className = "";
  element("cloud-said").textContent = "";
  element("cloud-note").textContent = "Nothing yet.";
}
