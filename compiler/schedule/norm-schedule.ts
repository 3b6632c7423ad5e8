/** Schedules of norms that stand alone, and where a norm is part of a product instead. */
import type { DeviceFacts } from './device-facts.ts';
import { isPower } from './product-shape.ts';

/** Rows a workgroup, and invocations a row. */
export interface NormSchedule {
  readonly family: 'norm';
  readonly rows: number;
  readonly lanes: number;
}

export interface NormShape {
  /** Rows, where they do not depend on the prompt. */
  readonly rows?: number;
  readonly width: number;
}

/** Bytes of workgroup memory: statistics and partial sums; one invocation a row keeps them to itself. */
const bytes = (s: NormSchedule): number => (s.lanes === 1 ? 0 : 8 * s.rows + 4 * s.rows * s.lanes);

/** Why a norm's schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotNorm(s: NormSchedule, _shape: NormShape, { limits }: DeviceFacts): string | undefined {
  const invocations = s.rows * s.lanes;
  if (![s.rows, s.lanes].every(isPower)) return `Rows and lanes must be powers of two, not ${s.rows} and ${s.lanes}.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || invocations > limits.maxComputeWorkgroupSizeX)
    return `A workgroup of ${invocations} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  if (bytes(s) > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes(s)} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}

/** All norm schedules worth a try on a device. */
export function normSpace(shape: NormShape, facts: DeviceFacts): NormSchedule[] {
  const sizes = facts.class === 'gpu' ? [[1, 32], [1, 64], [1, 128], [1, 256], [2, 32], [4, 32]] as const : [[1, 1], [4, 1], [8, 1], [16, 1], [1, 8], [2, 8]] as const;
  return sizes.map(([rows, lanes]) => ({ family: 'norm' as const, rows, lanes })).filter((s) => !whyNotNorm(s, shape, facts));
}

/** Where nobody has measured. On software adapters lanes only add barriers, unless there is one row. */
export function normDefault(shape: NormShape, facts: DeviceFacts): NormSchedule {
  if (facts.class === 'gpu') return { family: 'norm', rows: 1, lanes: 64 };
  return shape.rows === 1 ? { family: 'norm', rows: 1, lanes: 8 } : { family: 'norm', rows: 8, lanes: 1 };
}

/**
 * Whether a norm in front of a product is better a kernel of its own. As part of the product every column of tiles repeats it.
 * On SwiftShader that costs 17 to 30 % of the product, a kernel of its own 2 % (bench/matmul.ts --norm rms_norm). On a GPU
 * a 64 × 128 tile would read a third more before its first multiply-add, while its units wait; the norm of 640 rows of 4,096
 * moves 20 MB once, beside 64 GFLOP. With one row it is part of the product, which gets it for nothing.
 */
export const normApart = (rows: number | undefined): boolean => rows !== 1;
