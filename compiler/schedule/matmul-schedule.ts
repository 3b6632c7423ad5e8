/**
 * Schedules of the matmul and matvec families: which shapes of tile there are, which are legal for a product on a
 * device, and which to take before anything was measured on the adapter at hand.
 */

/**
 * A workgroup computes a tile of rows × weight rows; each of its invocations holds a smaller tile in registers.
 * Without staging (`depth` 0) invocations read both operands straight from their buffers. With it, panels of A and W
 * `depth` elements of K deep are copied to workgroup memory first: right for GPUs, wrong for adapters that run on a
 * CPU, where caches do this better and every barrier costs a switch of coroutines.
 */
export interface MatmulSchedule {
  readonly family: 'matmul';
  /** Invocations along weight rows (x) and along rows (y). */
  readonly threads: readonly [columns: number, rows: number];
  /** What an invocation holds: weight rows × rows. */
  readonly outputs: readonly [columns: number, rows: number];
  /** Elements of K in a staged panel, a multiple of 4; 0 to read operands directly. */
  readonly depth: number;
  /** Each output sums a `dot` of four products a step, or keeps a `vec4` of partial sums until the end. */
  readonly sum: 'dot' | 'vec4';
}

/**
 * One row. `lanes` invocations walk along K together for `outputs` weight rows; a workgroup has `teams` such teams.
 * With one lane there is neither reduction nor barrier.
 */
export interface MatvecSchedule {
  readonly family: 'matvec';
  readonly lanes: number;
  readonly outputs: number;
  readonly teams: number;
  readonly sum: 'dot' | 'vec4';
}

/** Norms that stand alone: rows a workgroup, and invocations a row. */
export interface NormSchedule {
  readonly family: 'norm';
  readonly rows: number;
  readonly lanes: number;
}

/** What legality asks of a product. */
export interface MatmulShape {
  /** Interleaved linears of each group of output columns. */
  readonly linears: readonly number[];
  /** True if some group has a rope: a pair of columns must lie in one invocation. */
  readonly pairs?: boolean;
  /** True if rows are normalised on the way in: their statistics take workgroup memory. */
  readonly normed?: boolean;
}

/** The limits of a device that bound a schedule, named as in WebGPU. */
export interface ScheduleLimits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupSizeX: number;
  readonly maxComputeWorkgroupSizeY: number;
}
/** What every WebGPU device has. */
export const defaultLimits: ScheduleLimits = {
  maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupSizeX: 256, maxComputeWorkgroupSizeY: 256,
};

/** Padding, in vec4, of a staged panel's row of slots, so that the invocations that fill it hit different banks. */
export const panelPadding = (depth: number): number => Math.max(1, 8 / (depth / 4));

/** Rows and weight rows of a workgroup's tile. */
export const matmulTile = (s: MatmulSchedule): { rows: number; columns: number } => ({ rows: s.threads[1] * s.outputs[1], columns: s.threads[0] * s.outputs[0] });

/** Bytes of workgroup memory. */
export function matmulBytes(s: MatmulSchedule, normed: boolean): number {
  const { rows, columns } = matmulTile(s), invocations = s.threads[0] * s.threads[1];
  const panels = s.depth && 4 * s.depth * (rows + columns + 2 * panelPadding(s.depth));
  return panels + (normed ? 8 * rows + 4 * Math.max(rows, invocations) : 0);
}

const isPower = (n: number): boolean => n > 0 && (n & (n - 1)) === 0;
const leastCommon = (xs: readonly number[]): number => xs.reduce((a, b) => { let [x, y] = [a, b]; while (y) [x, y] = [y, x % y]; return (a * b) / x; }, 1);

/**
 * Weight rows that an invocation holds side by side, and to which groups are aligned: a multiple of every group's
 * linears (and of a pair, for a rope), at most 4 columns of the widest group. Without staging an invocation's weight rows are
 * all adjacent; with it they come in such chunks, so that neighbours read neighbouring slots of the panel.
 */
export function chunkOf(s: Pick<MatmulSchedule, 'outputs' | 'depth'>, shape: MatmulShape): number | undefined {
  const unit = leastCommon(shape.linears) * (shape.pairs ? 2 : 1);
  if (s.outputs[0] % unit) return undefined;
  if (!s.depth) return s.outputs[0];
  for (const columns of [4, 2, 1]) {
    const chunk = leastCommon(shape.linears) * columns;
    if (chunk % unit === 0 && s.outputs[0] % chunk === 0) return chunk;
  }
  return undefined;
}

/** Why a matmul schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotMatmul(s: MatmulSchedule, shape: MatmulShape, limits: ScheduleLimits = defaultLimits): string | undefined {
  const [tx, ty] = s.threads, invocations = tx * ty, { rows } = matmulTile(s);
  if (![tx, ty].every(isPower)) return `Invocations must be powers of two along each axis, not ${tx}×${ty}.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || tx > limits.maxComputeWorkgroupSizeX || ty > limits.maxComputeWorkgroupSizeY)
    return `A workgroup of ${tx}×${ty} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  if (s.depth % 4 || s.depth < 0 || (s.depth && !isPower(s.depth))) return `The depth of a panel must be a power of two, at least 4, or 0 for none; it is ${s.depth}.`;
  if (s.depth && invocations % (s.depth / 4)) return `${invocations} invocations do not share a depth of ${s.depth} evenly.`;
  if (chunkOf(s, shape) === undefined) return `${s.outputs[0]} weight rows an invocation do not hold whole outputs of ${Math.max(...shape.linears)} linear(s)${shape.pairs ? ' in pairs' : ''}.`;
  if (shape.normed && (rows > invocations ? rows % invocations : invocations % rows)) return `${invocations} invocations do not share the statistics of ${rows} rows evenly.`;
  const bytes = matmulBytes(s, shape.normed ?? false);
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}

/** Why a matvec schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotMatvec(s: MatvecSchedule, shape: MatmulShape, limits: ScheduleLimits = defaultLimits): string | undefined {
  const invocations = s.lanes * s.teams;
  if (![s.lanes, s.teams].every(isPower)) return `Lanes and teams must be powers of two, not ${s.lanes} and ${s.teams}.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || invocations > limits.maxComputeWorkgroupSizeX)
    return `A workgroup of ${invocations} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  const unit = leastCommon(shape.linears) * (shape.pairs ? 2 : 1);
  if (s.outputs % unit) return `${s.outputs} weight rows a team do not hold whole outputs of ${Math.max(...shape.linears)} linear(s)${shape.pairs ? ' in pairs' : ''}.`;
  const bytes = matvecBytes(s, shape.normed ?? false);
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}
/**
 * Partial sums of every lane are added in two stages when there are many lanes: first in runs of this many, by all
 * invocations, then the rest by the invocation that finishes the output.
 */
export const matvecRun = (lanes: number): number => (lanes >= 16 ? 8 : 1);
/** Bytes of workgroup memory: partial sums of every lane, one more a team for a norm, and the statistics of a layer norm. */
export function matvecBytes(s: MatvecSchedule, normed: boolean): number {
  if (s.lanes === 1) return normed ? 8 + 4 * s.teams : 0;
  const partial = s.lanes * s.teams * (s.outputs + (normed ? 1 : 0)), run = matvecRun(s.lanes);
  return 4 * partial + (run > 1 ? (4 * partial) / run : 0) + (normed ? 8 + 4 * s.lanes * s.teams : 0);
}
