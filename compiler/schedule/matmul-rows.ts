/**
 * Schedules of the matmul family's form for few rows: a short question after a picture, a handful of sequences. Weights
 * are what such a product waits for, so teams of lanes walk along weight rows as in matvec and read each of them once for
 * a block of rows.
 */
import type { DeviceFacts } from './device-facts.ts';
import { whyNotTeam } from './matvec-schedule.ts';
import type { MatmulShape } from './product-shape.ts';

export interface RowsSchedule {
  readonly family: 'matmul';
  readonly form: 'rows';
  /** Rows of a block; more rows than these are computed block by block. */
  readonly rows: number;
  readonly lanes: number;
  readonly outputs: number;
  readonly teams: number;
  readonly sum: 'dot' | 'vec4';
  /** Lanes' sums meet in the subgroup first. */
  readonly subgroup: boolean;
}

/** Why such a schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotRows(s: RowsSchedule, shape: MatmulShape, facts: DeviceFacts): string | undefined {
  if (!(Number.isInteger(s.rows) && s.rows >= 1)) return `A block has ${s.rows} rows, and an integer of at least 1 was expected.`;
  return whyNotTeam({ ...s, dot4: false }, shape, facts);
}
