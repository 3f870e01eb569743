/** The item table: float32, float16, or int8 with a scale per row. */

const VIEWS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

/** The numbers of an array's bytes; float16 becomes float32, because few browsers have an array of it. */
export function numbers(buffer, dtype) {
  if (dtype === "float16") return Float32Array.from(new Uint16Array(buffer), halfToNumber);
  return new VIEWS[dtype](buffer);
}

/** A half-precision number from its 16 bits: a sign, five bits of exponent, ten of fraction. */
export function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
}

export class ItemTable {
  /** `rows` holds [n, width] numbers, row after row; `scales` one number a row, for int8. */
  constructor(rows, scales, width) {
    this.rows = rows;
    this.scales = scales;
    this.width = width;
    this.length = rows.length / width;
  }

  /** Write the vector of a row into `target` from `offset` on. */
  copyVector(row, target, offset = 0) {
    const start = row * this.width;
    const scale = this.scales ? this.scales[row] : 1;
    for (let i = 0; i < this.width; i++) target[offset + i] = this.rows[start + i] * scale;
  }

  /** Vectors of some rows, [n, width], with room for `length` of them. */
  vectors(rows, length = rows.length) {
    const result = new Float32Array(length * this.width);
    rows.forEach((row, i) => this.copyVector(row, result, i * this.width));
    return result;
  }

  /** The scores of some rows. */
  scores(user, rows) {
    return rows.map((row) => {
      const start = row * this.width;
      let sum = 0;
      for (let i = 0; i < this.width; i++) sum += this.rows[start + i] * user[i];
      return this.scales ? sum * this.scales[row] : sum;
    });
  }

  /** The score of every row: its dot product with the user vector. */
  allScores(user) {
    const scores = new Float32Array(this.length);
    for (let row = 0, at = 0; row < this.length; row++) {
      let sum = 0;
      for (let i = 0; i < this.width; i++, at++) sum += this.rows[at] * user[i];
      scores[row] = this.scales ? sum * this.scales[row] : sum;
    }
    return scores;
  }
}
