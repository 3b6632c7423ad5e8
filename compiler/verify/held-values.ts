import { f16ToF32 } from '../../runtime/half.ts';
import type { StateFormat } from '../ir/state-format.ts';
import { headWords, heldRowWords } from '../ir/state-format.ts';

/** The values of rows of `width` elements as a state's buffer holds them (compiler/ir/state-format.ts). */
export function heldValues(format: StateFormat, bytes: ArrayBuffer, width: number): Float32Array {
  if (format.kind === 'f32') return new Float32Array(bytes);
  const halves = f16ToF32(new Uint16Array(bytes));
  if (format.kind === 'f16') return halves;
  const words = heldRowWords(format, width), per = headWords(format, width), d = width / format.heads, rows = bytes.byteLength / 4 / words;
  const codes = new Int8Array(bytes), out = new Float32Array(rows * width);
  for (let r = 0; r < rows; r++) for (let h = 0; h < format.heads; h++) {
    const scale = halves[2 * (r * words + format.heads * per) + h]!;
    for (let e = 0; e < d; e++) out[r * width + h * d + e] = codes[4 * (r * words + h * per) + e]! * scale;
  }
  return out;
}
