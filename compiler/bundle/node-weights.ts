/** Which weights a node reads, as the blocks that they are packed in: asked for before anything is lowered, and found again then. */
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import type { BodyExpr, BodyGroup } from './body.ts';
import { readElementwise, readExperts, readMatmul } from './body.ts';
import type { Block } from './packing.ts';

/** The blocks of weights that a matmul group reads, in order. */
export function weightBlocks(node: Node): Block[] {
  return readMatmul(node).groups.map((g) => blockOf(node, g));
}
/** The rows of a group's linears. */
export const blockOf = (node: Node, g: BodyGroup): Block => ({
  tensors: g.linears.map((l) => leafName(node.inputs[l.weight]!)), rows: g.width,
  ...(g.rope ? { headDim: g.rope.headDim } : {}),
});
export const vectorBlock = (n: Node, headDim?: number): Block => ({ tensors: [leafName(n)], rows: n.type.dims[0]!, ...(headDim === undefined ? {} : { headDim }) });

/** Vectors that a fused node reads, each once, in the order in which they share one binding: its epilogues', reordered as the results that they go with, then its norm's. */
export function fusedVectors(node: Node): Block[] {
  const out = new Map<string, Block>();
  const add = (input: number, headDim?: number): void => { const block = vectorBlock(node.inputs[input]!, headDim); out.set(JSON.stringify(block), block); };
  const visit = (e: BodyExpr, headDim?: number): void => {
    if (e.op === 'operand' && !e.type.rows) add(e.input, headDim);
    else if (e.op === 'unary') visit(e.x, headDim);
    else if (e.op === 'add' || e.op === 'sub' || e.op === 'mul') { visit(e.a, headDim); visit(e.b, headDim); }
  };
  const family = node.attrs['family'], matmul = family === 'matmul' ? readMatmul(node) : undefined, prologue = matmul?.prologue ?? (family === 'experts' ? readExperts(node).prologue : undefined);
  if (matmul) for (const g of matmul.groups) visit(g.value, g.rope?.headDim);
  else visit(readElementwise(node));
  if (prologue && 'gain' in prologue) for (const input of [prologue.gain, ...(prologue.bias === undefined ? [] : [prologue.bias])]) add(input);
  return [...out.values()];
}

/** All vectors that a node reads, as lists that are packed together and bound as one. */
export function vectorLists(node: Node): Block[][] {
  if (node.op !== 'fused') return node.inputs.filter((i) => i.op === 'weight' && i.type.dims.length === 1).map((i) => [vectorBlock(i)]);
  const list = fusedVectors(node);
  return list.length ? [list] : [];
}
