/** What the texts of all forms share: their accesses to buffers, and how query entries and channels are numbered. */
import { Poly } from '../ir/poly.ts';
import type { AttentionSchedule } from '../schedule/attention-schedule.ts';
import type { AttentionWork } from './attention.ts';
import { activeSplits, recordElements } from './attention.ts';
import type { MaskFacts } from './attention-mask.ts';
import type { HeadRows } from './attention-rows.ts';
import { declareHeadRows } from './attention-rows.ts';
import { maskFacts } from './attention-mask.ts';
import type { Lanes, ViewAccess } from './printer.ts';
import { Memory, range, vecType } from './printer.ts';

/** Below every score, and what a row's maximum begins with. Finite: nothing relies on infinities. */
export const lowest = '-1e30';
/** The score of an excluded pair, below `lowest`. */
export const excluded = '-1e38';

export interface AttentionContext<S extends AttentionSchedule = AttentionSchedule> extends AttentionWork<S> {
  readonly memory: Memory;
  readonly facts: MaskFacts;
  /** Elements of a vector, and its WGSL type. */
  readonly w: Lanes;
  readonly type: string;
  readonly q: ViewAccess;
  readonly k: HeadRows;
  readonly v: HeadRows;
  /** Results, unless they always go through `scratch`. */
  readonly out: ViewAccess | undefined;
  readonly scratch: ViewAccess | undefined;
  /** Number of splits, where it does not depend on the number of rows. */
  readonly fixedSplits: number | undefined;
  /** The channel vectors of one invocation. */
  readonly channels: readonly number[];
  /** The invocation's channel vector `c`, in range. */
  channel(c: number): string;
  /** Statements that run only where the channel vector is one of the head's. */
  guarded(c: number, statements: readonly string[]): string;
  /** Query row and query head of an entry: `query rows × heads of the group`, heads varying fastest. */
  entryRow(entry: string): string;
  entryHead(entry: string): string;
}

export function attentionContext<S extends AttentionSchedule>(work: AttentionWork<S>): AttentionContext<S> {
  const { spec, schedule, shape, tile, options } = work;
  const memory = new Memory(options), facts = maskFacts(spec), w = shape.vector as Lanes, type = vecType(w);
  const split = schedule.splits > 1, fixedSplits = !split ? 1 : shape.queryRows === undefined ? undefined : activeSplits(work, shape.queryRows);
  // Every access is declared before the first is printed. Spans say which rows of keys and values are read.
  const q = memory.view('q', spec.q, w);
  const k = declareHeadRows(memory, 'k', { ...spec.k, regions: undefined }, spec.headDim, w), v = declareHeadRows(memory, 'v', { ...spec.v, regions: undefined }, spec.valueDim, w);
  const out = fixedSplits === undefined || fixedSplits === 1 ? memory.view('out', spec.out, w, { width: spec.heads * spec.valueDim }) : undefined;
  const scratch = fixedSplits === 1 ? undefined : memory.view('scratch', spec.scratch!, w, { width: recordElements(shape) });
  const everyChannel = tile.valueVectors % tile.channelLanes === 0, hpg = tile.headsPerGroup;
  const channel = (c: number): string => (c ? `channel + ${c * tile.channelLanes}u` : 'channel');
  return {
    ...work, memory, facts, w, type, q, k, v, out, scratch, fixedSplits, channels: range(tile.channels),
    channel: (c) => (everyChannel ? channel(c) : `min(${channel(c)}, ${tile.valueVectors - 1}u)`),
    guarded: (c, statements) => (everyChannel || (c + 1) * tile.channelLanes <= tile.valueVectors ? statements.join(' ') : `if (${channel(c)} < ${tile.valueVectors}u) { ${statements.join(' ')} }`),
    entryRow: (entry) => (hpg === 1 ? entry : `(${entry}) / ${hpg}u`),
    entryHead: (entry) => (hpg === 1 ? 'group.y' : `group.y * ${hpg}u + (${entry}) % ${hpg}u`),
  };
}

/** Number of key spans of the sequence, an expression. */
export const spanCount = ({ memory, spec }: Pick<AttentionContext, 'memory' | 'spec'>): string => memory.poly(Poly.dim(`spans_${spec.sequence.name}`));
/** `first + offset` rows into the row data. */
export const rowDataAt = ({ memory, spec }: Pick<AttentionContext, 'memory' | 'spec'>, row: string): string =>
  `${memory.entries('rows', spec.rows, 'vec4<i32>')}[${spec.qRowData.isZero ? row : `${memory.poly(spec.qRowData)} + ${row}`}]`;
