import type { Int8Heads } from '../../compiler/ir/state-format.ts';
import { asHeld, headScale, headWords, heldRowWords } from '../../compiler/ir/state-format.ts';
import { toF16 } from '../../runtime/half.ts';

/** Rows of `width` values as a quantised state holds them. */
export function heldRows(format: Int8Heads, values: Float32Array, width: number): Uint32Array<ArrayBuffer> {
  const words = heldRowWords(format, width), per = headWords(format, width), d = width / format.heads, rows = values.length / width;
  const out = new Uint32Array(rows * words), codes = new Int8Array(out.buffer), halves = new Uint16Array(out.buffer), held = asHeld(format, values, width);
  for (let r = 0; r < rows; r++) for (let h = 0; h < format.heads; h++) {
    const from = r * width + h * d, scale = headScale(values.subarray(from, from + d).reduce((m, x) => Math.max(m, Math.abs(x)), 0));
    for (let e = 0; e < d; e++) codes[4 * (r * words + h * per) + e] = Math.round(held[from + e]! / scale);
    halves[2 * (r * words + format.heads * per) + h] = toF16(scale);
  }
  return out;
}
