/** The matmul form for few rows: blocks of rows that read every weight once (team.ts). */
import type { RowsSchedule } from '../schedule/matmul-rows.ts';
import type { Kernel } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { teamKernel } from './team.ts';
import type { MatmulSpec } from './weight-rows.ts';

export const rowsKernel = (spec: MatmulSpec, schedule: RowsSchedule, options: KernelOptions): Kernel => teamKernel('matmul', spec, { ...schedule, dot4: false }, options);
