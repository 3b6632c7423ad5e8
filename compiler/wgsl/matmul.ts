/**
 * Products with any number of rows, in one of the family's forms: register tiles (matmul-tile.ts), blocks of few rows
 * (matmul-rows.ts), lanes that exchange rows (matmul-exchange.ts), subgroup matrices (matmul-subgroup-matrix.ts). Sums are f32 in all of them.
 */
import { boundless } from '../schedule/device-facts.ts';
import type { MatmulSchedule } from '../schedule/matmul-schedule.ts';
import { whyNotMatmul } from '../schedule/matmul-schedule.ts';
import type { Kernel } from './kernel.ts';
import { exchangeKernel } from './matmul-exchange.ts';
import { rowsKernel } from './matmul-rows.ts';
import { splitScratch, sumKernel } from './matmul-split.ts';
import { subgroupMatrixKernel } from './matmul-subgroup-matrix.ts';
import { tileKernel } from './matmul-tile.ts';
import type { KernelOptions } from './printer.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { checkSpec, shapeOf } from './weight-rows.ts';

export type { MatmulGroup, MatmulSpec, Patches } from './weight-rows.ts';
export { shapeOf } from './weight-rows.ts';

/** f32 elements that `spec.scratch` must have, 0 if the schedule shares no K among workgroups. */
export const matmulScratch = (spec: MatmulSpec, schedule: MatmulSchedule): number => (schedule.form === 'tile' ? splitScratch(spec, schedule) : 0);

/** The kernels of a product, in order: one, or two where K is shared. */
export function matmulKernels(spec: MatmulSpec, schedule: MatmulSchedule, options: KernelOptions): Kernel[] {
  checkSpec(spec);
  // The device's own limits were asked when the schedule was chosen; here only what would make the text wrong.
  const problem = whyNotMatmul(schedule, shapeOf(spec), boundless(options.features));
  if (problem) throw new RangeError(problem);
  switch (schedule.form) {
    case 'tile': return schedule.splits > 1 ? [tileKernel(spec, schedule, options), sumKernel(spec, schedule, options)] : [tileKernel(spec, schedule, options)];
    case 'rows': return [rowsKernel(spec, schedule, options)];
    case 'exchange': return [exchangeKernel(spec, schedule, options)];
    case 'subgroup-matrix': return [subgroupMatrixKernel(spec, schedule, options)];
    default: return schedule satisfies never;
  }
}
