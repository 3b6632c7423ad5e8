/**
 * Keys and values as an attention reads them: a head of a row, vector by vector, from plain numbers or from a quantised state
 * (compiler/ir/state-format.ts), which is dequantised in registers. Every part of the kernels reads them through here.
 */
import { headWords, heldRowWords } from '../ir/state-format.ts';
import type { HeldView } from './kernel.ts';
import type { Lanes, Memory } from './printer.ts';
import { slotOf, vecType } from './printer.ts';
import { int8Codes } from './weights.ts';

export interface HeadRows {
  /** Where KV head `head` of row `row` begins; kept in a `let`, and given to `load`. */
  start(row: string, head: string): string;
  /** The `i`-th vector of the head that begins at the identifier `start`, f32. */
  load(start: string, i: string): string;
}

/** Declares rows of heads of `dim` elements that are read `w` at a time; `w` divides `dim`. */
export function declareHeadRows(memory: Memory, role: string, view: HeldView, dim: number, w: Lanes): HeadRows {
  const { storage } = view;
  if (typeof storage === 'string') {
    const plain = memory.view(role, { ...view, storage }, w);
    return {
      start: (row, head) => plain.element(row, `${head} * ${dim}u`),
      load: (start, i) => plain.load(`${start} + ${w > 1 ? `(${i}) * ${w}u` : i}`, w),
    };
  }
  const name = memory.entries(role, view.binding, 'u32'), own = name.replace(/_data$/, ''), per = headWords(storage, view.stride);
  memory.helper('int8_codes', int8Codes);
  // Where the codes begin, and the scale's bits.
  const head = memory.helper(`${own}_head`, `fn ${own}_head(row: u32, head: u32) -> vec2<u32> {
  let base = row * ${heldRowWords(storage, view.stride)}u;
  return vec2<u32>(base + head * ${per}u, bitcast<u32>(unpack2x16float(${name}[base + ${storage.heads * per}u + (head >> 1u)])[head & 1u]));
}`);
  const codes = (start: string, word: string): string => `int8_codes(${name}[${start}.x + ${word}])`;
  const few = w === 4 ? '' : memory.helper(`${own}_few`, `fn ${own}_few(start: u32, e: u32) -> ${vecType(w)} {
  let four = int8_codes(${name}[start + (e >> 2u)]);
  return ${w === 2 ? 'select(four.xy, four.zw, (e & 2u) != 0u)' : 'four[e & 3u]'};
}`);
  return {
    start: (row, at) => `${head}(${slotOf(memory, view, row)}, ${at})`,
    load: (start, i) => `(${w === 4 ? codes(start, `(${i})`) : `${few}(${start}.x, ${w > 1 ? `(${i}) * ${w}u` : i})`} * bitcast<f32>(${start}.y))`,
  };
}
