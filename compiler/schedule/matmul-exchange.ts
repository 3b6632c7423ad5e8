/**
 * Schedules of the matmul family's form that lives inside a subgroup: lanes load rows of A and weight rows of their own,
 * and hand the rows of A to each other. Right where what is loaded costs far more than what is exchanged, as on adapters
 * that run on a CPU: llvmpipe spends some 30 instructions a lane on every load, whatever the address, and two on an exchange.
 */
import type { DeviceFacts } from './device-facts.ts';
import type { MatmulShape } from './product-shape.ts';
import { isPower, notWhole } from './product-shape.ts';

export interface ExchangeSchedule {
  readonly family: 'matmul';
  readonly form: 'exchange';
  /** Invocations of a team: no more than the device's smallest subgroup. */
  readonly lanes: number;
  /** Rows of A that a lane loads; a team multiplies `lanes` times as many. */
  readonly rows: number;
  /** Weight rows of an invocation. */
  readonly outputs: number;
  /** Teams of a workgroup, side by side along weight rows. */
  readonly teams: number;
}

/** Rows and weight rows of a workgroup's tile. */
export const exchangeTile = (s: ExchangeSchedule): { rows: number; columns: number } => ({ rows: s.lanes * s.rows, columns: s.lanes * s.teams * s.outputs });

/** Why such a schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotExchange(s: ExchangeSchedule, shape: MatmulShape, { limits, features, subgroups }: DeviceFacts): string | undefined {
  const invocations = s.lanes * s.teams, tile = exchangeTile(s);
  if (![s.lanes, s.teams].every(isPower)) return `Lanes and teams must be powers of two, not ${s.lanes} and ${s.teams}.`;
  if (!(Number.isInteger(s.rows) && s.rows >= 1)) return `A lane loads ${s.rows} rows, and an integer of at least 1 was expected.`;
  if (!features.has('subgroups')) return 'Lanes that exchange what they load need the feature subgroups, which the device lacks.';
  if (!subgroups) return 'The size of the device\'s subgroups is not known.';
  if (s.lanes > subgroups.min) return `A team of ${s.lanes} lanes does not fit into a subgroup, which may have ${subgroups.min} only.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || invocations > limits.maxComputeWorkgroupSizeX)
    return `A workgroup of ${invocations} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  const parted = notWhole(s.outputs, 'an invocation', shape);
  if (parted) return parted;
  if (shape.normed && (tile.rows > invocations ? tile.rows % invocations : invocations % tile.rows)) return `${invocations} invocations do not share the statistics of ${tile.rows} rows evenly.`;
  const bytes = shape.normed ? 8 * tile.rows + 4 * Math.max(tile.rows, invocations) : 0;
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}
