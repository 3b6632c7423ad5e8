/**
 * In which format a state (KV cache, visual memory) holds its rows, and how they lie. A state leaf carries the format's text as the
 * attribute `format` (`state "….k": f32[visual+text.context, 64] {format = "int8:heads=2"}`); without one, rows are f32.
 *
 * - `f16`: every element in half the bits, beyond ±65504 the largest there is.
 * - `int8`: a row is a record of little-endian 32-bit words, so that rows can be read, written and copied alone: for each of its
 *   `heads` heads of d elements ⌈d/4⌉ words of codes, then ⌈heads/2⌉ words of f16 scales, two a word, the earlier in the low
 *   half. Element 4w + i of a head is byte i of its word w, two's complement, −127 to 127; value = code · scale. The scale is
 *   the least f16 that reaches the head's largest element, so an element is off by half a scale at most. Scales are no
 *   subnormals, which devices may take for 0: a head below 127 · 2⁻¹⁴ has fewer steps.
 */
import { roundToF16 } from './f16.ts';
import type { Node } from './graph.ts';
import { rowElements } from './types.ts';

export interface Int8Heads { readonly kind: 'int8'; readonly heads: number }
export type StateFormat = { readonly kind: 'f32' } | { readonly kind: 'f16' } | Int8Heads;
/** What can be asked for: how many heads a row has, the graph knows. */
export const stateFormatKinds = ['f32', 'f16', 'int8'] as const;
export type StateFormatKind = (typeof stateFormatKinds)[number];

/** `f16`, `int8:heads=8`. */
export const printStateFormat = (f: StateFormat): string => (f.kind === 'int8' ? `int8:heads=${f.heads}` : f.kind);
/** What `parseStateFormat` reads, for an error message. */
export const stateFormats = 'f32, f16, and int8 with the number of heads in a row, as in int8:heads=8';
/** Reads a format; undefined for what is none. */
export function parseStateFormat(text: string): StateFormat | undefined {
  if (text === 'f32' || text === 'f16') return { kind: text };
  const heads = Number(/^int8:heads=([1-9]\d*)$/.exec(text)?.[1]);
  return Number.isSafeInteger(heads) ? { kind: 'int8', heads } : undefined;
}

const f32: StateFormat = { kind: 'f32' };
/** The format of a state leaf. */
export const stateFormatOf = (state: Node): StateFormat => (state.attrs['format'] === undefined ? f32 : parseStateFormat(String(state.attrs['format'])) ?? f32);

/** Words of one head's codes. */
export const headWords = ({ heads }: Int8Heads, width: number): number => Math.ceil(width / heads / 4);
/** Words of a row of `width` elements; the scales follow the codes of all heads. */
export const heldRowWords = (f: Int8Heads, width: number): number => f.heads * headWords(f, width) + Math.ceil(f.heads / 2);
/** Bytes of a row of `width` elements. */
export const heldRowBytes = (f: StateFormat, width: number): number => (f.kind === 'f32' ? 4 * width : f.kind === 'f16' ? 2 * width : 4 * heldRowWords(f, width));
/** Bytes of a row of a state. */
export const stateRowBytes = (state: Node): number => heldRowBytes(stateFormatOf(state), rowElements(state.type));

const largestHalf = 65504, leastScale = 2 ** -14;
/** The scale of a head whose largest element is `most`: an f16 that 127 steps reach it with. */
export function headScale(most: number): number {
  const want = Math.min(Math.max(Math.fround(most / 127), leastScale), largestHalf), near = roundToF16(want);
  // The next f16: steps are 2^-10 of the power of two below.
  return near < want ? near + 2 ** (Math.floor(Math.log2(near)) - 10) : near;
}

/** What a later step finds of rows `[…, width]` that were stored in a format. */
export function asHeld(format: StateFormat, values: Float32Array, width: number): Float32Array {
  if (format.kind === 'f32') return values;
  if (format.kind === 'f16') return values.map((x) => Math.min(Math.max(roundToF16(x), -largestHalf), largestHalf));
  const out = new Float32Array(values.length), d = width / format.heads;
  for (let at = 0; at < values.length; at += d) {
    const scale = headScale(values.subarray(at, at + d).reduce((m, x) => Math.max(m, Math.abs(x)), 0));
    for (let i = at; i < at + d; i++) out[i] = Math.min(Math.max(halfToEven(values[i]! / scale), -127), 127) * scale;
  }
  return out;
}
const halfToEven = (x: number): number => { const r = Math.round(x); return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r; };
