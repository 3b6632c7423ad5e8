/**
 * Lowering of products with chosen experts: the pairs of rows and choices by expert first, then a kernel for each tensor that weights lie in.
 * What is to be mixed takes one kernel if the weights are one tensor; else what the experts give lies in scratch memory in between.
 */
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { Poly } from '../ir/poly.ts';
import type { ElementExpr } from '../wgsl/expr.ts';
import type { ExpertPiece, ExpertsSpec } from '../wgsl/experts.ts';
import { byPair, groupsLength } from '../wgsl/experts.ts';
import type { View } from '../wgsl/kernel.ts';
import type { BodyExpr, ExpertsGroup } from './body.ts';
import { readExperts } from './body.ts';
import type { LowerContext, LowerTools, Step } from './lower.ts';
import { element, normSpec, resultOf, shortName, storageLimit } from './lower-values.ts';
import type { Operands } from './operands.ts';
import type { Block, PackedView } from './packing.ts';

/** Blocks of the weights that a result's products read, expert after expert, the linears of one interleaved. */
const blocksOf = ({ linears, experts }: ExpertsGroup): Block[] =>
  experts.map((weights) => ({ tensors: weights.map(leafName), rows: widthOf(linears[0]!) }));
const widthOf = (linear: Node): number => linear.inputs[2]!.type.dims[0]!;

/** What a node reads of the packed weights, `[Σ rows, columns]` each: asked for before anything is lowered. */
export const expertWeights = (node: Node): { readonly blocks: readonly Block[]; readonly columns: number }[] =>
  readExperts(node).groups.map((g) => ({ blocks: blocksOf(g), columns: g.linears[0]!.inputs[2]!.type.dims[1]! }));

/** The experts and rows that a tensor of the bundle holds: several whole ones, or a slice of one. */
function pieceOf({ parts }: PackedView): ExpertPiece {
  const { of, first, rows } = parts[0]!;
  return { expert: of, count: parts.length, first, rows };
}

/** An epilogue over sums alone. */
function sumsOnly(e: BodyExpr): ElementExpr {
  switch (e.op) {
    case 'acc': case 'constant': return e;
    case 'unary': return { op: 'unary', fn: e.fn as never, x: sumsOnly(e.x) };
    case 'add': case 'sub': case 'mul': return { op: e.op, a: sumsOnly(e.a), b: sumsOnly(e.b) };
    default: throw new Error(`The products of experts are followed by '${e.op}', which is no function of their sums; fusion should have left it out.`);
  }
}

/** An epilogue with `sum` for the sum that it is over. */
function overSum(e: ElementExpr, sum: ElementExpr): ElementExpr {
  switch (e.op) {
    case 'acc': return sum;
    case 'unary': return { ...e, x: overSum(e.x, sum) };
    case 'add': case 'sub': case 'mul': return { ...e, a: overSum(e.a, sum), b: overSum(e.b, sum) };
    default: return e;
  }
}

export function lowerExperts(ctx: LowerContext, node: Node, { operands, finish }: LowerTools): Omit<Step, 'main'>[] {
  const { a, chosen, groups, prologue } = readExperts(node), top = chosen.type.dims[0]!, rows = chosen.type.rows!;
  if (prologue?.kind === 'patches') throw new Error('Patches are no rows that experts are chosen for; fusion should have left them out.');
  return groups.flatMap((group, index) => {
    const linear = group.linears[0]!, [width, K] = linear.inputs[2]!.type.dims as [number, number], experts = group.experts.length, blocks = blocksOf(group), { scores } = group;
    const label = group.experts[0]!.map((w) => shortName(leafName(w))).join('·'), steps: Omit<Step, 'main'>[] = [];
    const pairsIn = (o: Operands): string | undefined => (o.count(rows).constant() === 1 ? undefined : o.role(ctx.scratchRange(4 * groupsLength(experts, o.count(rows).at(ctx.sizes) * top))));
    const views = ctx.packing.find(blocks, K);
    const product = (o: Operands, view: PackedView, rest: Pick<ExpertsSpec, 'value' | 'out' | 'scores'>): ExpertsSpec => {
      const pairs = pairsIn(o);
      return {
        rows: o.count(rows), top, experts, K, a: o.view(a), aByPair: a.type.dims[0] !== K, chosen: o.view(chosen), linears: group.linears.length,
        weight: { binding: o.role(ctx.weightRange(view, K)), storage: ctx.families.storageOf(ctx.packing.format(blocks[view.parts[0]!.of]!)) }, piece: pieceOf(view), width,
        ...rest, ...(prologue ? { norm: normSpec(ctx, o, node, prologue) } : {}), ...(pairs === undefined ? {} : { groups: pairs }),
      };
    };
    if (scores && views.length === 1) {
      const o = operands(), spec = product(o, views[0]!, { value: element(ctx, o, node, group.value), out: o.view(resultOf(ctx.graph, node, index)), scores: o.view(scores) });
      if (o.ranges.size <= storageLimit) return finish(o, [ctx.families.experts(spec, o.writable)], `${label}+mix`);
    }
    const sorting = operands(), sorted = pairsIn(sorting);
    if (sorted !== undefined) steps.push(...finish(sorting, [ctx.families.expertGroups({ rows: sorting.count(rows), top, experts, chosen: sorting.view(chosen), groups: sorted }, sorting.writable)], 'expert-groups'));
    /** Where the products go that another kernel mixes. */
    const given = (o: Operands): View => ({ binding: o.role(ctx.scratchRange(4 * o.count(rows).at(ctx.sizes) * top * width, 'sums')), storage: 'f32', stride: top * width, offset: Poly.zero });
    for (const view of views) {
      const o = operands(), spec = product(o, view, scores ? { value: { op: 'acc', index: 0 }, out: given(o) } : { value: sumsOnly(group.value), out: o.view(resultOf(ctx.graph, node, index)) });
      steps.push(...finish(o, [ctx.families.experts(spec, o.writable)], label));
    }
    if (scores) {
      const o = operands(), mixed: ElementExpr = { op: 'mix_experts', from: byPair(given(o), top), chosen: o.view(chosen), scores: o.view(scores), top };
      steps.push(...finish(o, [ctx.families.elementwise({ rows: o.count(rows), width, value: overSum(element(ctx, o, node, group.value), mixed), out: o.view(resultOf(ctx.graph, node, index)) }, o.writable)], 'elementwise'));
    }
    return steps;
  });
}
