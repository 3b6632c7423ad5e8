/** Runs of random cases (random-graphs.ts): results, how far two of them differ, and the steps of a staged program. */
import type { Graph, Layout, RowSet, Segment } from '../../compiler/ir/index.ts';
import { interpret } from '../../compiler/ir/index.ts';
import type { Case } from './random-graphs.ts';

export type Outputs = ReadonlyMap<string, Float32Array>;

/** What a graph gives for a case's layout, inputs and weights. */
export function outputsOf(graph: Graph, c: Case, layout: Layout = c.layout, inputs = c.inputs): Outputs {
  const given = Object.fromEntries(Object.entries(inputs).filter(([name]) => graph.inputs.has(name)));
  const { outputs } = interpret(graph, { layout, inputs: given, weights: c.weights });
  return new Map([...outputs].map(([name, t]) => [name, Float32Array.from(t.data)]));
}

/** max |a − b| / max(1, max |a|); infinite where one is not finite, or of another length. */
export function distance(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Infinity;
  let worst = 0, scale = 1;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    worst = Number.isFinite(d) ? Math.max(worst, d) : Infinity;
    scale = Math.max(scale, Math.abs(a[i]!));
  }
  return worst / scale;
}

/** The worst distance over all outputs of the first. */
export const farthest = (a: Outputs, b: Outputs): number => Math.max(0, ...[...a].map(([name, x]) => distance(x, b.get(name) ?? new Float32Array(0))));

/** Segments with the place of their first row within their kind, as inputs are ordered. */
export interface Piece extends Segment { readonly from: number }

export function piecesOf(segments: readonly Segment[]): Piece[] {
  const seen = new Map<string, number>();
  return segments.map((s) => {
    const from = seen.get(s.kind) ?? 0;
    seen.set(s.kind, from + s.length);
    return { ...s, from };
  });
}

/** The layout and inputs of some pieces of each sequence. */
export function stepOf(graph: Graph, c: Case, pieces: Readonly<Record<string, readonly Piece[]>>): { layout: Layout; inputs: Record<string, ArrayLike<number>> } {
  const layout = Object.fromEntries(Object.entries(pieces).map(([s, all]) => [s, all.map(({ from: _, ...segment }) => segment)]));
  const inputs: Record<string, ArrayLike<number>> = {};
  for (const [name, n] of graph.inputs) {
    const rows: RowSet = n.type.rows!, whole = c.inputs[name]!, width = n.type.dims.reduce((a, b) => a * b, 1);
    inputs[name] = rows.kinds.flatMap((kind) => (pieces[rows.sequence.name] ?? []).filter((p) => p.kind === kind)
      .flatMap((p) => Array.from(whole.subarray(p.from * width, (p.from + p.length) * width))));
  }
  return { layout, inputs };
}

/** The interpreter wants the same images in every sequence; sounds beside a picture tower are not. */
export const runnable = (c: Case): boolean => {
  const images = Object.values(c.layout).map((segments) => [...new Set(segments.flatMap((s) => (s.image === undefined ? [] : [s.image])))].join()).filter(Boolean);
  return new Set(images).size <= 1;
};
