/** Item tokens by row, and rows by token. Row 0 is padding. */

export class Vocabulary {
  constructor(tokenBytes, offsets) {
    const decoder = new TextDecoder();
    this.tokens = [];
    this.rows = new Map();
    for (let row = 0; row + 1 < offsets.length; row++) {
      const token = decoder.decode(tokenBytes.subarray(offsets[row], offsets[row + 1]));
      this.tokens.push(token);
      if (row) this.rows.set(token, row);
    }
  }

  token(row) {
    return this.tokens[row];
  }

  /** The row of a token; 0 for one that is unknown. */
  row(token) {
    return this.rows.get(token) ?? 0;
  }
}
