/**
 * Schedules of the matmul family's form on subgroup matrices (tensor cores, simdgroup matrices): a subgroup multiplies
 * small matrices whole, from panels in workgroup memory.
 *
 * A workgroup's tile is cut into `grid` pieces, one for a subgroup; a piece is `matrices` matrices of M × N. How many
 * subgroups there really are depends on their size, which a driver may choose: fewer than pieces take several pieces in
 * turn, more leave some idle. `subgroup` is the size that the schedule is meant for, and right for every other.
 */
import type { DeviceFacts, SubgroupMatrixConfig } from './device-facts.ts';
import { subgroupSizes } from './device-facts.ts';
import type { MatmulShape } from './product-shape.ts';
import { outputUnit } from './product-shape.ts';

export interface SubgroupMatrixSchedule {
  readonly family: 'matmul';
  readonly form: 'subgroup-matrix';
  /** Sizes of one matrix: M rows × N weight rows, K deep. */
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** What is multiplied; sums are f32. */
  readonly component: 'f16' | 'f32';
  /** Pieces of a workgroup: along weight rows and along rows. */
  readonly grid: readonly [columns: number, rows: number];
  /** Matrices of a piece. */
  readonly matrices: readonly [columns: number, rows: number];
  /** Elements of K in a panel, a multiple of the matrices' K. */
  readonly depth: number;
  readonly subgroup: number;
}

/** Elements of padding behind each row of a panel, against bank conflicts, and of f32 behind a row of finished sums. */
export const matrixPanelPadding = 8;
export const matrixSumPadding = 4;

/** Rows and weight rows of a workgroup's tile, and its invocations. */
export const matrixTile = (s: SubgroupMatrixSchedule): { rows: number; columns: number; invocations: number } => ({
  rows: s.grid[1] * s.matrices[1] * s.M, columns: s.grid[0] * s.matrices[0] * s.N, invocations: s.grid[0] * s.grid[1] * s.subgroup,
});

/** Bytes of workgroup memory: both panels, one strip of finished sums (a row of matrices of every piece), statistics. */
export function matrixBytes(s: SubgroupMatrixSchedule, normed: boolean): number {
  const { rows, columns, invocations } = matrixTile(s);
  const panels = (s.component === 'f16' ? 2 : 4) * (rows + columns) * (s.depth + matrixPanelPadding);
  return panels + 4 * s.grid[1] * s.M * (columns + matrixSumPadding) + (normed ? 8 * rows + 4 * Math.max(rows, invocations) : 0);
}

const same = (c: SubgroupMatrixConfig, s: SubgroupMatrixSchedule): boolean => c.M === s.M && c.N === s.N && c.K === s.K && c.component === s.component && c.result === 'f32';

/** Why such a schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotSubgroupMatrix(s: SubgroupMatrixSchedule, shape: MatmulShape, facts: DeviceFacts): string | undefined {
  const { limits, features } = facts, { rows, invocations } = matrixTile(s);
  for (const f of ['subgroups', 'chromium-experimental-subgroup-matrix', ...(s.component === 'f16' ? ['shader-f16'] : [])])
    if (!features.has(f)) return `Subgroup matrices of ${s.component} need the feature ${f}, which the device lacks.`;
  if (facts.subgroupMatrix && !facts.subgroupMatrix.some((c) => same(c, s))) return `The device multiplies no ${s.M}×${s.N}×${s.K} matrices of ${s.component} with sums in f32.`;
  if (s.component === 'f16' && shape.arithmetic === 'f32') return 'Matrices of f16 would round the operands of a product that is to be computed in f32.';
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || invocations > limits.maxComputeWorkgroupSizeX)
    return `A workgroup of ${invocations} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  if (invocations % subgroupSizes(facts).max) return `${invocations} invocations are no whole number of the device's largest subgroups, of ${subgroupSizes(facts).max}.`;
  if (s.depth % s.K || s.depth % 4 || invocations % (s.depth / 4)) return `Panels of ${s.depth} are not cut into matrices ${s.K} deep, or not shared evenly by ${invocations} invocations.`;
  if (s.N % outputUnit(shape)) return `Matrices of ${s.N} weight rows do not hold whole outputs of ${Math.max(...shape.linears)} linear(s)${shape.pairs ? ' in pairs' : ''}.`;
  if (shape.normed && (rows > invocations ? rows % invocations : invocations % rows)) return `${invocations} invocations do not share the statistics of ${rows} rows evenly.`;
  const bytes = matrixBytes(s, shape.normed ?? false);
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}
