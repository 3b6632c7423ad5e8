/** Lowering of products: a kernel for each tensor that their weights lie in, norms apart or as prologues, a choice behind or within. */
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { ropeFrequencies } from '../ir/ops/rope.ts';
import { Poly } from '../ir/poly.ts';
import type { MatmulSpec } from '../wgsl/matmul.ts';
import { splitNorm } from '../wgsl/norm.ts';
import type { TopKSpec } from '../wgsl/top-k.ts';
import { readMatmul } from './body.ts';
import type { LowerContext, LowerTools, Step } from './lower.ts';
import { element, fromColumn, normSpec, positions, resultOf, scratchView, shortName, storageLimit } from './lower-values.ts';
import { blockOf } from './node-weights.ts';
import type { Operands } from './operands.ts';
import { plainView } from './operands.ts';
import type { Block, PackedView, Part } from './packing.ts';

/** Output columns of a group of a matmul: `block.rows` of them, from column `first` on. */
interface Columns { readonly group: number; readonly first: number; readonly block: Block }
const columnsOf = (asked: readonly Columns[], { of, first, block }: Part): Columns => ({ group: asked[of]!.group, first: asked[of]!.first + first, block });

export function lowerProduct(ctx: LowerContext, node: Node, { operands, finish }: LowerTools): Omit<Step, 'main'>[] {
  const { families } = ctx;
  const body = readMatmul(node), linear = node.body!.nodes.find((n) => n.op === 'linear')!, rows = linear.type.rows!, K = linear.inputs[1]!.type.dims[1]!;
  /** The kernels of these columns of groups: for each tensor that their weights lie in, or two if it would bind too many buffers. */
  const layOut = (columns: readonly Columns[]): Omit<Step, 'main'>[] => ctx.packing.find(columns.map((c) => c.block), K).flatMap((view) => make(view, view.parts.map((p) => columnsOf(columns, p))));
  const result = (index: number): Node => resultOf(ctx.graph, node, index), { choice } = body;
  const largest = (o: Operands): TopKSpec => ({ rows: o.count(rows), width: body.groups[choice!.of]!.width, top: choice!.top, from: o.view(result(choice!.of)), out: o.view(result(body.groups.length)) });
  let chosen = false;
  const make = (view: PackedView, columns: readonly Columns[]): Omit<Step, 'main'>[] => {
    const o = operands(), groups = columns.map((c) => body.groups[c.group]!);
    const weight = ctx.weightRange(view, K);
    const spec: MatmulSpec = {
      rows: o.count(rows), K, a: o.view(node.inputs[body.a]!),
      ...prologueSpec(ctx, o, node, body), ...(families.arithmetic ? { arithmetic: families.arithmetic } : {}),
      weight: { binding: o.role(weight), storage: families.storageOf(ctx.packing.format(columns[0]!.block)) },
      groups: columns.map(({ group, first, block }) => {
        const g = body.groups[group]!;
        return {
          linears: g.linears.length, width: block.rows, value: element(ctx, o, node, g.value, { first, ...(g.rope ? { headDim: g.rope.headDim } : {}) }),
          ...(g.rope ? { rope: {
            table: o.role(ctx.ropeRange([...ropeFrequencies(g.rope.headDim, g.rope.attrs)])), headDim: g.rope.headDim,
            positions: positions(ctx, o, node.inputs[g.rope.positions]!),
          } } : {}),
          out: fromColumn(g.store !== undefined ? plainView(o.stateView(node.inputs[g.store]!, rows)) : o.view(result(group)), first),
        };
      }),
    };
    if (columns.length > 1 && o.ranges.size > storageLimit) { const mid = Math.ceil(columns.length / 2); return [...layOut(columns.slice(0, mid)), ...layOut(columns.slice(mid))]; }
    const apart = families.normApart(spec) ? splitNorm(spec, scratchView(ctx, o, spec.rows, K)) : undefined;
    const product = apart?.product ?? spec, sums = families.matmulScratch(product), whole = sums ? { ...product, scratch: scratchView(ctx, o, Poly.of(Math.ceil(sums / 4)), 4, 'sums') } : product;
    // The choice binds one buffer more, and is among all columns of the only result.
    const choosing = !!choice && body.groups.length === 1 && columns[0]!.block.rows === groups[0]!.width && o.ranges.size < storageLimit;
    chosen ||= choosing;
    const kernels = choosing ? families.matmulChoosing(whole, largest(o), o.writable) : families.matmul(whole, o.writable), few = families.matmulFew(whole, o.writable);
    return finish(o, [...(apart ? [families.norm(apart.norm, o.writable)] : []), ...kernels], [...groups.map((g) => g.linears.map((l) => shortName(leafName(node.inputs[l.weight]!))).join('·')), ...(choosing ? ['top_k'] : [])].join('+'))
      .map((step) => (few && step.kernel === kernels[0] ? { ...step, few } : step));
  };
  const products = layOut(body.groups.map((g, group) => ({ group, first: 0, block: blockOf(node, g) }))), apart = operands();
  return choice && !chosen ? [...products, ...finish(apart, [families.topK(largest(apart), apart.writable)], 'top_k')] : products;
}

function prologueSpec(ctx: LowerContext, o: Operands, node: Node, { a, prologue }: ReturnType<typeof readMatmul>): Pick<MatmulSpec, 'prologue'> {
  if (!prologue) return {};
  if (prologue.kind === 'patches') {
    const [channels, height, width] = node.inputs[a]!.type.dims as [number, number, number];
    return { prologue: { kind: 'patches', channels, height, width, size: prologue.size } };
  }
  return { prologue: normSpec(ctx, o, node, prologue) };
}
