/** What happened, in words. */

/** Places in which a title that moved is looked for. */
export const COMPARED = 200;

const quoted = (title) => `“${title}”`;
const place = (n) => (n === null ? `beyond place ${COMPARED}` : `place ${n + 1}`);

/** "“A”, “B” and “C”" */
export function listed(titles) {
  const all = titles.map(quoted);
  return all.length > 1 ? `${all.slice(0, -1).join(", ")} and ${all.at(-1)}` : all.join("");
}

/**
 * The title whose rise a person sees first: {token, from, to}, places from 0, `from` null where the earlier list lacks
 * it; null if none rose. Titles with a reason come before those without.
 */
export function greatestRise(tokens, moved, reason) {
  const rises = tokens.map((token, to) => ({ token, to, from: moved[to] === null ? null : to + moved[to] }));
  const seen = ({ from, to }) => 1 / (to + 1) - (from === null ? 0 : 1 / (from + 1));
  const risen = rises.filter((rise) => seen(rise) > 0);
  const explained = risen.filter(({ token }) => reason(token));
  const among = explained.length ? explained : risen;
  return among.length ? among.reduce((best, one) => (seen(one) > seen(best) ? one : best)) : null;
}

/** What `by` has changed: "The cloud lifted “A” from place 9 to place 2, because you clicked “B”." */
export function changeText(by, rise, reason, titles) {
  if (!rise) return `${by} changed nothing here.`;
  const why = reason(rise.token) ? `, ${becauseText(reason(rise.token), titles)}` : "";
  return `${by} lifted ${quoted(titles.title(rise.token))} from ${place(rise.from)} to ${place(rise.to)}${why}.`;
}

export const becauseText = (clicked, titles) => `because you clicked ${quoted(titles.title(clicked))}`;
