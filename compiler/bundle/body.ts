/** Reads the body of a fused node back into what a kernel family takes: prologue, groups of linears, epilogues. */
import type { Attrs, Node } from '../ir/graph.ts';
import { UserError } from '../ir/errors.ts';
import { expertMatrices } from '../ir/ops/experts.ts';
import type { TensorType } from '../ir/types.ts';

/** An epilogue as a tree over accumulated linears and operands of the fused node (by index of its inputs). */
export type BodyExpr =
  | { readonly op: 'acc'; readonly index: number }
  | { readonly op: 'operand'; readonly input: number; readonly type: TensorType }
  | { readonly op: 'constant'; readonly value: number }
  /** What the chosen experts gave, mixed: inputs of the fused node. */
  | { readonly op: 'mix_experts'; readonly x: number; readonly chosen: number; readonly scores: number; readonly top: number }
  | { readonly op: 'unary'; readonly fn: string; readonly x: BodyExpr }
  | { readonly op: 'add' | 'sub' | 'mul'; readonly a: BodyExpr; readonly b: BodyExpr };

/** One result: `linears` interleaved column by column, `value` over them, then rotary embedding and a store. */
export interface BodyGroup {
  readonly linears: readonly { readonly weight: number }[];
  readonly width: number;
  readonly value: BodyExpr;
  readonly rope?: { readonly attrs: Attrs; readonly positions: number; readonly headDim: number };
  /** Input that is the state written to. */
  readonly store?: number;
}
/** A norm's vectors: inputs. */
export interface NormPrologue { readonly kind: 'rms_norm' | 'layer_norm'; readonly gain: number; readonly bias?: number; readonly eps: number }
export type Prologue = NormPrologue | { readonly kind: 'patches'; readonly size: number };
export interface MatmulBody {
  /** Input that the linears multiply, after the prologue. */
  readonly a: number;
  readonly prologue?: Prologue;
  readonly groups: readonly BodyGroup[];
  /** The result behind those of the groups: the numbers of the largest entries of group `of`. */
  readonly choice?: { readonly of: number; readonly top: number };
}

const inputOf = (node: Node, param: Node): number => {
  const i = node.body!.params.indexOf(param);
  if (i < 0) throw new Error(`A fused body reads a value that is no parameter of it (${param.op}).`);
  return i;
};

/** The tree of an elementwise value; `linears` collects the linears in the order in which they are met. */
function exprOf(node: Node, n: Node, linears: Node[]): BodyExpr {
  if (n.op === 'param') return { op: 'operand', input: inputOf(node, n), type: n.type };
  if (n.op === 'mix_experts') {
    // What the body itself multiplies is mixed as it is summed.
    if (n.inputs[0]!.op !== 'param') return exprOf(node, n.inputs[0]!, linears);
    const [x, chosen, scores] = n.inputs.map((i) => inputOf(node, i)) as [number, number, number];
    return { op: 'mix_experts', x, chosen, scores, top: n.inputs[1]!.type.dims[0]! };
  }
  if (n.op === 'expert_linear') {
    const index = linears.indexOf(n);
    return { op: 'acc', index: index < 0 ? linears.push(n) - 1 : index };
  }
  if (n.op === 'linear') {
    let index = linears.indexOf(n);
    if (index < 0) index = linears.push(n) - 1;
    const acc: BodyExpr = { op: 'acc', index };
    return n.inputs[2] ? { op: 'add', a: acc, b: exprOf(node, n.inputs[2], linears) } : acc;
  }
  const args = n.inputs.map((i) => exprOf(node, i, linears));
  if (n.op === 'scale') return { op: 'mul', a: args[0]!, b: { op: 'constant', value: Number(n.attrs['by']) } };
  if (n.op === 'add' || n.op === 'sub' || n.op === 'mul') return { op: n.op, a: args[0]!, b: args[1]! };
  return { op: 'unary', fn: n.op, x: args[0]! };
}

export function readElementwise(node: Node): BodyExpr {
  return exprOf(node, node.body!.results[0]!, []);
}

