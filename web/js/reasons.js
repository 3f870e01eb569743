/** Which click speaks most for an item, as the artifact's neighbour table has it. */

/**
 * For each item that the last clicks of `log` speak for, the clicked token that adds most to its score: a function from
 * token to token, or null where no click adds anything. An artifact without a table knows no reason.
 */
export function reasons({ manifest, neighbours, vocabulary }, log) {
  const shares = new Map(); // by row of an item: by row of a click, what it adds
  const { decay, clicks } = manifest.neighbours ?? { clicks: 0 };
  const counted = log.slice(Math.max(log.length - clicks, 0));
  counted.forEach((token, place) => {
    const click = vocabulary.row(token);
    const scale = neighbours.scales[click] * decay ** (counted.length - 1 - place);
    for (let at = neighbours.indptr[click]; at < neighbours.indptr[click + 1]; at++) {
      const item = neighbours.items[at];
      const share = shares.get(item) ?? shares.set(item, new Map()).get(item);
      share.set(click, (share.get(click) ?? 0) + neighbours.weights[at] * scale);
    }
  });
  return (token) => {
    const share = shares.get(vocabulary.row(token));
    if (!share) return null;
    const [click, most] = [...share].reduce((best, one) => (one[1] > best[1] ? one : best));
    return most > 0 ? vocabulary.token(click) : null;
  };
}
