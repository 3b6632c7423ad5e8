/** The results of a sweep as CSV, a row for every size and variant, and as JSON, in the shape that `flops --json` has for one size. */
import { stringify } from 'csv-stringify/sync';
import type { Cost } from '../../cost/formula.ts';
import { isSizeName } from './over.ts';
import type { Swept } from './over.ts';
import type { Point } from './points.ts';

/** Of which sweep the points are. */
export interface SweepHead { readonly model: string; readonly convention: string; readonly over: readonly Swept[]; /** Name of the device whose time is told. */ readonly device?: string }

const counts: readonly (readonly [column: string, of: (c: Cost<bigint>) => bigint])[] = [
  ['vision', (c) => c.parts.vision], ['projector', (c) => c.parts.projector], ['decoder', (c) => c.parts.decoder],
  ['decoder_visual', (c) => c.decoder.visual], ['decoder_text', (c) => c.decoder.text], ['decoder_scores', (c) => c.decoder.scores],
  ['head', (c) => c.parts.head], ['total', (c) => c.total],
];

/** Percent of the baseline's total, with four digits after the point. */
const percentOf = (total: bigint, base: bigint): string => (base === 0n ? '' : (Number((total * 100_000_000n) / base) / 1e6).toFixed(4));

/** Swept names that are no column of every row already. */
const ownColumns = (over: readonly Swept[]): string[] => over.map((o) => o.name).filter((n) => !['visual', 'text'].includes(n));

export function csvOf({ model, convention, over, device }: SweepHead, points: readonly Point[]): string {
  const own = ownColumns(over), columns = ['model', 'convention', ...own, 'visual', 'text', 'images', 'tiles', 'variant', ...counts.map(([c]) => c), 'percent_of_baseline', ...(device === undefined ? [] : ['device', 'seconds_at_best'])];
  return stringify(points.flatMap((p) => p.variants.map(({ name, cost, seconds }) => [
    model, convention, ...own.map((n) => p.at[n]!), p.visual, p.text, p.images, p.tiles, name, ...counts.map(([, of]) => of(cost)), percentOf(cost.total, p.variants[0]!.cost.total), ...(device === undefined ? [] : [device, seconds]),
  ])), { header: true, columns });
}

export const jsonOf = ({ model, convention, over, device }: SweepHead, points: readonly Point[]): unknown => ({
  model, convention, ...(device === undefined ? {} : { device }), over: Object.fromEntries(over.map(({ name, values }) => [name, values.map((v) => valueOf(name, v))])),
  points: points.map(({ at, variants, ...sizes }) => ({
    ...Object.fromEntries(Object.entries(at).map(([name, v]) => [name, valueOf(name, v)])), ...sizes,
    variants: variants.map(({ name, cost, seconds }) => ({ name, parts: cost.parts, decoder: cost.decoder, total: cost.total, percent: variants[0]!.cost.total === 0n ? null : Number(percentOf(cost.total, variants[0]!.cost.total)), ...(seconds === undefined ? {} : { seconds }) })),
  })),
});
/** Pictures keep their way of writing: `980x672`. */
const valueOf = (name: string, v: string): string | number => (name === 'image' || (!isSizeName(name) && Number.isNaN(Number(v))) ? v : Number(v));
