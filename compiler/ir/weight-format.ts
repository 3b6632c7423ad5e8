/**
 * In which format a bundle stores a weight, and how its rows lie. A weight leaf carries the format's text as the attribute
 * `format` (`weight "w": f32[8, 64] {format = "int4:group=32"}`); without one, the compilation's own dtype is meant.
 *
 * A quantised row is a record of little-endian 32-bit words, so that rows can be read, written, split and bound alone:
 *
 * - `int8`: ⌈K/4⌉ words of codes, then one word, the row's scale as f32. Element 4w + i is byte i of word w, two's complement;
 *   value = code · scale. (An f16 scale would leave half of that word empty.)
 * - `int4`: ⌈K/8⌉ words of codes, then the scales of ⌈K/group⌉ groups along K. Element 8w + i is the low nibble of byte i of word w,
 *   element 8w + 4 + i the high one. Symmetric: f16 scales, two a word, the earlier in the low half; value = (code − 8) · scale.
 *   A scale may be negative. Asymmetric: a word a group, f16 scale in the low half and f16 offset in the high one; value = code · scale + offset.
 *
 * Codes beyond K, in the last word, stand for 0 (asymmetric: for the offset); products multiply them by 0.
 */
import type { Node } from './graph.ts';

/** Elements along K that share a scale. */
export const int4Groups = [32, 64, 128] as const;
export interface Int8Format { readonly kind: 'int8' }
export interface Int4Format { readonly kind: 'int4'; readonly group: (typeof int4Groups)[number]; readonly symmetric: boolean }
export type QuantisedFormat = Int8Format | Int4Format;
export type PlainFormat = { readonly kind: 'f32' } | { readonly kind: 'f16' };
export type WeightFormat = PlainFormat | QuantisedFormat;

export const isQuantised = (f: WeightFormat): f is QuantisedFormat => f.kind === 'int8' || f.kind === 'int4';

/** `f16`, `int8`, `int4:group=64,asymmetric`. */
export const printWeightFormat = (f: WeightFormat): string => (f.kind === 'int4' ? `int4:group=${f.group}${f.symmetric ? '' : ',asymmetric'}` : f.kind);

/** What `parseWeightFormat` reads, for an error message. */
export const weightFormats = 'f32, f16, int8, and int4 with :group=32, 64 or 128 (32 by default) and :symmetric or :asymmetric (symmetric by default), as in int4:group=64,asymmetric';

/** Reads a format; undefined for what is none. */
export function parseWeightFormat(text: string): WeightFormat | undefined {
  const [kind, options, more] = text.trim().split(':') as [string, string?, string?];
  if (more !== undefined) return undefined;
  if (kind === 'f32' || kind === 'f16' || kind === 'int8') return options === undefined ? { kind } : undefined;
  if (kind !== 'int4') return undefined;
  let group: Int4Format['group'] | undefined, symmetric: boolean | undefined;
  for (const option of options === undefined ? [] : options.split(',').map((o) => o.trim())) {
    const size = /^group=(\d+)$/.exec(option)?.[1], known = int4Groups.find((g) => String(g) === size);
    if (known !== undefined && group === undefined) group = known;
    else if ((option === 'symmetric' || option === 'asymmetric') && symmetric === undefined) symmetric = option === 'symmetric';
    else return undefined;
  }
  return { kind, group: group ?? 32, symmetric: symmetric ?? true };
}

/** The format of a weight leaf. Vectors are f32 in every bundle: they are small, and what they scale is not. */
export function formatOf(weight: Node, plain: PlainFormat): WeightFormat {
  if (weight.type.dims.length < 2) return { kind: 'f32' };
  const text = weight.attrs['format'];
  return text === undefined ? plain : parseWeightFormat(String(text)) ?? plain;
}

/** Words of a quantised row's codes; its scales follow. */
export const codeWords = (f: QuantisedFormat, K: number): number => Math.ceil(K / (f.kind === 'int8' ? 4 : 8));
/** Words of a quantised row. */
export function rowWords(f: QuantisedFormat, K: number): number {
  if (f.kind === 'int8') return codeWords(f, K) + 1;
  const groups = Math.ceil(K / f.group);
  return codeWords(f, K) + (f.symmetric ? Math.ceil(groups / 2) : groups);
}
/** Bytes of a row of K elements. */
export const rowBytes = (f: WeightFormat, K: number): number => (f.kind === 'f32' ? 4 * K : f.kind === 'f16' ? 2 * K : 4 * rowWords(f, K));
