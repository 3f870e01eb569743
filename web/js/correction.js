/** What goes to the cloud and what comes back, as bytes. Mirrors device/correction.py and cloud/wire.py. */

/** A^ and then B^, float32 and little-endian, as two arrays. */
export function decoded(body, { attention, bias }) {
  const expected = 4 * (count(attention) + count(bias));
  if (body.byteLength !== expected) {
    throw new Error(`a correction of ${body.byteLength} bytes; this model reads ${expected}`);
  }
  const values = new Float32Array(body);
  if (!values.every(Number.isFinite)) throw new Error("a correction with numbers that are not finite");
  return { attention: values.slice(0, count(attention)), bias: values.slice(count(attention)) };
}

/** What the header X-Shape of a correction must be: H,K,f. */
export const shapeName = ({ bias }) => bias.join(",");

const count = (shape) => shape.reduce((product, n) => product * n, 1);
