/** Schedules of products with one row: which there are, which are legal, and what to take where nobody has measured. */
import type { DeviceClass, DeviceFacts } from './device-facts.ts';
import type { MatmulShape } from './product-shape.ts';
import { isPower, notWhole, widened } from './product-shape.ts';

/**
 * `lanes` invocations walk along K together for `outputs` weight rows; a workgroup has `teams` such teams. With one lane
 * there is neither reduction nor barrier. Else the lanes' sums meet in workgroup memory, or in the subgroup first (form
 * `subgroup`), which is right for any size of subgroup.
 */
export interface MatvecSchedule {
  readonly family: 'matvec';
  readonly form: 'workgroup' | 'subgroup';
  readonly lanes: number;
  readonly outputs: number;
  readonly teams: number;
  readonly sum: 'dot' | 'vec4';
  /** Activations are rounded to int8 and multiplied by `dot4I8Packed`: not exact, so only where the product allows int8 arithmetic. */
  readonly dot4: boolean;
}

/** The same for a block of several rows: what teams of lanes do, in either family. */
export interface TeamSchedule {
  readonly lanes: number;
  readonly outputs: number;
  readonly teams: number;
  readonly sum: 'dot' | 'vec4';
  readonly rows: number;
  /** Lanes' sums meet in the subgroup first. */
  readonly subgroup: boolean;
  readonly dot4: boolean;
}

/** Activations that share a scale where they are rounded to int8. */
export const activationBlock = 32;

/**
 * Partial sums of every lane are added in two stages when there are many lanes: first in runs of this many, by all
 * invocations, then the rest by the invocation that finishes the output.
 */
export const matvecRun = (lanes: number): number => (lanes >= 16 ? 8 : 1);

/** Bytes of workgroup memory: partial sums, one more a row for a norm, and the statistics of a layer norm. */
export function teamBytes({ lanes, outputs, teams, rows, subgroup, dot4 }: TeamSchedule, normed: boolean, K: number): number {
  const rounded = dot4 ? Math.ceil(K / activationBlock) * (activationBlock + 4) : 0;
  const statistics = rounded + (normed ? 8 * rows + 4 * Math.max(rows, lanes * teams) * (dot4 ? 2 : 1) : 0);
  if (lanes === 1) return statistics;
  const sums = teams * rows * (outputs + (normed ? 1 : 0)), run = matvecRun(lanes);
  return statistics + 4 * sums * (subgroup ? Math.max(1, lanes / 4) : lanes + (run > 1 ? lanes / run : 0));
}

