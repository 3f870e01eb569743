/** What a session's clicks say for other items, kept up click by click. Mirrors device/running_scores.py. */

export class RunningScores {
  /** `items`, `weights` and `scales` are the neighbour table's arrays, `settings` what the manifest says of it. */
  constructor({ items, weights, scales }, settings) {
    Object.assign(this, { items, weights, scales, settings });
    this.start([]);
  }

  /** Refuse a click on an item whose row names what the catalogue lacks. */
  check(row) {
    const { count } = this.settings;
    if (!this.items.subarray(row * count, (row + 1) * count).every((item) => item < this.scales.length)) {
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
    const { count } = this.settings;
    for (let place = row * count; place < (row + 1) * count; place++) {
      const item = this.items[place];
      if (item) this.scores.set(item, (this.scores.get(item) ?? 0) + this.weights[place] * scale);
    }
  }

  /** p of a row; 0 where no click says anything. */
  at(row) {
    return (this.scores.get(row) ?? 0) * this.unit;
  }
}
