/** Rows of a tensor of the bundle from those of the checkpoint's: read, reordered, and in their format. */
import { DTYPE_BYTES } from '../../runtime/safetensors.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { rowBytes } from '../ir/weight-format.ts';
import type { Encoded } from './encode.ts';
import { RowEncoder } from './encode.ts';
import type { Block, Packed } from './packing.ts';
import { blockRows, blockSource } from './packing.ts';
import type { QuantisationError } from './quantise.ts';
import type { FileRanges, WeightSource } from './weight-source.ts';

/** The checkpoint's tensors by the graph's names. */
export type Sources = Readonly<Record<string, WeightSource>>;
/** Called with the error of some rows of a tensor that were quantised, by the graph's name of it. */
export type OnQuantised = (tensor: string, error: QuantisationError) => void;

/** Bytes of a tensor that are read at a time, about. */
const windowBytes = 4 << 20;

export class RowPacker {
  private scratch = new ArrayBuffer(0);

  constructor(private readonly files: FileRanges, private readonly sources: Sources) {}

  /** Rows `[from, to)` of a packed tensor as its file holds them: a view that holds until the next call. */
  rows(p: Packed, from: number, to: number, onQuantised?: OnQuantised): Uint8Array<ArrayBuffer> {
    const columns = p.shape[1] ?? 1, bytes = rowBytes(p.format, columns), length = (to - from) * bytes;
    if (this.scratch.byteLength < length) this.scratch = new ArrayBuffer(Math.ceil(length / 4) * 4);
    const out = outputOf(p.format, this.scratch);
    let before = 0;
    for (const block of p.blocks) {
      const first = Math.max(from - before, 0), end = Math.min(to - before, blockRows(block));
      if (first < end) this.block(block, p.format, columns, first, end, out, (before + first - from) * (bytes / out.BYTES_PER_ELEMENT), onQuantised);
      before += blockRows(block);
    }
    return new Uint8Array(this.scratch, 0, length);
  }

  /** Rows `[from, end)` of a block, to `out` from element `at` on. */
  private block(b: Block, format: WeightFormat, columns: number, from: number, end: number, out: Encoded, at: number, onQuantised?: OnQuantised): void {
    // Rows of a window come from neighbouring rows of each tensor: whole heads, so that their rows can be reordered.
    const linears = b.tensors.length, unit = b.headDim ?? 1, stride = rowBytes(format, columns) / out.BYTES_PER_ELEMENT;
    const readers = new Map(b.tensors.map((t) => { const source = this.sources[t]!; return [t, { source, encoder: new RowEncoder(source, format, columns, t) }] as const; }));
    const step = Math.max(unit, Math.floor(windowBytes / Math.max(...[...readers.values()].map((r) => rowBytesOf(r.source, columns))) / unit) * unit);
    // Rows of the block are counted by its own begin, windows by the tensors'.
    const own = Math.floor(from / linears / unit) * unit, last = Math.ceil(end / linears / unit) * unit;
    for (let low = own; low < last; low += step) {
      const count = Math.min(step, b.rows - low), first = (b.first ?? 0) + low, windows = new Map([...readers].map(([t, { source, encoder }]) => [t, encoder.items(this.window(source, first, count, columns))] as const));
      const begin = Math.max(from, low * linears), stop = Math.min(end, (low + count) * linears);
      const encode = (tensor: string, row: number, rows: number, r: number): void => {
        const error = readers.get(tensor)!.encoder.encode(windows.get(tensor)!, first, row - first, rows, out, at + (r - from) * stride);
        if (error) onQuantised?.(tensor, error);
      };
      if (linears === 1 && b.headDim === undefined) encode(b.tensors[0]!, (b.first ?? 0) + begin, stop - begin, begin);
      else for (let r = begin; r < stop; r++) { const { tensor, row } = blockSource(b, r); encode(tensor, row, 1, r); }
    }
  }

  private window(source: WeightSource, first: number, rows: number, columns: number): Uint8Array<ArrayBuffer> {
    const bytes = rowBytesOf(source, columns), window = new Uint8Array(rows * bytes);
    this.files.read(source.path, source.offset + first * bytes, window);
    return window;
  }
}

const rowBytesOf = (s: WeightSource, columns: number): number => columns * DTYPE_BYTES[s.dtype];
const outputOf = (format: WeightFormat, buffer: ArrayBuffer): Encoded => (format.kind === 'f32' ? new Float32Array(buffer) : format.kind === 'f16' ? new Uint16Array(buffer, 0, buffer.byteLength >> 1) : new Uint32Array(buffer));