/** Why teams cannot work so, as a sentence; undefined if they can. */
export function whyNotTeam(s: TeamSchedule, shape: MatmulShape, { limits, features }: DeviceFacts): string | undefined {
  const invocations = s.lanes * s.teams;
  if (![s.lanes, s.teams].every(isPower)) return `Lanes and teams must be powers of two, not ${s.lanes} and ${s.teams}.`;
  if (invocations > limits.maxComputeInvocationsPerWorkgroup || invocations > limits.maxComputeWorkgroupSizeX)
    return `A workgroup of ${invocations} invocations is more than the device allows (${limits.maxComputeInvocationsPerWorkgroup}).`;
  if (s.subgroup && !features.has('subgroups')) return 'Sums that meet in subgroups need the feature subgroups, which the device lacks.';
  if (s.subgroup && s.lanes === 1) return 'One lane has nobody to meet in a subgroup.';
  if (shape.normed && (s.rows > invocations ? s.rows % invocations : invocations % s.rows)) return `${invocations} invocations do not share the statistics of ${s.rows} rows evenly.`;
  if (s.dot4) {
    if (typeof shape.weight === 'string') return `Weights in ${shape.weight} are no whole numbers to multiply activations of int8 with.`;
    if (shape.arithmetic !== 'int8') return 'Activations of int8 would change the results of a product that does not allow int8 arithmetic.';
    if (s.lanes === 1 || s.sum !== 'dot') return 'Activations of int8 are shared by teams of several lanes, and summed as dot.';
  }
  const parted = notWhole(s.outputs, 'a team', shape);
  if (parted) return parted;
  const bytes = teamBytes(s, shape.normed ?? false, shape.K);
  if (bytes > limits.maxComputeWorkgroupStorageSize) return `It takes ${bytes} bytes of workgroup memory; the device has ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}

/** Why a matvec schedule cannot be used, as a sentence; undefined if it can. */
export const whyNotMatvec = (s: MatvecSchedule, shape: MatmulShape, facts: DeviceFacts): string | undefined => whyNotTeam({ ...s, rows: 1, subgroup: s.form === 'subgroup' }, shape, facts);

const matvec = (lanes: number, outputs: number, teams: number, sum: MatvecSchedule['sum'] = 'dot', form: MatvecSchedule['form'] = 'workgroup', dot4 = false): MatvecSchedule => ({ family: 'matvec', form, lanes, outputs, teams, sum, dot4 });

/** All matvec schedules worth a try on a device, legal for the shape. */
export function matvecSpace(shape: MatmulShape, facts: DeviceFacts): MatvecSchedule[] {
  const teams = facts.class === 'software' ? [[1, 8], [1, 16], [1, 32], [4, 1], [4, 4], [8, 1], [8, 4], [8, 8]] as const : [[16, 4], [32, 1], [32, 2], [32, 4], [32, 8], [64, 1], [64, 2], [64, 4], [128, 1], [128, 2], [256, 1]] as const;
  const list = [1, 2, 4, 8].flatMap((outputs) => (['workgroup', 'subgroup'] as const).flatMap((form) => ([['dot', false], ['vec4', false], ['dot', true]] as const).flatMap(([sum, dot4]) => teams.map(([lanes, n]) => matvec(lanes, outputs, n, sum, form, dot4)))));
  return list.filter((s) => !whyNotMatvec(s, shape, facts));
}

/** Software: measured with bench/matmul.ts on lavapipe (Mesa 25.0.7, 8 lanes) and SwiftShader 5 (4 lanes), two cores. */
const defaults: Readonly<Record<DeviceClass, readonly MatvecSchedule[]>> = {
  software: [matvec(1, 8, 16)],
  // Whole numbers first: they are legal only where somebody allowed them.
  gpu: [matvec(32, 4, 4, 'dot', 'subgroup', true), matvec(32, 4, 4, 'dot', 'workgroup', true), matvec(32, 4, 4, 'dot', 'subgroup'), matvec(32, 4, 4)],
};

/** A legal schedule for any product with one row. */
export function matvecDefault(shape: MatmulShape, facts: DeviceFacts): MatvecSchedule {
  const wishes = [...defaults[facts.class], ...defaults.software].map((s) => ({ ...s, outputs: widened(s.outputs, shape) }));
  const legal = wishes.find((s) => !whyNotMatvec(s, shape, facts));
  if (!legal) throw new RangeError(`No schedule multiplies one row by ${shape.linears.join(', ')} interleaved linears on this device: ${whyNotMatvec(wishes[0]!, shape, facts)}`);
  return legal;
}

/** Beyond so many weight rows a team, a product in one workgroup takes longer than it saves. */
const mostOutputs = 8;

/**
 * The schedule with all weight rows in one workgroup: with more teams, then with more weight rows a team; undefined where they are
 * too many. Who follows the product in its own kernel, such as a choice among its results, needs them there.
 */
export function inOneWorkgroup(s: MatvecSchedule, shape: MatmulShape, facts: DeviceFacts): MatvecSchedule | undefined {
  if (s.teams * s.outputs >= shape.weightRows) return s;
  const wider = [{ ...s, teams: s.teams * 2 }, ...(s.outputs * 2 <= mostOutputs ? [{ ...s, outputs: s.outputs * 2 }] : [])].find((w) => !whyNotMatvec(w, shape, facts));
  return wider && inOneWorkgroup(wider, shape, facts);
}
