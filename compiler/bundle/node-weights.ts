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

/** Vectors that the epilogues of a fused node read, each once, reordered as the results that they go with. */
export function epilogueVectors(node: Node): { readonly input: number; readonly block: Block }[] {
  const out = new Map<string, { input: number; block: Block }>();
  const visit = (e: BodyExpr, headDim?: number): void => {
    if (e.op === 'operand' && !e.type.rows) { const block = vectorBlock(node.inputs[e.input]!, headDim); out.set(JSON.stringify(block), { input: e.input, block }); }
    else if (e.op === 'unary') visit(e.x, headDim);
    else if (e.op === 'add' || e.op === 'sub' || e.op === 'mul') { visit(e.a, headDim); visit(e.b, headDim); }
  };
  if (node.attrs['family'] === 'matmul') for (const g of readMatmul(node).groups) visit(g.value, g.rope?.headDim);
  else visit(readElementwise(node));
  return [...out.values()];
}

/** All vectors that a node reads, as lists that are packed together: the epilogues' share one binding. */
export function vectorLists(node: Node): Block[][] {
  if (node.op !== 'fused') return node.inputs.filter((i) => i.op === 'weight' && i.type.dims.length === 1).map((i) => [vectorBlock(i)]);
  const epilogue = epilogueVectors(node).map((v) => v.block);
  const family = node.attrs['family'], prologue = family === 'matmul' ? readMatmul(node).prologue : family === 'experts' ? readExperts(node).prologue : undefined;
  const norm = prologue && 'gain' in prologue ? [prologue.gain, ...(prologue.bias === undefined ? [] : [prologue.bias])] : [];
  return [...(epilogue.length ? [epilogue] : []), ...norm.map((i) => [vectorBlock(node.inputs[i]!)])];
}
