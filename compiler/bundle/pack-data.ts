import { f32ToF16 } from '../../runtime/half.ts';
import { UserError } from '../ir/errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Packed } from './packing.ts';
import { blockRows, blockSource } from './packing.ts';
import type { TensorToWrite } from './safetensors-writer.ts';

/** Rows read and written at a time: bounded host memory, whatever the model's size. */
const pieceElements = 4 << 20;

/**
 * A packed tensor as the writer takes it, streamed from the checkpoint.
 * @param checkpointName resolves a name of the graph to the checkpoint's own.
 */
export function packedTensor(p: Packed, dtype: 'F32' | 'F16', checkpoint: Checkpoint, checkpointName: (name: string) => string): TensorToWrite {
  return { name: p.name, dtype, shape: p.shape, data: () => stream(p, dtype, checkpoint, checkpointName) };
}

async function* stream(p: Packed, dtype: 'F32' | 'F16', checkpoint: Checkpoint, checkpointName: (name: string) => string): AsyncGenerator<Uint8Array> {
  const columns = p.shape[1] ?? 1;
  for (const block of p.blocks) {
    // Rows of a piece come from one window of each tensor: a head's worth at least, so that its rows can be reordered.
    const unit = block.headDim ?? 1, step = Math.max(unit, Math.floor(pieceElements / columns / block.tensors.length / unit) * unit);
    for (let from = 0; from < block.rows; from += step) {
      const count = Math.min(step, block.rows - from);
      const windows = new Map<string, Float32Array>();
      for (const t of block.tensors) windows.set(t, await checkpoint.rows(checkpointName(t), from, count));
      const plain = block.tensors.length === 1 && block.headDim === undefined;
      let out = windows.get(block.tensors[0]!)!;
      if (!plain) {
        out = new Float32Array(count * block.tensors.length * columns);
        const first = from * block.tensors.length, rows = Math.min(blockRows(block) - first, count * block.tensors.length);
        for (let r = 0; r < rows; r++) {
          const { tensor, row } = blockSource(block, first + r);
          out.set(windows.get(tensor)!.subarray((row - from) * columns, (row - from + 1) * columns), r * columns);
        }
      }
      if (dtype === 'F32') { yield new Uint8Array(out.buffer, out.byteOffset, out.byteLength); continue; }
      const half = f32ToF16(out);
      const over = half.findIndex((h) => (h & 0x7c00) === 0x7c00);
      if (over >= 0) throw new UserError(`Tensor '${block.tensors[0]}' holds ${out[over]}, which f16 cannot hold (65504 at most). Compile with --dtype f32.`);
      yield new Uint8Array(half.buffer, half.byteOffset, half.byteLength);
    }
  }
}
