/** What the parts of the tile kernel's text share beside the context of all forms: how rows and keys of the tile are numbered. */
import type { AttentionTile, AttentionTileSchedule } from '../schedule/attention-tile.ts';
import { attentionTile } from '../schedule/attention-tile.ts';
import type { AttentionWork } from './attention.ts';
import type { AttentionContext } from './attention-context.ts';
import { attentionContext } from './attention-context.ts';
import { range } from './printer.ts';

export interface TileContext extends AttentionContext<AttentionTileSchedule> {
  readonly tile: AttentionTile;
  /** The rows and keys of one invocation. */
  readonly rows: readonly number[];
  readonly keys: readonly number[];
  /** Row of the tile of the invocation's row `r`. */
  row(r: number | string): string;
  /** The invocation's key `j` within the tile. */
  key(j: number): string;
  /** Place of a score. */
  score(key: string, row: string): string;
  /** The sum of weights of the invocation's row `r`, and its maximum. */
  total(r: number): string;
  highest(r: number): string;
  /** Vectors of the query head, as the bound of a loop. */
  readonly headEnd: string;
}

export function tileContext(work: AttentionWork<AttentionTileSchedule>): TileContext {
  const { schedule, shape } = work, tile = attentionTile(schedule, shape), lanes = tile.softmaxLanes;
  // One row group: the row is a constant, and adapters that tell uniform addresses load queries once for all lanes.
  const row = (r: number | string): string => (schedule.rowGroups === 1 ? (typeof r === 'number' ? `${r}u` : r) : `row0 + ${typeof r === 'number' ? `${r}u` : r}`);
  return {
    ...attentionContext(work), tile, rows: range(schedule.rowsPerThread), keys: range(schedule.keysPerThread), row,
    key: (j) => (j ? `lane + ${j * schedule.lanes}u` : 'lane'),
    score: (key, r) => `probability[(${key}) * ${tile.pitch}u + ${r}]`,
    total: (r) => (lanes === 1 ? `total[${row(r)}]` : range(lanes).map((i) => `total[(${row(r)}) * ${lanes}u + ${i}u]`).join(' + ')),
    highest: (r) => `highest[${row(r)}]`,
    headEnd: schedule.rolled ? 'head_end' : `${tile.headVectors}u`,
  };
}
