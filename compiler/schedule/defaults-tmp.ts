import type { MatmulSchedule, MatmulShape, MatvecSchedule, NormSchedule } from './matmul-schedule.ts';
import { whyNotMatmul, whyNotMatvec } from './matmul-schedule.ts';
export const defaultMatmulSchedule = (shape: MatmulShape, device: 'gpu' | 'software'): MatmulSchedule => {
  const wishes: MatmulSchedule[] = device === 'software'
    ? [{ family: 'matmul', threads: [8, 4], outputs: [4, 4], depth: 0, sum: 'dot' }, { family: 'matmul', threads: [8, 8], outputs: [4, 4], depth: 0, sum: 'dot' }]
    : [{ family: 'matmul', threads: [16, 16], outputs: [4, 4], depth: 16, sum: 'dot' }, { family: 'matmul', threads: [8, 8], outputs: [4, 4], depth: 16, sum: 'dot' }];
  return wishes.find((s) => !whyNotMatmul(s, shape)) ?? wishes[0]!;
};
export const defaultMatvecSchedule = (shape: MatmulShape, device: 'gpu' | 'software'): MatvecSchedule => {
  const wishes: MatvecSchedule[] = device === 'software' ? [{ family: 'matvec', lanes: 1, outputs: 4, teams: 8, sum: 'vec4' }] : [{ family: 'matvec', lanes: 32, outputs: 4, teams: 2, sum: 'vec4' }];
  return wishes.find((s) => !whyNotMatvec(s, shape)) ?? wishes[0]!;
};
export const defaultNormSchedule = (device: 'gpu' | 'software'): NormSchedule => (device === 'software' ? { family: 'norm', rows: 4, lanes: 1 } : { family: 'norm', rows: 1, lanes: 64 });
