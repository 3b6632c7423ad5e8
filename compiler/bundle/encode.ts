/**
 * Rows of a checkpoint's tensor in the format of the bundle. This is the inner loop over all of a model's weights, so each pair
 * of dtypes that checkpoints have has a loop of its own over typed arrays, without a branch or a call an element; what cannot
 * be stored is noticed by a flag that the loop gathers, and looked for only then.
 */
import { f16ToF32, fromF16, toF16 } from '../../runtime/half.ts';
import { RuntimeError } from '../../runtime/errors.ts';
import { f32ToF16 } from '../../runtime/half.ts';
import type { SafetensorsDtype } from '../../runtime/safetensors.ts';
import { DTYPE_BYTES, toF32 } from '../../runtime/safetensors.ts';
import { UserError } from '../ir/errors.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { isQuantised, rowWords } from '../ir/weight-format.ts';
import type { QuantisationError } from './quantise.ts';
import { quantiseRows } from './quantise.ts';
import type { WeightSource } from './weight-source.ts';

type Items = Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
/** Where encoded rows go. */
export type Encoded = Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Bits of the f16 next to each bf16, by its bits. */
let bf16Table: Uint16Array | undefined;
function bf16ToF16Table(): Uint16Array {
  if (bf16Table) return bf16Table;
  const f32 = new Float32Array(1), bits = new Uint32Array(f32.buffer);
  return (bf16Table = Uint16Array.from({ length: 65536 }, (_, b) => { bits[0] = b << 16; return toF16(f32[0]!); }));
}

// Bit 15 of a sum is set where the exponent is all ones: infinite, no number, or beyond what f16 holds.
const f16Bad = 0x8000;
function f16FromBf16(x: Uint16Array, from: number, count: number, out: Uint16Array, to: number): boolean {
  const table = bf16ToF16Table();
  let bad = 0;
  for (let i = 0; i < count; i++) {
    const h = table[x[from + i]!]!;
    out[to + i] = h;
    bad |= (h & 0x7c00) + 0x400;
  }
  return (bad & f16Bad) !== 0;
}
function f16HasBad(x: Uint16Array, from: number, count: number): boolean {
  let bad = 0;
  for (let i = from; i < from + count; i++) bad |= (x[i]! & 0x7c00) + 0x400;
  return (bad & f16Bad) !== 0;
}
function f32HasBad(x: Float32Array, from: number, count: number): boolean {
  // x − x is 0 for every finite x and NaN otherwise, and a NaN stays in a sum.
  let bad = 0;
  for (let i = from; i < from + count; i++) bad += x[i]! - x[i]!;
  return bad !== 0;
}

/** Items as f32, for what is computed from them. */
function widen(x: Items, dtype: SafetensorsDtype, from: number, count: number, out: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (dtype === 'F32') return (x as Float32Array<ArrayBuffer>).subarray(from, from + count);
  const own = out.subarray(0, count);
  if (dtype === 'F16') f16ToF32((x as Uint16Array).subarray(from, from + count), own);
  else if (dtype === 'BF16') {
    const bits = new Uint32Array(own.buffer, own.byteOffset, count), halves = x as Uint16Array;
    for (let i = 0; i < count; i++) bits[i] = halves[from + i]! << 16;
  } else own.set(toF32((x as Uint8Array).subarray(from * DTYPE_BYTES[dtype], (from + count) * DTYPE_BYTES[dtype]), dtype));
  return own;
}

/** Encodes runs of rows of one tensor, one after the other. */
export class RowEncoder {
  private wide = new Float32Array(0);

  /** `tensor`: the graph's name of it, for messages and for `onQuantised`. */
  constructor(private readonly source: WeightSource, private readonly format: WeightFormat, private readonly columns: number, private readonly tensor: string) {}

  /** The bytes of rows as items of their dtype. */
  items(bytes: Uint8Array<ArrayBuffer>): Items {
    const { dtype } = this.source;
    if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    return dtype === 'F16' || dtype === 'BF16' ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2) : bytes;
  }

  /**
   * Rows of `x`, of which the first is row `first` of the tensor: `rows` of them from row `from` of `x` on, to `out` from element
   * (or word) `to` on.
   * @throws RuntimeError `format` for an element that is no finite number, UserError for one that the format cannot hold
   */
  encode(x: Items, first: number, from: number, rows: number, out: Encoded, to: number): QuantisationError | undefined {
    const { format, columns, source: { dtype } } = this, at = from * columns, count = rows * columns;
    if (format.kind === 'f16' && (dtype === 'BF16' || dtype === 'F16')) {
      const halves = x as Uint16Array, half = out as Uint16Array;
      if (dtype === 'F16') half.set(halves.subarray(at, at + count), to);
      if (dtype === 'F16' ? f16HasBad(halves, at, count) : f16FromBf16(halves, at, count, half, to)) this.refuse(x, first, from, rows);
      return undefined;
    }
    if (this.wide.length < count) this.wide = new Float32Array(count);
    const values = widen(x, dtype, at, count, this.wide);
    if (isQuantised(format)) {
      const error = quantiseRows(format, values, columns, (out as Uint32Array).subarray(to, to + rows * rowWords(format, columns)), this.tensor);
      if (!Number.isFinite(error.largest)) this.refuse(x, first, from, rows);
      return error;
    }
    if (format.kind === 'f32') {
      if (f32HasBad(values, 0, count)) this.refuse(x, first, from, rows);
      (out as Float32Array).set(values, to);
    } else {
      f32ToF16(values, (out as Uint16Array).subarray(to, to + count));
      if (f16HasBad(out as Uint16Array, to, count)) this.refuse(x, first, from, rows);
    }
    return undefined;
  }

  /** Finds what the format cannot hold among rows that were found to have such an element. */
  private refuse(x: Items, first: number, from: number, rows: number): never {
    const { name, path, shape, dtype } = this.source, { columns } = this;
    const values = widen(x, dtype, from * columns, rows * columns, new Float32Array(rows * columns));
    let at = values.findIndex((v) => v - v !== 0);
    if (at >= 0) {
      const value = values[at]!, index: number[] = [];
      at += (first + from) * columns;
      for (const n of [...shape].reverse()) { index.unshift(at % n); at = Math.floor(at / n); }
      throw new RuntimeError('format', `Tensor "${name}" of ${path} holds ${value} at [${index.join(', ')}]; every weight must be a finite number. The training run or the conversion to a smaller dtype went wrong: fetch or convert the checkpoint again.`);
    }
    const over = values.find((v) => !Number.isFinite(fromF16(toF16(v))));
    throw new UserError(`Tensor '${this.tensor}' holds ${over}, which f16 cannot hold (65504 at most). Compile with --dtype f32.`);
  }
}
