/**
 * How wide numbers lie in memory. A traced graph says f32 of everything; a bundle keeps weight matrices in f16, papers count
 * 16 or 4 bits. Indices (token ids, maps) are as wide as their type says.
 */
import type { Node } from '../ir/graph.ts';
import { dtypeBytes } from '../ir/types.ts';

/** Bits of one number, by what it belongs to. */
export interface Storage {
  /** Weights of two dims and more. */
  readonly matrices: number;
  /** Weights of one dim: biases, gains of norms. */
  readonly vectors: number;
  readonly activations: number;
  /** What outlives a step: KV cache and visual memory. */
  readonly states: number;
}

/** Every number as wide. */
export const uniform = (bits: number): Storage => ({ matrices: bits, vectors: bits, activations: bits, states: bits });
/** What `eemllm compile --dtype …` makes of a model: matrices in this dtype, all else in f32. */
export const compiled: Readonly<Record<'f32' | 'f16', Storage>> = { f32: uniform(32), f16: { ...uniform(32), matrices: 16 } };

/** True for rows that lie in a state: the state itself, what a store gives, and views of either. */
const inState = (x: Node): boolean => x.op === 'state' || x.op === 'store' || (x.op === 'rows' && x.inputs.some(inState))
  || (x.op === 'result' && x.inputs[0]!.body!.results[Number(x.attrs['index'])]!.op === 'store')
  || (x.op === 'fused' && x.body!.results.length === 1 && x.body!.results[0]!.op === 'store');

/** Bits of one number of a value; as its type says, unless a storage is given. */
export function bitsOf(x: Node, storage?: Storage): number {
  const { dtype, dims } = x.type;
  if (!storage || !dtype.startsWith('f')) return dtypeBytes[dtype] * 8;
  if (x.op === 'weight') return dims.length > 1 ? storage.matrices : storage.vectors;
  return inState(x) ? storage.states : storage.activations;
}
