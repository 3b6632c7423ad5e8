/**
 * Product with one row, for decode and for the last row of a prefill: out = epilogue(prologue(a) · Wᵀ). The forms
 * `workgroup` and `subgroup` are team.ts with one row. A router's product also chooses the largest of its scores (`choice`), where one
 * workgroup has them all.
 */
import { boundless } from '../schedule/device-facts.ts';
import type { MatvecSchedule } from '../schedule/matvec-schedule.ts';
import { whyNotMatvec } from '../schedule/matvec-schedule.ts';
import type { Kernel } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { teamKernel } from './team.ts';
import type { Choice } from './top-k.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { checkSpec, shapeOf } from './weight-rows.ts';

export function matvecKernel(spec: MatmulSpec, schedule: MatvecSchedule, options: KernelOptions, choice?: Choice): Kernel {
  checkSpec(spec);
  if (spec.rows.constant() !== 1) throw new RangeError(`matvec multiplies one row, not ${spec.rows}; use matmul.`);
  const problem = whyNotMatvec(schedule, shapeOf(spec), boundless(options.features));
  if (problem) throw new RangeError(problem);
  const { lanes, outputs, teams, sum } = schedule;
  return teamKernel('matvec', spec, { lanes, outputs, teams, sum, rows: 1, subgroup: schedule.form === 'subgroup', dot4: schedule.dot4 }, options, choice);
}
