/**
 * What `--over` says: a name and the values that it takes, `visual=64..4900:64`, `text=0,64,128`, `image=336,980x672`.
 *
 * Ranges hold both ends if the step reaches the last. Decimals are counted in whole steps of their last digit, so that
 * `0.1..0.9:0.1` has nine values and none is 0.30000000000000004.
 */
import { UserError } from '../../ir/errors.ts';
import { suggest } from '../../ir/spelling.ts';

/** Sizes of a prompt and its pictures; every other name is an option of the variants that are compared. */
export const sizeNames = ['visual', 'text', 'pictures', 'image', 'resolution'] as const;
export type SizeName = (typeof sizeNames)[number];
export const isSizeName = (name: string): name is SizeName => (sizeNames as readonly string[]).includes(name);

/** A name that is swept. Values are kept as they are written: `980x672`, `0.5`. */
export interface Swept { readonly name: string; readonly values: readonly string[] }

/** The most values of one name. */
export const mostValues = 10_000;
const largest = 1_000_000_000;

/** Reads one `--over`. `options` are the options that some variant of the comparison leaves open. Throws a UserError. */
export function readOver(text: string, options: Iterable<string>): Swept {
  const [, name, list] = /^\s*([\w-]+)\s*=(.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new UserError(`--over ${text} is not understood; it is written NAME=VALUES, for example --over visual=64..4900:64 or --over text=16,64,256.`);
  const known = [...sizeNames, ...options];
  if (!known.includes(name)) throw new UserError(`--over ${name}=… is neither a size nor an option that a variant of --compare leaves open.${suggest(name, known, 'Here can be swept')}`);
  const values = [...new Set(list!.split(',').flatMap((item) => valuesOf(item.trim(), name)))];
  if (values.length > mostValues) throw tooMany(name, values.length);
  return { name, values };
}

const tooMany = (name: string, n: number): UserError => new UserError(`--over ${name}=… gives ${n.toLocaleString('en')} values; at most ${mostValues.toLocaleString('en')} are swept. Take a larger step.`);

const startsAtZero: ReadonlySet<string> = new Set(['visual', 'text', 'layers']);
/** `64`, `64..1024`, `64..1024:64`. */
const range = /^(-?\d+(?:\.\d+)?)(?:\s*\.\.\s*(-?\d+(?:\.\d+)?)(?:\s*:\s*(-?\d+(?:\.\d+)?))?)?$/;

function valuesOf(item: string, name: string): string[] {
  const wrong = (why: string): UserError => new UserError(`'${item}' in --over ${name}=… ${why}`);
  const example = name === 'image' ? `${name}=336,672,980x672` : name === 'ratio' ? `${name}=0.1..0.9:0.1` : `${name}=64,128 or ${name}=64..1024:64`;
  if (item === '') throw new UserError(`--over ${name}=… has an empty value. Values are written like ${example}.`);
  if (name === 'image' && /^\d+x\d+$/i.test(item)) {
    const [width, height] = item.toLowerCase().split('x') as [string, string];
    return [width === height ? String(whole(width, 1, wrong)) : `${whole(width, 1, wrong)}x${whole(height, 1, wrong)}`];
  }
  const found = range.exec(item);
  if (!found) throw wrong(`is no value and no range. Values are written like ${example}.`);
  const first = found[1]!, last = found[2] ?? first, step = found[3] ?? '1';
  const places = Math.max(...[first, last, step].map((x) => (x.split('.')[1] ?? '').length));
  const [from, to, by] = [first, last, step].map((x) => scaled(x, places, wrong)) as [number, number, number];
  if (from < 0 || to < 0) throw wrong('is negative; sizes are counted from 0.');
  if (by <= 0) throw wrong(`has the step ${step}; a step is larger than 0.`);
  if (to < from) throw wrong(`ends before it begins. Write the smaller value first: ${last}..${first}.`);
  if (name === 'ratio' && to > 10 ** places) throw wrong('is no share; a ratio goes from 0 to 1.');
  if (isSizeName(name) || name === 'layers') for (const x of [first, last, step]) whole(x, startsAtZero.has(name) ? 0 : 1, wrong);
  const count = Math.floor((to - from) / by) + 1;
  if (count > mostValues) throw tooMany(name, count);
  return Array.from({ length: count }, (_, i) => written(from + i * by, places));
}

function whole(text: string, least: number, wrong: (why: string) => UserError): number {
  if (!/^\d+$/.test(text)) throw wrong('is no whole number.');
  const n = Number(text);
  if (n < least || n > largest) throw wrong(`lies outside ${least} to ${largest.toLocaleString('en')}.`);
  return n;
}

/** A decimal in units of its last place. */
function scaled(text: string, places: number, wrong: (why: string) => UserError): number {
  if (places > 6) throw wrong('has more than six digits after the point.');
  const [digits, fraction = ''] = text.split('.') as [string, string?];
  const n = Number(digits + fraction.padEnd(places, '0'));
  if (!(Math.abs(n) <= largest * 10 ** places)) throw wrong(`is larger than ${largest.toLocaleString('en')}.`);
  return n;
}
const written = (n: number, places: number): string => {
  const digits = String(n).padStart(places + 1, '0');
  return places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/\.?0+$/, '');
};
