/** What a session's clicks say for other items, kept up click by click. Mirrors device/running_scores.py. */

// The longest row, in rows of average length.
const LONGEST_ROW = 8;

export class RunningScores {
  /**
   * `indptr`, `items`, `weights` and `scales` are the neighbour table's arrays, `settings` what the manifest says of it.
   * A table whose rows are not one after another is an error.
   */
  constructor({ indptr, items, weights, scales }, settings) {
    const begins = indptr[0] === 0 && indptr.at(-1) === items.length && indptr.length === scales.length + 1;
    const most = LONGEST_ROW * settings.count;
    const right = scales.every((_, row) => indptr[row] <= indptr[row + 1] && indptr[row + 1] - indptr[row] <= most);
    if (!(begins && right)) throw new Error("the neighbour table is damaged: it does not say where its rows begin");
    Object.assign(this, { indptr, items, weights, scales, settings });
    this.start([]);
  }

  /** Refuse a click on an item whose row names what the catalogue lacks. */
  check(row) {
    if (!this.items.subarray(this.indptr[row], this.indptr[row + 1]).every((item) => item < this.scales.length)) {
      throw new Error(`the neighbour table is damaged: its row ${row} names an item that the catalogue lacks`);
    }
  }

  /** One more click. */
  add(row) {
    this.rows.push(row);
    if (this.age === this.settings.clicks) this.start(this.rows);
    else this.#add(row);
  }

  /** p of the last of these clicks that count, oldest first, and of no others. */
  start(rows) {
    this.rows = rows.slice(-this.settings.clicks);
    this.scores = new Map();
    this.unit = 1; // of the numbers in `scores`: it is divided instead of them
    this.rows.forEach((click) => this.#add(click));
    this.age = 0;
  }

  #add(row) {
    this.age += 1;
    this.unit *= this.settings.decay;
    const scale = this.scales[row] / this.unit;
    for (let place = this.indptr[row]; place < this.indptr[row + 1]; place++) {
      const item = this.items[place];
      this.scores.set(item, (this.scores.get(item) ?? 0) + this.weights[place] * scale);
    }
  }

  /** p of a row; 0 where no click says anything. */
  at(row) {
    return (this.scores.get(row) ?? 0) * this.unit;
  }
}
