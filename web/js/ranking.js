/** The rows with the greatest scores, and what moved between two rankings. */

/** The `k` best rows, greatest score first, equal scores in the order of the rows; `out` is a set of rows to leave. */
export function best(scores, k, out) {
  const rows = [];
  for (let row = 0; row < scores.length; row++) {
    if (!Number.isFinite(scores[row])) throw new Error("the item table is damaged: a score is not finite");
    if (!out.has(row)) rows.push(row);
  }
  return rows.sort((a, b) => scores[b] - scores[a] || a - b).slice(0, k);
}

/** For each token of a ranking: places it rose (below 0: fell), or null where the earlier ranking lacks it. */
export function moves(tokens, before) {
  const places = new Map(before.map((token, place) => [token, place]));
  return tokens.map((token, place) => (places.has(token) ? places.get(token) - place : null));
}
