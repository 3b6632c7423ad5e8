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
    if (device === 'software') for (const [lanes, teams] of [[1, 8], [1, 16], [1, 32], [4, 1], [4, 4], [8, 1], [8, 4], [8, 8]] as const) list.push(matvec(lanes, outputs, teams, sum));
    else for (const [lanes, teams] of [[32, 1], [32, 2], [32, 4], [64, 1], [64, 2], [64, 4], [128, 1]] as const) list.push(matvec(lanes, outputs, teams, sum));
  }
  return list.filter((s) => !whyNotMatvec(s, shape, limits));
}

/**
 * Defaults. Software: measured with bench/matmul.ts on lavapipe (Mesa 25.0.7, 8 lanes) and SwiftShader 5 (4 lanes), two
 * cores: staging in workgroup memory is 2 to 5 times slower there than reading operands directly, and takes seconds to
 * compile; larger register tiles than 8 × 4 spill. GPU: a 64 × 128 tile with a panel of 16 fits the smallest legal
 * workgroup memory together with a norm's statistics; nobody has measured it yet on real hardware.
 */
const matmulDefaults: Readonly<Record<DeviceClass, readonly MatmulSchedule[]>> = {
  software: [matmul([4, 8], [8, 4], 0, 'dot')],
  gpu: [matmul([16, 16], [8, 4], 16, 'dot'), matmul([8, 8], [8, 4], 16, 'dot')],
};
/** For products that have few rows whatever the prompt: less of a ragged tile is wasted. */
const matmulFewRows: Readonly<Record<DeviceClass, readonly MatmulSchedule[]>> = {
  software: matmulDefaults.software,
  gpu: [matmul([16, 8], [4, 2], 32, 'dot')],
};
const matvecDefaults: Readonly<Record<DeviceClass, readonly MatvecSchedule[]>> = {
  software: [matvec(1, 8, 16, 'dot')],
  gpu: [matvec(32, 4, 4, 'dot')],
};
/**
 * Whether a norm belongs into a matmul's load. Every column of tiles repeats it; where loads are what a product waits for,
 * this costs more (17 to 30 % of the product on SwiftShader) than a norm kernel of its own (2 %). With one row it always
 * does: matvec gets it for nothing.
 */
export const normInMatmul: Readonly<Record<DeviceClass, boolean>> = { gpu: true, software: false };

/** Norms that stand alone. On software adapters lanes only add barriers, unless there is one row. */
export const normDefault = (device: DeviceClass, { oneRow = false } = {}): NormSchedule =>
  (device === 'gpu' ? { family: 'norm', rows: 1, lanes: 64 } : oneRow ? { family: 'norm', rows: 1, lanes: 8 } : { family: 'norm', rows: 8, lanes: 1 });

/** More weight rows an invocation, so that whole outputs of interleaved linears (and pairs of columns) fit. */
const widen = (n: number, shape: MatmulShape): number => {
  let unit = shape.pairs ? 2 : 1;
  for (const l of new Set(shape.linears)) while (unit % l) unit += shape.pairs ? 2 : 1;
  return Math.ceil(n / unit) * unit;
};

/** A legal schedule for any product on a device of the class. `fewRows`: no more than some ten rows are expected. */
export function matmulDefault(shape: MatmulShape, device: DeviceClass, { fewRows = false, limits = defaultLimits }: { fewRows?: boolean; limits?: ScheduleLimits } = {}): MatmulSchedule {
  const table = fewRows ? matmulFewRows : matmulDefaults;
  // The direct form needs no workgroup memory to speak of: it is legal wherever 32 invocations are.
  const wishes = [...table[device], ...matmulDefaults.software].map((s) => ({ ...s, outputs: [widen(s.outputs[0], shape), s.outputs[1]] as const }));
  const legal = wishes.find((s) => !whyNotMatmul(s, shape, limits));
  if (!legal) throw new RangeError(`No schedule multiplies ${shape.linears.join(', ')} interleaved linears on this device: ${whyNotMatmul(wishes[0]!, shape, limits)}`);
  return legal;
}

/** The same for one row. */
export function matvecDefault(shape: MatmulShape, device: DeviceClass, limits: ScheduleLimits = defaultLimits): MatvecSchedule {
  const wishes = [...matvecDefaults[device], ...matvecDefaults.software].map((s) => ({ ...s, outputs: widen(s.outputs, shape) }));
  const legal = wishes.find((s) => !whyNotMatvec(s, shape, limits));
  if (!legal) throw new RangeError(`No schedule multiplies one row by ${shape.linears.join(', ')} interleaved linears on this device: ${whyNotMatvec(wishes[0]!, shape, limits)}`);
  return legal;
}
