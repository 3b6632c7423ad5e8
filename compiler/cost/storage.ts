/**
 * How wide numbers lie in memory. A traced graph says f32 of everything; a bundle keeps weight matrices in f16, papers count
 * 16 or 4 bits. Indices (token ids, maps) are as wide as their type says. Where a weight or a state has a format of its own
 * (`--quant`, `--kv`), its rows take what the format says, scales included.
 */
import type { Node } from '../ir/graph.ts';
import { stateRowBytes } from '../ir/state-format.ts';
import { dtypeBytes, rowElements } from '../ir/types.ts';
import { parseWeightFormat, rowBytes } from '../ir/weight-format.ts';

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

/** The state (inside a fused node: what stands for it) in which the rows of a value lie: the state itself, what a store gives, and views of either. */
export function stateOf(x: Node): Node | undefined {
  if (x.op === 'state') return x;
  if (x.op === 'store') return stateOf(x.inputs[0]!) ?? x.inputs[0]!;
  if (x.op === 'rows') return stateOf(x.inputs[0]!);
  const group = x.op === 'result' ? x.inputs[0]! : x.op === 'fused' && x.body!.results.length === 1 ? x : undefined;
  const root = group?.body!.results[x.op === 'result' ? Number(x.attrs['index']) : 0];
  return root?.op === 'store' ? stateOf(group!.inputs[group!.body!.params.indexOf(root.inputs[0]!)]!) : undefined;
}

/** Bytes of so many elements, where a value's leaf has a format of its own. */
export function formatted(x: Node): { readonly bytes: number; readonly elements: number } | undefined {
  const leaf = x.op === 'weight' ? x : stateOf(x), { format } = leaf?.attrs ?? {};
  if (format === undefined) return undefined;
  if (leaf!.op === 'state') return { bytes: stateRowBytes(leaf!), elements: rowElements(leaf!.type) };
  const elements = leaf!.type.dims.at(-1)!;
  return { bytes: rowBytes(parseWeightFormat(String(format))!, elements), elements };
}

/** Bits of one number of a value; as its type says, unless a storage is given. */
export function bitsOf(x: Node, storage?: Storage): number {
  const { dtype, dims } = x.type;
  if (!storage || !dtype.startsWith('f')) return dtypeBytes[dtype] * 8;
  if (x.op === 'weight') return dims.length > 1 ? storage.matrices : storage.vectors;
  return stateOf(x) ? storage.states : storage.activations;
}
