/** Lists of buttons that keep the focus where it is while their text changes. */

/**
 * Show `rows`, [{token, parts: [[class, text, spoken]]}], one button each. Buttons are used again by place, so the
 * one that has the focus keeps it.
 */
export function fill(list, rows) {
  while (list.children.length > rows.length) list.lastElementChild.remove();
  rows.forEach(({ token, parts }, i) => {
    const button = list.children[i]?.firstElementChild ?? added(list);
    button.dataset.token = token;
    button.replaceChildren(...parts.map(part));
  });
}

function added(list) {
  const line = list.appendChild(document.createElement("li"));
  const button = line.appendChild(document.createElement("button"));
  button.type = "button";
  return button;
}

function part([kind, text, spoken]) {
  const span = document.createElement("span");
  span.className = kind;
  span.textContent = text;
  if (spoken) {
    span.setAttribute("role", "img");
    span.setAttribute("aria-label", spoken);
  }
  return span;
}

/** Up, Down, Home and End move the focus within a list. */
export function arrowKeys(list) {
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const here = buttons.indexOf(document.activeElement);
    const places = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 };
    const next = buttons[places[event.key]];
    if (here < 0 || !next) return;
    event.preventDefault();
    next.focus();
  });
}