/**
 * One result of products with chosen experts: expert by expert the weights of its linears, interleaved, and what becomes of the sums.
 * With `scores`, of the sum over all choices that these mix.
 */
export interface ExpertsGroup { readonly linears: readonly Node[]; readonly experts: readonly (readonly Node[])[]; readonly value: BodyExpr; readonly scores?: Node }
export interface ExpertsBody { readonly a: Node; readonly prologue?: Prologue; readonly chosen: Node; readonly groups: readonly ExpertsGroup[] }

/** The products of a fused node of the family `experts`; all have the operand and the choices of the first. */
export function readExperts(node: Node): ExpertsBody {
  const outer = (n: Node): Node => node.inputs[inputOf(node, n)]!, first = node.body!.nodes.find((n) => n.op === 'expert_linear')!;
  // Fusion mixes in a group of one product.
  const mix = node.body!.nodes.find((n) => n.op === 'mix_experts'), { a, prologue } = readPrologue(node, first.inputs[0]!);
  const groups = node.body!.results.map((root): ExpertsGroup => {
    const linears: Node[] = [], value = exprOf(node, root, linears), biased = linears.find((l) => l.inputs.length > 2 + expertMatrices(l).length);
    if (biased) throw new UserError(`The experts in ${biased.path || 'the model'} have biases, and no kernel adds the biases of chosen experts yet, so the model cannot be compiled to a bundle. What it costs can be asked without one: eemllm flops.`, biased.where);
    return { linears, experts: expertMatrices(linears[0]!).map((_, e) => linears.map((l) => outer(expertMatrices(l)[e]!))), value, ...(mix ? { scores: outer(mix.inputs[2]!) } : {}) };
  });
  return { a: node.inputs[a]!, ...(prologue ? { prologue } : {}), chosen: outer(first.inputs[1]!), groups };
}

export function readMatmul(node: Node): MatmulBody {
  const roots = node.body!.results.filter((r) => r.op !== 'top_k'), choice = node.body!.results.find((r) => r.op === 'top_k');
  const first = node.body!.nodes.find((n) => n.op === 'linear')!;
  return {
    ...readPrologue(node, first.inputs[0]!), groups: roots.map((root) => readGroup(node, root)),
    ...(choice ? { choice: { of: roots.indexOf(choice.inputs[0]!), top: Number(choice.attrs['top']) } } : {}),
  };
}

/** The input that products multiply, and what becomes of it on the way in, where `x` is what they read. */
function readPrologue(node: Node, x: Node): { readonly a: number; readonly prologue?: Prologue } {
  if (x.op === 'param') return { a: inputOf(node, x) };
  const a = inputOf(node, x.inputs[0]!), bias = x.inputs[2];
  if (x.op === 'patches') return { a, prologue: { kind: 'patches', size: Number(x.attrs['size']) } };
  return { a, prologue: { kind: x.op as 'rms_norm' | 'layer_norm', gain: inputOf(node, x.inputs[1]!), ...(bias ? { bias: inputOf(node, bias) } : {}), eps: Number(x.attrs['eps']) } };
}

function readGroup(node: Node, root: Node): BodyGroup {
  let value = root, store: number | undefined;
  let rope: { attrs: Attrs; positions: number; headDim: number } | undefined;
  if (value.op === 'store') { store = inputOf(node, value.inputs[0]!); value = value.inputs[1]!; }
  if (value.op === 'rope') {
    rope = { attrs: value.attrs, positions: inputOf(node, value.inputs[1]!), headDim: value.type.dims[0]! / Number(value.attrs['heads']) };
    value = value.inputs[0]!;
  }
  const linears: Node[] = [];
  const tree = exprOf(node, value, linears);
  return {
    linears: linears.map((l) => ({ weight: inputOf(node, l.inputs[1]!) })), width: value.type.dims[0]!, value: tree,
    ...(rope ? { rope } : {}), ...(store === undefined ? {} : { store }),
  };
}
