import type { Node } from '../graph.ts';
import { elements } from '../types.ts';
import { suggest } from '../spelling.ts';
import { attention, repeatHeads } from './attention.ts';
import type { Moves, OpDef } from './def.ts';
import { elementwiseOps } from './elementwise.ts';
import { expertOps } from './experts.ts';
import { fused, result } from './fused.ts';
import { gatherRows } from './gather.ts';
import { keepOps } from './keep.ts';
import { linearOps } from './linear.ts';
import { pixelShuffle } from './pixel-shuffle.ts';
import { rope, ropePart } from './rope.ts';
import { rowOps } from './rows.ts';
import { visionOps } from './vision.ts';

/** The op table: every op of the IR, once. */
export const ops: ReadonlyMap<string, OpDef> = new Map(
  [...linearOps, ...elementwiseOps, rope, ropePart, attention, repeatHeads, ...rowOps, ...keepOps, gatherRows, ...expertOps, ...visionOps, pixelShuffle, fused, result].map((d) => [d.name, d]),
);

export function opDef(name: string): OpDef {
  const d = ops.get(name);
  if (!d) throw new RangeError(`'${name}' is no op.${suggest(name, ops.keys(), 'The ops are')}`);
  return d;
}

/** What computing a node moves, in elements: every input read once and the result written, unless the table says otherwise. */
export const movesOf = (n: Node): Moves => opDef(n.op).moves?.(n) ?? { reads: n.inputs.map((x) => elements(x.type)), writes: elements(n.type) };
