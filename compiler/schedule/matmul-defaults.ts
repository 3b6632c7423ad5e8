/** Spaces of schedules that a tuner may search, and what is taken where nobody has measured. */
import type { MatmulSchedule, MatmulShape, MatvecSchedule, NormSchedule, ScheduleLimits } from './matmul-schedule.ts';
import { defaultLimits, whyNotMatmul, whyNotMatvec } from './matmul-schedule.ts';

/** `software` are adapters that run on the CPU: lavapipe, SwiftShader. */
export type DeviceClass = 'gpu' | 'software';

const matmul = (threads: MatmulSchedule['threads'], outputs: MatmulSchedule['outputs'], depth: number, sum: MatmulSchedule['sum']): MatmulSchedule => ({ family: 'matmul', threads, outputs, depth, sum });
const matvec = (lanes: number, outputs: number, teams: number, sum: MatvecSchedule['sum']): MatvecSchedule => ({ family: 'matvec', lanes, outputs, teams, sum });

/** All matmul schedules worth a try on a device, legal for the shape. */
export function matmulSpace(shape: MatmulShape, device: DeviceClass, limits: ScheduleLimits = defaultLimits): MatmulSchedule[] {
  const list: MatmulSchedule[] = [];
  const outputs = device === 'gpu' ? [[4, 4], [4, 8], [8, 4], [8, 8]] as const : [[4, 2], [4, 4], [4, 8], [8, 4], [2, 8], [8, 2]] as const;
  const threads = device === 'gpu' ? [[16, 16], [16, 8], [8, 16], [8, 8], [16, 4], [8, 4]] as const : [[8, 1], [8, 4], [4, 8], [16, 4], [4, 4]] as const;
  for (const o of outputs) for (const t of threads) for (const depth of device === 'gpu' ? [0, 8, 16, 32] : [0]) for (const sum of device === 'gpu' ? ['dot'] as const : ['dot', 'vec4'] as const) list.push(matmul(t, o, depth, sum));
  return list.filter((s) => !whyNotMatmul(s, shape, limits));
}

/** All matvec schedules worth a try on a device, legal for the shape. */
export function matvecSpace(shape: MatmulShape, device: DeviceClass, limits: ScheduleLimits = defaultLimits): MatvecSchedule[] {
  const list: MatvecSchedule[] = [];
  for (const outputs of [1, 2, 4, 8]) for (const sum of ['dot', 'vec4'] as const) {
    if (device === 'software') for (const [lanes, teams] of [[1, 8], [1, 16], [1, 32], [8, 1], [8, 4]] as const) list.push(matvec(lanes, outputs, teams, sum));
    else for (const [lanes, teams] of [[32, 1], [32, 2], [32, 4], [64, 1], [64, 2], [64, 4], [128, 1]] as const) list.push(matvec(lanes, outputs, teams, sum));
  }
  return list.filter((s) => !whyNotMatvec(s, shape, limits));
}
