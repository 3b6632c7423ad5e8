/**
 * The kernel families whose schedules are chosen. A choice is asked for by a family, the shape on which legality depends,
 * and the sizes that the work has in a usual prompt: kernels run for any number of rows, and one number has to be meant.
 */
import type { AttentionSchedule, AttentionShape } from './attention-schedule.ts';
import { attentionDefault, attentionSpace, whyNotAttention } from './attention-schedule.ts';
import type { DeviceFacts } from './device-facts.ts';
import { matmulDefault, matmulSpace } from './matmul-defaults.ts';
import type { MatmulSchedule } from './matmul-schedule.ts';
import { whyNotMatmul } from './matmul-schedule.ts';
import type { MatvecSchedule } from './matvec-schedule.ts';
import { matvecDefault, matvecSpace, whyNotMatvec } from './matvec-schedule.ts';
import type { NormSchedule, NormShape } from './norm-schedule.ts';
import { normDefault, normSpace, whyNotNorm } from './norm-schedule.ts';
import type { MatmulShape } from './product-shape.ts';
import { commonLinears } from './product-shape.ts';
import { printWeightFormat } from '../ir/weight-format.ts';

/** What each family is asked with, and answers. */
export interface FamilyTypes {
  matmul: { shape: MatmulShape; schedule: MatmulSchedule };
  matvec: { shape: MatmulShape; schedule: MatvecSchedule };
  attention: { shape: AttentionShape; schedule: AttentionSchedule };
  norm: { shape: NormShape; schedule: NormSchedule };
}
export type FamilyName = keyof FamilyTypes;
export type Shape<F extends FamilyName> = FamilyTypes[F]['shape'];
export type Schedule<F extends FamilyName = FamilyName> = FamilyTypes[F]['schedule'];
export const familyNames = ['matmul', 'matvec', 'attention', 'norm'] as const satisfies readonly FamilyName[];

/** Sizes by name, all at least 1: `rows`, `K`, `keys`, … */
export type Sizes = Readonly<Record<string, number>>;

/** A choice that is asked for. Of two with one family and form, schedules of the one may fit the other. */
export interface Wanted<F extends FamilyName = FamilyName> {
  readonly family: F;
  readonly shape: Shape<F>;
  /** What must be alike for measurements to say anything about each other, as text: storages, interleaving, kind of mask. */
  readonly form: string;
  /** How large the work is in a usual prompt. */
  readonly sizes: Sizes;
}

/** At most so many rows are few: tiles of many rows would be mostly padding. */
export const fewRows = 16;

interface Family<F extends FamilyName> {
  /** Every schedule worth a try on a device, legal for the shape. */
  space(shape: Shape<F>, facts: DeviceFacts): readonly Schedule<F>[];
  /** Why a schedule cannot be used, as a sentence; undefined if it can. */
  whyNot(schedule: Schedule<F>, shape: Shape<F>, facts: DeviceFacts): string | undefined;
  /** What is taken where nobody has measured: legal on the device, decent on its class. */
  usual(wanted: Pick<Wanted<F>, 'shape' | 'sizes'>, facts: DeviceFacts): Schedule<F>;
}
export const kernelFamilies: { readonly [F in FamilyName]: Family<F> } = {
  matmul: { space: matmulSpace, whyNot: whyNotMatmul, usual: ({ shape, sizes }, facts) => matmulDefault(shape, facts, { fewRows: sizes['rows']! <= fewRows }) },
  matvec: { space: matvecSpace, whyNot: whyNotMatvec, usual: ({ shape }, facts) => matvecDefault(shape, facts) },
  attention: { space: attentionSpace, whyNot: whyNotAttention, usual: ({ shape }, facts) => attentionDefault(shape, facts) },
  norm: { space: normSpace, whyNot: whyNotNorm, usual: ({ shape }, facts) => normDefault(shape, facts) },
};

const atLeastOne = (sizes: Sizes): Sizes => Object.fromEntries(Object.entries(sizes).map(([name, n]) => [name, Math.max(1, n)]));
const words = (...list: readonly (string | false | undefined)[]): string => list.filter((w): w is string => !!w).join(' ');

/** A product over `rows` rows in a usual prompt. One row, whatever the prompt, is matvec's. */
export function wantedProduct(shape: MatmulShape, rows: number): Wanted<'matmul'> | Wanted<'matvec'> {
  const weight = typeof shape.weight === 'string' ? shape.weight : printWeightFormat(shape.weight), linears = commonLinears(shape);
  const form = words(`weights ${weight}`, shape.a !== 'f32' && `rows ${shape.a}`, linears > 1 && `${linears} interleaved`, shape.pairs && 'pairs', shape.normed && 'normed', shape.patches && 'patches', shape.arithmetic !== 'f32' && `arithmetic ${shape.arithmetic}`);
  const sizes = atLeastOne({ rows, K: shape.K, columns: shape.weightRows });
  return shape.rows === 1 ? { family: 'matvec', shape, form, sizes } : { family: 'matmul', shape, form, sizes };
}

/** An attention of `queries` rows over `keys` rows in a usual prompt. */
export function wantedAttention(shape: AttentionShape, queries: number, keys: number, storage: string): Wanted<'attention'> {
  const form = words(`keys ${storage}`, shape.vector < 4 && `vectors of ${shape.vector}`, shape.queryRows !== undefined && shape.queryRows <= 2 ? 'one row' : shape.fewQueries && 'few queries', shape.masked && 'masked');
  return { family: 'attention', shape, form, sizes: atLeastOne({ queries, keys, heads: shape.heads, 'KV heads': shape.kvHeads, head: shape.headDim, values: shape.valueDim }) };
}

/** A norm over `rows` rows in a usual prompt. */
export const wantedNorm = (shape: NormShape, rows: number): Wanted<'norm'> =>
  ({ family: 'norm', shape, form: shape.rows === 1 ? 'one row' : 'rows', sizes: atLeastOne({ rows, width: shape.width }) });

/** One text for what is wanted: equal texts are equal work. */
export const wantedText = ({ family, form, sizes }: { readonly family: string; readonly form: string; readonly sizes: Sizes }): string =>
  `${family} ${Object.entries(sizes).map(([name, n]) => `${name} ${n}`).join(', ')}; ${form}`;

/**
 * How far two sizes of the same names lie apart, in doublings: √Σ log₂²(a/b). 0 is equal, 1 as far as twice one size.
 * Infinite where names differ.
 */
export function distanceOf(a: Sizes, b: Sizes): number {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length || names.some((n) => !(b[n]! >= 1))) return Infinity;
  return Math.sqrt(names.reduce((sum, n) => sum + Math.log2(a[n]! / b[n]!) ** 2, 0));
}

/** A schedule as one text, whatever the order of its fields. */
export function scheduleText(s: unknown): string {
  if (Array.isArray(s)) return `[${s.map(scheduleText).join()}]`;
  if (typeof s !== 'object' || s === null) return JSON.stringify(s);
  return `{${Object.entries(s).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => `${k}:${scheduleText(v)}`).join()}}`;
}
