/** Lowering of products with chosen experts: the pairs of rows and choices by expert first, then a kernel for each tensor that weights lie in. */
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import type { ElementExpr } from '../wgsl/expr.ts';
import type { ExpertPiece, ExpertsSpec } from '../wgsl/experts.ts';
import { groupsLength } from '../wgsl/experts.ts';
import type { Kernel } from '../wgsl/kernel.ts';
import type { BodyExpr, ExpertsGroup } from './body.ts';
import { readExperts } from './body.ts';
import type { LowerContext, Step } from './lower.ts';
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

export interface LowerTools {
  operands(): Operands;
  finish(o: Operands, kernels: readonly Kernel[], label?: string): Omit<Step, 'main'>[];
  /** The value that holds a result of the node. */
  result(index: number): Node;
}

export function lowerExperts(ctx: LowerContext, node: Node, { operands, finish, result }: LowerTools): Omit<Step, 'main'>[] {
  const { a, chosen, groups } = readExperts(node), top = chosen.type.dims[0]!, rows = chosen.type.rows!;
  return groups.flatMap((group, index) => {
    const linear = group.linears[0]!, [width, K] = linear.inputs[2]!.type.dims as [number, number], experts = group.experts.length, blocks = blocksOf(group);
    const label = group.experts[0]!.map((w) => leafName(w).replace(/\.weight$/, '').split('.').at(-1)!).join('·'), steps: Omit<Step, 'main'>[] = [];
    const pairsIn = (o: Operands): string | undefined => (o.count(rows).constant() === 1 ? undefined : o.role(ctx.scratchRange(4 * groupsLength(experts, o.count(rows).at(ctx.sizes) * top))));
    const sorting = operands(), sorted = pairsIn(sorting);
    if (sorted !== undefined) steps.push(...finish(sorting, [ctx.families.expertGroups({ rows: sorting.count(rows), top, experts, chosen: sorting.view(chosen), groups: sorted }, sorting.writable)], 'expert-groups'));
    for (const view of ctx.packing.find(blocks, K)) {
      const o = operands(), pairs = pairsIn(o);
      const spec: ExpertsSpec = {
        rows: o.count(rows), top, experts, K, a: o.view(a), aByPair: a.type.dims[0] !== K, chosen: o.view(chosen), linears: group.linears.length,
        weight: { binding: o.role(ctx.weightRange(view, K)), storage: ctx.families.storageOf(ctx.packing.format(blocks[view.parts[0]!.of]!)) }, piece: pieceOf(view), width,
        value: sumsOnly(group.value), out: o.view(result(index)), ...(pairs === undefined ? {} : { groups: pairs }),
      };
      steps.push(...finish(o, [ctx.families.experts(spec, o.writable)], label));
    }
    return steps;
  });
}
