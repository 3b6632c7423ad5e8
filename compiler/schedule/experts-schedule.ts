/** Schedules of products with the matrices of chosen experts: many rows, grouped by expert, and one row. */
import type { DeviceClass } from './device-facts.ts';

/**
 * A workgroup computes a tile of rows of one expert × weight rows of its matrix, each invocation a smaller one in registers.
 * With `depth`, panels of both, `depth` elements of K deep, are copied to workgroup memory first: right for GPUs, wrong for
 * adapters that run on a CPU.
 */
export interface ExpertTileSchedule {
  readonly family: 'experts';
  readonly form: 'tile';
  /** Invocations along weight rows (x) and along rows (y). */
  readonly threads: readonly [columns: number, rows: number];
  /** What an invocation holds: weight rows × rows. */
  readonly outputs: readonly [columns: number, rows: number];
  /** Elements of K in a staged panel, a multiple of 4; 0 to read operands directly. */
  readonly depth: number;
}

/** One row with each of its experts: `lanes` invocations walk along K together for `outputs` weight rows, in `teams` a workgroup. */
export interface ExpertRowSchedule {
  readonly family: 'experts';
  readonly form: 'row';
  readonly lanes: number;
  readonly outputs: number;
  readonly teams: number;
}

/** Bytes of workgroup memory of a tile: the panels, and which rows it holds. */
export const expertTileBytes = ({ threads, outputs, depth }: ExpertTileSchedule): number =>
  (depth ? 4 * depth * (threads[0] * outputs[0] + threads[1] * outputs[1] + 2) + 12 : 0);

/** An expert has a fraction of the rows, so tiles are lower than those of other products. `linears`: interleaved ones. */
export function expertTile(device: DeviceClass, linears: number): ExpertTileSchedule {
  const columns = linears * Math.max(1, Math.floor(8 / linears));
  return device === 'gpu' ? { family: 'experts', form: 'tile', threads: [16, 8], outputs: [columns, 4], depth: 16 } : { family: 'experts', form: 'tile', threads: [4, 4], outputs: [columns, 4], depth: 0 };
}

/** `mixed`: a team walks through the matrices of all choices, and so with more lanes, as there are fewer workgroups. */
export function expertRow(device: DeviceClass, linears: number, mixed = false): ExpertRowSchedule {
  const outputs = linears * Math.max(1, Math.floor((device === 'gpu' ? 4 : 8) / linears));
  return device === 'gpu' ? { family: 'experts', form: 'row', lanes: mixed ? 64 : 32, outputs, teams: 4 } : { family: 'experts', form: 'row', lanes: 1, outputs, teams: 16 };
}
