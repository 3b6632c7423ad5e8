/** Schedules of register tiles, the matmul family's form for many rows: which there are, and which are legal for a product on a device. */
import type { DeviceFacts } from './device-facts.ts';
import type { MatmulShape } from './product-shape.ts';
import { commonLinears, isPower, notWhole, outputUnit } from './product-shape.ts';

/**
 * A workgroup computes a tile of rows × weight rows; each of its invocations holds a smaller tile in registers.
 * Without staging (`depth` 0) invocations read both operands straight from their buffers. With it, panels of A and W
 * `depth` elements of K deep are copied to workgroup memory first: right for GPUs, wrong for adapters that run on a
 * CPU, where caches do this better and every barrier costs a switch of coroutines.
 */
export interface TileSchedule {
  readonly family: 'matmul';
  readonly form: 'tile';
  /** Invocations along weight rows (x) and along rows (y). */
  readonly threads: readonly [columns: number, rows: number];
  /** What an invocation holds: weight rows × rows. */
  readonly outputs: readonly [columns: number, rows: number];
  /** Elements of K in a staged panel, a multiple of 4; 0 to read operands directly. */
  readonly depth: number;
  /** Each output sums a `dot` of four products a step, or keeps a `vec4` of partial sums until the end. */
  readonly sum: 'dot' | 'vec4';
  /** What panels hold. f16 rounds A (and dequantised weights) to f16, in half the memory; sums stay f32. */
  readonly panels: 'f32' | 'f16';
  /** Workgroups that share K of one tile, for few rows; a second kernel adds up what they leave in scratch memory. */
  readonly splits: number;
  /** K is shared as long as splits × rows is at most this; so many rows of sums the scratch memory holds. */
  readonly splitRows: number;
}

/** Padding, in vec4, of a staged panel's row of slots, so that the invocations that fill it hit different banks. */
export const panelPadding = (depth: number): number => Math.max(1, 8 / (depth / 4));

/** Rows and weight rows of a workgroup's tile. */
export const matmulTile = (s: TileSchedule): { rows: number; columns: number } => ({ rows: s.threads[1] * s.outputs[1], columns: s.threads[0] * s.outputs[0] });

/** Bytes of workgroup memory. */
export function matmulBytes(s: TileSchedule, normed: boolean): number {
  const { rows, columns } = matmulTile(s), invocations = s.threads[0] * s.threads[1];
  const panels = s.depth && (s.panels === 'f16' ? 2 : 4) * s.depth * (rows + columns + 2 * panelPadding(s.depth));
  return panels + (normed ? 8 * rows + 4 * Math.max(rows, invocations) : 0);
}

/**
 * Weight rows that an invocation holds side by side, and to which groups are aligned: a multiple of every group's
 * linears (and of a pair, for a rope), at most 4 columns of the widest group. Without staging an invocation's weight rows are
 * all adjacent; with it they come in such chunks, so that neighbours read neighbouring slots of the panel.
 */
export function chunkOf(s: Pick<TileSchedule, 'outputs' | 'depth'>, shape: MatmulShape): number | undefined {
  const unit = outputUnit(shape);
  if (s.outputs[0] % unit) return undefined;
  if (!s.depth) return s.outputs[0];
  for (const columns of [4, 2, 1]) {
    const chunk = commonLinears(shape) * columns;
    if (chunk % unit === 0 && s.outputs[0] % chunk === 0) return chunk;
  }
  return undefined;
}

/** Why a tile cannot be used, as a sentence; undefined if it can. */
export function whyNotTile(s: TileSchedule, shape: MatmulShape, { limits, features }: DeviceFacts): string | undefined {
  const [tx, ty] = s.threads, invocations = tx * ty, { rows } = matmulTile(s);
  if (![tx, ty].every(isPower)) return `Invocations must be powers of two along each axis, not ${tx}×${ty}.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || tx > limits.maxComputeWorkgroupSizeX || ty > limits.maxComputeWorkgroupSizeY)
    return `A workgroup of ${tx}×${ty} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  if (s.depth % 4 || s.depth < 0 || (s.depth && !isPower(s.depth))) return `The depth of a panel must be a power of two, at least 4, or 0 for none; it is ${s.depth}.`;
  if (s.depth && invocations % (s.depth / 4)) return `${invocations} invocations do not share a depth of ${s.depth} evenly.`;
  if (s.panels === 'f16') {
    if (!s.depth) return 'Without panels nothing is held as f16.';
    if (!features.has('shader-f16')) return 'Panels of f16 need the feature shader-f16, which the device lacks.';
    if (shape.arithmetic === 'f32') return 'Panels of f16 would round the operands of a product that is to be computed in f32.';
  }
  if (!(Number.isInteger(s.splits) && s.splits >= 1)) return `A tile's K is shared by ${s.splits} workgroups, and an integer of at least 1 was expected.`;
  if (s.splits > 1 && !s.depth) return 'Only tiles with panels share K among workgroups.';
  if (s.splits > 1 && s.splitRows < s.splits) return `splitRows is ${s.splitRows}, too few for ${s.splits} splits of one row.`;
  const parted = notWhole(s.outputs[0], 'an invocation', shape);
  if (parted) return parted;
  if (shape.normed && (rows > invocations ? rows % invocations : invocations % rows)) return `${invocations} invocations do not share the statistics of ${rows} rows evenly.`;
  const bytes = matmulBytes(s, shape.normed ?? false);
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}
