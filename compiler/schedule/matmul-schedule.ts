/** Schedules of the matmul family: one of its forms, each with its own tile and its own rules. */
import type { DeviceFacts } from './device-facts.ts';
import type { ExchangeSchedule } from './matmul-exchange.ts';
import { whyNotExchange } from './matmul-exchange.ts';
import type { RowsSchedule } from './matmul-rows.ts';
import { whyNotRows } from './matmul-rows.ts';
import type { TileSchedule } from './matmul-tile.ts';
import { whyNotTile } from './matmul-tile.ts';
import type { MatmulShape } from './product-shape.ts';
import type { SubgroupMatrixSchedule } from './subgroup-matrix.ts';
import { whyNotSubgroupMatrix } from './subgroup-matrix.ts';

export type MatmulSchedule = TileSchedule | RowsSchedule | ExchangeSchedule | SubgroupMatrixSchedule;

/** Why a matmul schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotMatmul(s: MatmulSchedule, shape: MatmulShape, facts: DeviceFacts): string | undefined {
  switch (s.form) {
    case 'tile': return whyNotTile(s, shape, facts);
    case 'rows': return whyNotRows(s, shape, facts);
    case 'exchange': return whyNotExchange(s, shape, facts);
    case 'subgroup-matrix': return whyNotSubgroupMatrix(s, shape, facts);
    default: return s satisfies never;
  }
}
