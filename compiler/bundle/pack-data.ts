import { f32ToF16 } from '../../runtime/half.ts';
import { UserError } from '../ir/errors.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { isQuantised, rowBytes, rowWords } from '../ir/weight-format.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Packed } from './packing.ts';
import { blockRows, blockSource } from './packing.ts';
import type { QuantisationError } from './quantise.ts';
import { quantiseRows } from './quantise.ts';
import type { TensorToWrite } from './safetensors-writer.ts';

/** Rows read and written at a time: bounded host memory, whatever the model's size. */
const pieceElements = 4 << 20;

/** Called with the error of each piece of a tensor that is quantised, by the graph's name of it. */
export type OnQuantised = (tensor: string, error: QuantisationError) => void;

/**
 * A packed tensor as the writer takes it, streamed from the checkpoint. Quantised rows are words, so they are written as U32.
 * @param checkpointName resolves a name of the graph to the checkpoint's own.
 */
export function packedTensor(p: Packed, checkpoint: Checkpoint, checkpointName: (name: string) => string, onQuantised?: OnQuantised): TensorToWrite {
  const data = (): AsyncGenerator<Uint8Array> => stream(p, checkpoint, checkpointName, onQuantised);
  if (isQuantised(p.format)) return { name: p.name, dtype: 'U32', shape: [p.shape[0]!, rowWords(p.format, p.shape[1]!)], data };
  return { name: p.name, dtype: p.format.kind === 'f16' ? 'F16' : 'F32', shape: p.shape, data };
}

async function* stream(p: Packed, checkpoint: Checkpoint, checkpointName: (name: string) => string, onQuantised?: OnQuantised): AsyncGenerator<Uint8Array> {
  const columns = p.shape[1] ?? 1, bytes = rowBytes(p.format, columns);
  for (const block of p.blocks) {
    // Rows of a piece come from one window of each tensor: a head's worth at least, so that its rows can be reordered.
    const unit = block.headDim ?? 1, step = Math.max(unit, Math.floor(pieceElements / columns / block.tensors.length / unit) * unit);
    for (let from = 0; from < block.rows; from += step) {
      const count = Math.min(step, block.rows - from);
      const windows = new Map<string, Uint8Array>();
      for (const t of block.tensors) windows.set(t, encode(p.format, await checkpoint.rows(checkpointName(t), from, count), columns, t, onQuantised));
      if (block.tensors.length === 1 && block.headDim === undefined) { yield windows.get(block.tensors[0]!)!; continue; }
      const out = new Uint8Array(count * block.tensors.length * bytes);
      const first = from * block.tensors.length, rows = Math.min(blockRows(block) - first, count * block.tensors.length);
      for (let r = 0; r < rows; r++) {
        const { tensor, row } = blockSource(block, first + r);
        out.set(windows.get(tensor)!.subarray((row - from) * bytes, (row - from + 1) * bytes), r * bytes);
      }
      yield out;
    }
  }
}

/** Rows of a tensor in a format. */
function encode(format: WeightFormat, values: Float32Array, columns: number, tensor: string, onQuantised?: OnQuantised): Uint8Array {
  if (isQuantised(format)) {
    const words = new Uint32Array((values.length / columns) * rowWords(format, columns));
    const error = quantiseRows(format, values, columns, words, tensor);
    onQuantised?.(tensor, error);
    return bytesOf(words);
  }
  if (format.kind === 'f32') return bytesOf(values);
  const half = f32ToF16(values), over = half.findIndex((h) => (h & 0x7c00) === 0x7c00);
  if (over >= 0) throw new UserError(`Tensor '${tensor}' holds ${values[over]}, which f16 cannot hold (65504 at most). Compile with --dtype f32.`);
  return bytesOf(half);
}
const bytesOf = (x: Uint32Array | Uint16Array | Float32Array): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
