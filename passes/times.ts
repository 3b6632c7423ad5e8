/**
 * Binding times: when the rows of one kind of a value are known. Every input is known once per image, once per prompt
 * or once per generated token, and a value is as late as its latest input, over the rows of it that are read.
 */
import type { GraphHead, Node, Time } from '../compiler/ir/graph.ts';
import { times } from '../compiler/ir/graph.ts';
import { opDef } from '../compiler/ir/ops/index.ts';
import { restrictRows } from '../compiler/ir/rows.ts';
import { rowsRead } from './row-demand.ts';

export const later = (a: Time, b: Time): Time => (times.indexOf(a) >= times.indexOf(b) ? a : b);
export const byImage = (t: Time): boolean => times.indexOf(t) <= times.indexOf('image');

/** Binding times of values, remembered; nodes may be added to the graph meanwhile. */
export class BindingTimes {
  private readonly known = new Map<Node, Map<string, Time>>();
  constructor(private readonly head: GraphHead) {}

  /** When rows `kind` of a value are known; without a kind, a value without rows. */
  of(n: Node, kind?: string): Time {
    if (n.op === 'input') return n.attrs['time'] as Time;
    if (n.op === 'weight') return 'constant';
    // What lies in a state was put there by an earlier step; what a step reads of it, it reads at its own time.
    if (n.op === 'state') return 'prompt';
    let kinds = this.known.get(n);
    if (!kinds) this.known.set(n, (kinds = new Map()));
    let time = kinds.get(kind ?? '');
    if (!time) kinds.set(kind ?? '', (time = this.compute(n, kind)));
    return time;
  }

  private compute(n: Node, kind: string | undefined): Time {
    let time = opDef(n.op).time?.(n, kind, this.head) ?? 'constant';
    const out = kind !== undefined && n.type.rows ? restrictRows(n.type.rows, [kind]) : undefined;
    n.inputs.forEach((x, i) => {
      if (!x.type.rows) time = later(time, this.of(x));
      else if (out) for (const k of rowsRead(n, out, i, this.head)?.kinds ?? []) time = later(time, this.of(x, k));
    });
    return time;
  }
}
