/**
 * Rows of weights to codes and scales (the layout stands in compiler/ir/weight-format.ts), and back. Each scale is the
 * smallest that reaches the largest element of its row or group, and each element goes to the nearest code, so no element is
 * off by more than half a step, its scale. Rows do not depend on each other.
 */
import { f16ToF32, f32ToF16, fromF16, toF16 } from '../../runtime/half.ts';
import { UserError } from '../ir/errors.ts';
import type { Int4Format, QuantisedFormat, WeightFormat } from '../ir/weight-format.ts';
import { codeWords, isQuantised, printWeightFormat, rowWords } from '../ir/weight-format.ts';

/** What storing a tensor costs in accuracy: sums over its elements. */
export interface QuantisationError {
  /** Σ (stored − given)². */
  squaredError: number;
  /** Σ given². */
  squares: number;
  /** Largest |stored − given|. */
  worst: number;
  /** Largest |given|. */
  largest: number;
}
export const noError = (): QuantisationError => ({ squaredError: 0, squares: 0, worst: 0, largest: 0 });
export const addErrors = (a: QuantisationError, b: QuantisationError): QuantisationError =>
  ({ squaredError: a.squaredError + b.squaredError, squares: a.squares + b.squares, worst: Math.max(a.worst, b.worst), largest: Math.max(a.largest, b.largest) });

/** The least f16 that is at least x, as its bits; x is not negative. */
function ceilF16(x: number): number {
  const bits = toF16(x);
  return fromF16(bits) < x ? bits + 1 : bits;
}
/** The largest f16 that is at most x, as its bits. */
function floorF16(x: number): number {
  const bits = toF16(x);
  if (fromF16(bits) <= x) return bits;
  // Downwards is towards zero for positive numbers, away from it for negative ones; below +0 comes the smallest negative.
  return bits === 0 ? 0x8001 : bits & 0x8000 ? bits + 1 : bits - 1;
}

/**
 * Quantises rows of K numbers into words.
 * @returns the error that was made; its `largest` is no finite number if one of the given ones is none, and the words mean nothing then.
 * @throws UserError when a scale or an offset leaves the range of f16.
 */
export function quantiseRows(format: QuantisedFormat, values: Float32Array, K: number, out: Uint32Array, name: string): QuantisationError {
  const words = rowWords(format, K), rows = values.length / K, error = noError(), bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * K, (r + 1) * K), own = bits.subarray(r * K, (r + 1) * K), to = out.subarray(r * words, (r + 1) * words);
    if (format.kind === 'int8') int8Row(row, own, to, error); else int4Row(format, row, own, to, error, name);
  }
  return error;
}

const found = new Float32Array(2), foundBits = new Int32Array(found.buffer);
/**
 * The largest element above 0 (else 0), in `found[0]`, and the largest −x of those below (else 0), in `found[1]`. Over the bits of
 * the floats, whose order is that of integers, and without branches: no processor guesses where the extremes of weights are.
 */
function findExtremes(bits: Int32Array, from: number, end: number): void {
  let above = 0, below = 0;
  for (let k = from; k < end; k++) {
    const b = bits[k]!, sign = b >> 31, up = above - (b & ~sign), down = below - (b & sign & 0x7fffffff);
    above -= up & (up >> 31);
    below -= down & (down >> 31);
  }
  foundBits[0] = above;
  foundBits[1] = below;
}

function int8Row(row: Float32Array, bits: Int32Array, out: Uint32Array, error: QuantisationError): void {
  const K = row.length;
  findExtremes(bits, 0, K);
  const largest = Math.max(found[0]!, found[1]!);
  // Below the normal numbers devices may see zeros.
  const scale = largest > 0 ? Math.max(Math.fround(largest / 127), 2 ** -126) : 0, inverse = scale > 0 ? 1 / scale : 0;
  let squaredError = 0, squares = 0, worst = 0;
  for (let w = 0, k = 0; k < K; w++) {
    let packed = 0;
    for (const end = Math.min(K, k + 4); k < end; k++) {
      // Positive before it is cut off, so this rounds to the nearest.
      const x = row[k]!, code = ((x * inverse + 128.5) | 0) - 128, e = Math.abs(code * scale - x);
      packed |= (code & 255) << ((k & 3) * 8);
      squaredError += e * e;
      squares += x * x;
      if (e > worst) worst = e;
    }
    out[w] = packed;
  }
  add(error, squaredError, squares, worst, largest);
  word[0] = scale;
  out[codeWords({ kind: 'int8' }, K)] = wordBits[0]!;
}

