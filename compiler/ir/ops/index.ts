import { suggest } from '../spelling.ts';
import { attention, repeatHeads } from './attention.ts';
import type { OpDef } from './def.ts';
import { elementwiseOps } from './elementwise.ts';
import { fused, result } from './fused.ts';
import { linearOps } from './linear.ts';
import { rope } from './rope.ts';
import { rowOps } from './rows.ts';
import { visionOps } from './vision.ts';

/** The op table: every op of the IR, once. */
export const ops: ReadonlyMap<string, OpDef> = new Map(
  [...linearOps, ...elementwiseOps, rope, attention, repeatHeads, ...rowOps, ...visionOps, fused, result].map((d) => [d.name, d]),
);

export function opDef(name: string): OpDef {
  const d = ops.get(name);
  if (!d) throw new RangeError(`'${name}' is no op.${suggest(name, ops.keys(), 'The ops are')}`);
  return d;
}
