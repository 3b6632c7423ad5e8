/**
 * What the attention kernels do on a concrete layout, replayed on the host by the rules that they run: how many key
 * blocks are computed whole, with the predicate, or skipped, and the FLOPs that are executed, padding included.
 */
import type { TokenBlock, TokenNumbers } from '../ir/mask/index.ts';
import { evaluateInterval } from '../ir/mask/index.ts';
import type { AttentionSchedule } from '../schedule/attention-schedule.ts';
import { attentionBlocking } from '../schedule/attention-schedule.ts';
import type { AttentionSpec } from './attention.ts';
import { attentionShape } from './attention.ts';
import { maskFacts } from './attention-mask.ts';

/** The data of a step, as it lies in the buffers of the sequence. */
export interface AttentionLayout {
  /** Values of the dims, the number of spans aside. */
  readonly dims: Readonly<Record<string, number>>;
  /** (position, kind, index, image) of every new row. */
  readonly rows: Int32Array;
  /** (slot, count, kind, image), (position, index, origin, 0) of every span. */
  readonly spans: Int32Array;
}

export interface AttentionWorkDone {
  /** Key blocks of all query blocks of one head: computed without the predicate, with it, and not at all. */
  readonly full: number;
  readonly mixed: number;
  readonly skipped: number;
  /** FLOPs of scores and weighted values of all heads, 2 a multiply-add: what invocations execute, rows and keys beyond the edge included. */
  readonly flops: number;
}

export function attentionBlocks(spec: AttentionSpec, schedule: AttentionSchedule, layout: AttentionLayout): AttentionWorkDone {
  const shape = attentionShape(spec), tile = attentionBlocking(schedule, shape), facts = maskFacts(spec);
  const count = spec.qRows.at(layout.dims), rowData = spec.qRowData.at(layout.dims), entries = count * tile.headsPerGroup;
  let full = 0, mixed = 0, skipped = 0, multiplyAdds = 0;
  const token = (at: number, from: Int32Array): TokenNumbers => ({ pos: from[at]!, kind: from[at + 1]!, index: from[at + 2]!, image: from[at + 3]! });
  for (let first = 0; first < entries; first += tile.rows) {
    const queries = facts.expr ? hull(Array.from({ length: Math.floor((Math.min(first + tile.rows, entries) - 1) / tile.headsPerGroup) - Math.floor(first / tile.headsPerGroup) + 1 }, (_, i) => token((rowData + Math.floor(first / tile.headsPerGroup) + i) * 4, layout.rows))) : undefined;
    for (let s = 0; s < layout.spans.length; s += 8) {
      const [, length, kind, image, position, index] = layout.spans.slice(s, s + 6) as unknown as [number, number, number, number, number, number];
      const blocks = Math.ceil(length / tile.keys);
      const says = (begin: number, n: number): 'all' | 'none' | 'some' => {
        if (!facts.read.includes(kind)) return 'none';
        if (!queries || facts.whole.includes(kind)) return 'all';
        const at = (i: number): TokenNumbers => ({ pos: position + i, kind, index: index + i, image });
        return evaluateInterval(facts.expr!, queries, { lo: at(begin), hi: at(begin + n - 1) });
      };
      const span = length ? says(0, length) : 'none';
      for (let b = 0; b < blocks; b++) {
        const n = Math.min(tile.keys, length - b * tile.keys), answer = span === 'some' ? says(b * tile.keys, n) : span;
        if (answer === 'none') { skipped++; continue; }
        if (answer === 'all') full++; else mixed++;
        multiplyAdds += tile.rows * (tile.keys * spec.headDim + Math.ceil(n / tile.valueKeys) * tile.valueKeys * tile.channels * tile.channelLanes * shape.vector);
      }
    }
  }
  return { full, mixed, skipped, flops: 2 * multiplyAdds * (spec.heads / tile.headsPerGroup) };
}

function hull(tokens: readonly TokenNumbers[]): TokenBlock {
  const fold = (pick: (a: number, b: number) => number): TokenNumbers =>
    tokens.reduce((a, b) => ({ pos: pick(a.pos, b.pos), kind: pick(a.kind, b.kind), index: pick(a.index, b.index), image: pick(a.image, b.image) }));
  return { lo: fold(Math.min), hi: fold(Math.max) };
}
