import { isQuantised, rowWords } from '../ir/weight-format.ts';
import type { PackedTensor } from './pack-piece.ts';
import type { OnQuantised } from './pack-rows.ts';
import type { Packed } from './packing.ts';
import type { WeightSource } from './weight-source.ts';
import type { WeightsToWrite } from './write-weights.ts';

/** A packed tensor as its file names it. Quantised rows are words, so they are U32. */
export const packedTensor = (packed: Packed): PackedTensor => (isQuantised(packed.format)
  ? { name: packed.name, dtype: 'U32', shape: [packed.shape[0]!, rowWords(packed.format, packed.shape[1]!)], packed }
  : { name: packed.name, dtype: packed.format.kind === 'f16' ? 'F16' : 'F32', shape: packed.shape, packed });

/** The weights of a bundle; `sourceOf` finds a tensor of the graph in the checkpoint. */
export function weightsOf(tensors: Iterable<Packed>, sourceOf: (tensor: string) => WeightSource, onQuantised?: OnQuantised): WeightsToWrite {
  const all = [...tensors], names = new Set(all.flatMap((p) => p.blocks.flatMap((b) => b.tensors)));
  return { tensors: all.map(packedTensor), sources: Object.fromEntries([...names].map((name) => [name, sourceOf(name)])), ...(onQuantised ? { onQuantised } : {}) };
}