function int4Row(format: Int4Format, row: Float32Array, rowBits: Int32Array, out: Uint32Array, error: QuantisationError, name: string): void {
  const K = row.length, { group, symmetric } = format, scales = codeWords(format, K);
  out.fill(0, scales);
  let squaredError = 0, squares = 0, worst = 0, over = 0;
  for (let g = 0, from = 0; from < K; g++, from += group) {
    const end = Math.min(K, from + group);
    findExtremes(rowBits, from, end);
    const largest = Math.max(found[0]!, found[1]!);
    let high = found[0]!, low = -found[1]!;
    if (!symmetric && (high === 0 || low === 0)) { // of one sign: 0 is perhaps not among them
      low = high = row[from]!;
      for (let k = from + 1; k < end; k++) { const x = row[k]!; if (x < low) low = x; else if (x > high) high = x; }
    }
    const offsetBits = symmetric ? 0 : floorF16(low);
    const bits = symmetric ? symmetricScale(low, high) : ceilF16(Math.max(0, high - fromF16(offsetBits)) / 15), scale = fromF16(bits);
    // What code 0 stands for.
    const base = symmetric ? -8 * scale : fromF16(offsetBits), inverse = scale === 0 ? 0 : 1 / scale;
    if (largest < Infinity && !(Number.isFinite(scale) && Number.isFinite(base)))
      throw new UserError(`Tensor '${name}' holds ${high > -low ? high : low}, for which the f16 scales of ${printWeightFormat(format)} do not reach. Keep it in a wider format: --keep ${name.replace(/\.weight$/, '')}:f32.`);
    over = Math.max(over, largest);
    for (let w = from >> 3, k = from; k < end; w++) {
      let packed = 0, i = 0;
      for (; i < 8 && k < end; i++, k++) {
        // 16 at most, and then 15.
        const x = row[k]!, nearest = ((x - base) * inverse + 0.5) | 0, code = nearest - (nearest >> 4), e = code * scale + base - x, square = e * e;
        packed |= code << ((i & 3) * 8 + (i & 4));
        squaredError += square;
        squares += x * x;
        if (square > worst) worst = square;
      }
      // Behind the row's end stands the code of 0.
      for (; i < 8 && symmetric; i++) packed |= 8 << ((i & 3) * 8 + (i & 4));
      out[w] = packed;
    }
    if (symmetric) out[scales + (g >> 1)]! |= bits << ((g & 1) * 16); else out[scales + g] = bits | (offsetBits << 16);
  }
  add(error, squaredError, squares, Math.sqrt(worst), over);
}

function add(error: QuantisationError, squaredError: number, squares: number, worst: number, largest: number): void {
  error.squaredError += squaredError;
  error.squares += squares;
  error.worst = Math.max(error.worst, worst);
  error.largest = Math.max(error.largest, largest);
}

/**
 * Codes reach 8 steps to one side of 0 and 7 to the other. The scale's sign puts the larger extreme on the side of 8, where the
 * other one is within half a step of 7; else both sides have 7.
 */
function symmetricScale(low: number, high: number): number {
  const eighth = ceilF16(Math.max(high, -low) / 8);
  if (Math.min(high, -low) <= 7.5 * fromF16(eighth)) return high > -low ? eighth | 0x8000 : eighth;
  return ceilF16(Math.max(high, -low) / 7);
}

const word = new Float32Array(1), wordBits = new Uint32Array(word.buffer);

/** The numbers that a kernel makes of quantised rows, `[rows, K]`. */
export function dequantiseRows(format: QuantisedFormat, words: Uint32Array, K: number): Float32Array {
  const stride = rowWords(format, K), rows = words.length / stride, scales = codeWords(format, K), out = new Float32Array(rows * K);
  for (let r = 0; r < rows; r++) {
    const row = words.subarray(r * stride, (r + 1) * stride), to = r * K;
    if (format.kind === 'int8') {
      wordBits[0] = row[scales]!;
      for (let k = 0; k < K; k++) out[to + k] = ((row[k >> 2]! << (24 - (k & 3) * 8)) >> 24) * word[0]!;
      continue;
    }
    for (let k = 0; k < K; k++) {
      const g = Math.floor(k / format.group), packed = row[scales + (format.symmetric ? g >> 1 : g)]!;
      const scale = fromF16(format.symmetric ? packed >>> ((g & 1) * 16) : packed), offset = format.symmetric ? -8 * scale : fromF16(packed >>> 16);
      out[to + k] = ((row[k >> 3]! >>> ((k & 3) * 8 + (k & 4))) & 15) * scale + offset;
    }
  }
  return out;
}

/** Numbers as a bundle stores them in a format: rounded, or quantised and back. Rows of K. */
export function storedAs(format: WeightFormat, values: Float32Array, K: number, name = 'the tensor'): Float32Array {
  if (!isQuantised(format)) return format.kind === 'f32' ? values : f16ToF32(f32ToF16(values));
  const words = new Uint32Array((values.length / K) * rowWords(format, K));
  quantiseRows(format, values, K, words, name);
  return dequantiseRows(format, words, K);
}
