/** What the parts of the tile kernel's text share: its accesses to buffers, and how rows, keys and channels are numbered. */
import { Poly } from '../ir/poly.ts';
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

export interface TileContext extends AttentionWork {
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
  /** The rows, keys and channel vectors of one invocation. */
  readonly rows: readonly number[];
  readonly keys: readonly number[];
  readonly channels: readonly number[];
  /** Row of the tile of the invocation's row `r`. */
  row(r: number | string): string;
  /** The invocation's key `j` within the tile. */
  key(j: number): string;
  /** Place of a score. */
  score(key: string, row: string): string;
  /** The invocation's channel vector `c`, in range. */
  channel(c: number): string;
  /** Statements that run only where the channel vector is one of the head's. */
  guarded(c: number, statements: readonly string[]): string;
  /** Vectors of the query head, as the bound of a loop. */
  readonly headEnd: string;
  /** Query row and query head of an entry: `query rows × heads of the group`, heads varying fastest. */
  entryRow(entry: string): string;
  entryHead(entry: string): string;
}

export function tileContext(work: AttentionWork): TileContext {
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
    ...work, memory, facts, w, type, q, k, v, out, scratch, fixedSplits,
    rows: range(schedule.rowsPerThread), keys: range(schedule.keysPerThread), channels: range(tile.channels),
    // One row group: the row is a constant, and adapters that tell uniform addresses load queries once for all lanes.
    row: (r) => (schedule.rowGroups === 1 ? (typeof r === 'number' ? `${r}u` : r) : `row0 + ${typeof r === 'number' ? `${r}u` : r}`),
    key: (j) => (j ? `lane + ${j * schedule.lanes}u` : 'lane'),
    score: (key, row) => `probability[(${key}) * ${tile.pitch}u + ${row}]`,
    channel: (c) => (everyChannel ? channel(c) : `min(${channel(c)}, ${tile.valueVectors - 1}u)`),
    guarded: (c, statements) => (everyChannel || (c + 1) * tile.channelLanes <= tile.valueVectors ? statements.join(' ') : `if (${channel(c)} < ${tile.valueVectors}u) { ${statements.join(' ')} }`),
    headEnd: schedule.rolled ? 'head_end' : `${tile.headVectors}u`,
    entryRow: (entry) => (hpg === 1 ? entry : `(${entry}) / ${hpg}u`),
    entryHead: (entry) => (hpg === 1 ? 'group.y' : `group.y * ${hpg}u + (${entry}) % ${hpg}u`),
  };
}

/** Number of key spans of the sequence, an expression. */
export const spanCount = ({ memory, spec }: Pick<TileContext, 'memory' | 'spec'>): string => memory.poly(Poly.dim(`spans_${spec.sequence.name}`));
/** `first + offset` rows into the row data. */
export const rowDataAt = ({ memory, spec }: Pick<TileContext, 'memory' | 'spec'>, row: string): string =>
  `${memory.entries('rows', spec.rows, 'vec4<i32>')}[${spec.qRowData.isZero ? row : `${memory.poly(spec.qRowData)} + ${row}`}]`;
