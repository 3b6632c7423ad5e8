/** What kernels of several families are given: vectors, expressions over operands, positions of rows, scratch memory. */
import type { Graph, Node } from '../ir/graph.ts';
import { Poly } from '../ir/poly.ts';
import type { ElementExpr } from '../wgsl/expr.ts';
import { byPair } from '../wgsl/experts.ts';
import type { View } from '../wgsl/kernel.ts';
import type { Norm, WeightVector } from '../wgsl/statistics.ts';
import type { BodyExpr, NormPrologue } from './body.ts';
import type { LowerContext } from './lower.ts';
import { fusedVectors, vectorBlock } from './node-weights.ts';
import type { Operands } from './operands.ts';
import { rowDataOffset } from './operands.ts';
import type { Block } from './packing.ts';

/** Storage buffers that a kernel may bind on every device (WebGPU's default limit). */
export const storageLimit = 8;

export function normSpec(ctx: LowerContext, o: Operands, node: Node, { kind, eps, gain, bias }: NormPrologue): Norm {
  const vector = (input: number): WeightVector => fusedVector(ctx, o, node, vectorBlock(node.inputs[input]!));
  return { kind, eps, gain: vector(gain), ...(bias === undefined ? {} : { bias: vector(bias) }) };
}

/** Dense rows of `width` f32 elements, each begun on a vec4, for what one step of a node leaves to the next. */
export function scratchView(ctx: LowerContext, o: Operands, rows: Poly, width: number, name: 'scratch' | 'sums' = 'scratch'): View {
  const stride = Math.ceil(width / 4) * 4;
  return { binding: o.role(ctx.scratchRange(rows.at(ctx.sizes) * stride * 4, name)), storage: 'f32', stride, offset: Poly.zero };
}

/** A vector that is bound alone. */
export function vectorOf(ctx: LowerContext, o: Operands, n: Node): { binding: string; storage: 'f32' } {
  return { binding: o.role(ctx.weightRange(ctx.packing.find([vectorBlock(n)])[0]!)), storage: 'f32' };
}

/** A vector of a fused node, where it lies among those that share its binding: all of them, unless they are more than a device may bind at once. */
function fusedVector(ctx: LowerContext, o: Operands, node: Node, block: Block): { binding: string; storage: 'f32'; offset: number } {
  const list = fusedVectors(node), wanted = JSON.stringify(block), at = list.findIndex((b) => JSON.stringify(b) === wanted);
  const view = ctx.packing.find(list).find(({ parts }) => parts.some((p) => p.of === at))!;
  const offset = view.parts.filter((p) => p.of < at).reduce((sum, p) => sum + p.rows, 0);
  return { binding: o.role(ctx.weightRange(view)), storage: 'f32', offset };
}

/** A value from a column on. */
export const fromColumn = (v: View, first: number): View => (first ? { ...v, column: (v.column ?? 0) + first } : v);

/** An expression over the columns of a value from `first` on; `headDim` where the columns of its heads are reordered in pairs. */
export function element(ctx: LowerContext, o: Operands, node: Node, e: BodyExpr, columns: { readonly first: number; readonly headDim?: number } = { first: 0 }): ElementExpr {
  switch (e.op) {
    case 'acc': case 'constant': return e;
    case 'operand': {
      const n = node.inputs[e.input]!;
      if (e.type.rows) return { op: 'load', view: fromColumn(o.view(n), columns.first) };
      const vector = fusedVector(ctx, o, node, vectorBlock(n, columns.headDim));
      return { op: 'vector', ...vector, offset: vector.offset + columns.first };
    }
    case 'mix_experts': return { op: 'mix_experts', from: byPair(o.view(node.inputs[e.x]!), e.top), chosen: o.view(node.inputs[e.chosen]!), scores: o.view(node.inputs[e.scores]!), top: e.top };
    case 'unary': return { op: 'unary', fn: e.fn as never, x: element(ctx, o, node, e.x, columns) };
    default: return { op: e.op, a: element(ctx, o, node, e.a, columns), b: element(ctx, o, node, e.b, columns) };
  }
}

export function positions(ctx: LowerContext, o: Operands, n: Node): { binding: string; component: 'position' | 'index' | 'place'; offset: Poly } {
  return { binding: o.role(ctx.dataRange('rows', n.type.rows!.sequence.name)), component: n.attrs['of'] as 'position' | 'index' | 'place', offset: o.known(rowDataOffset(n.type.rows!)) };
}
/** The `index`-th result of a fused node, which is the node itself where it has but one. */
export const resultOf = (g: Graph, fused: Node, index: number): Node => {
  if (fused.body!.results.length === 1) return fused;
  const r = g.nodes.find((n) => n.op === 'result' && n.inputs[0] === fused && n.attrs['index'] === index);
  if (!r) throw new Error(`Nobody reads result ${index} of a fused node in ${fused.path}; dead code should have gone.`);
  return r;
};
/** What a weight is called in a dispatch's label. */
export const shortName = (tensor: string): string => tensor.replace(/\.weight$/, '').split('.').at(-1)!;
