/** What the items are called, best known first. */

export class Titles {
  /** `entries` is a list of [token, title, about]; items that it lacks are called by their tokens. */
  constructor(entries, vocabulary) {
    this.known = new Map(entries.map(([token, title, about]) => [token, { title, about }]));
    const listed = entries.map(([token]) => token).filter((token) => vocabulary.row(token));
    const rest = vocabulary.tokens.slice(1).filter((token) => !this.known.has(token));
    this.tokens = [...listed, ...rest];
    this.length = this.tokens.length;
  }

  title(token) {
    return this.known.get(token)?.title || token;
  }

  about(token) {
    return this.known.get(token)?.about ?? "";
  }
}

/** Tokens whose title holds every word of a search, in the order of the catalogue. */
export function matching(titles, search) {
  const words = plain(search).split(/\s+/).filter(Boolean);
  return titles.tokens.filter((token) => {
    const text = plain(`${titles.title(token)} ${titles.about(token)}`);
    return words.every((word) => text.includes(word));
  });
}

/** Lower case, without accents. */
function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
