/** Numbers and text as the report writes them. */

/** Between a number and its unit no line is broken. */
const gap = '\u00a0';

const steps: readonly (readonly [by: number, prefix: string])[] = [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']];

/** The unit that suits the largest number of an axis or a table: `{ by: 1e12, name: 'TFLOP' }`. */
export interface Unit { readonly by: number; readonly name: string }
export function unitFor(largest: number | bigint, name: string): Unit {
  const n = Math.abs(Number(largest)), [by, prefix] = steps.find(([s]) => n >= s) ?? [1, ''];
  return { by, name: `${prefix}${name}` };
}

/** Three digits that matter: `7.74 TFLOP`. */
export function amount(x: number | bigint, name: string): string {
  const { by, name: unit } = unitFor(x, name);
  return `${digits(Number(x) / by)}${gap}${unit}`;
}
export const digits = (v: number): string => {
  if (v === 0 || (Number.isInteger(v) && Math.abs(v) < 1000)) return String(v);
  const text = Math.abs(v) >= 1000 ? Math.round(v).toLocaleString('en') : v.toPrecision(3);
  return text.includes('e') ? String(Number(text)) : text;
};
/** A number on an axis: `2.5`, `1,000`. */
export const tick = (v: number): string => Number(v.toPrecision(6)).toLocaleString('en', { maximumFractionDigits: 6 });
/** Every digit: `7,741,057,097,728`. */
export const exact = (x: number | bigint): string => x.toLocaleString('en');
export const percent = (part: number | bigint, whole: number | bigint): string => (Number(whole) === 0 ? '–' : `${((100 * Number(part)) / Number(whole)).toFixed(1)}${gap}%`);
/** What is less, or more, than the whole: `−13.4 %`, `±0 %`. */
export function change(part: number | bigint, whole: number | bigint): string {
  if (Number(whole) === 0) return '–';
  const x = 100 * (Number(part) / Number(whole) - 1), text = Math.abs(x).toFixed(1);
  return text === '0.0' ? `±0${gap}%` : `${x < 0 ? '−' : '+'}${text}${gap}%`;
}
export const plural = (n: number | bigint, noun: string): string => `${exact(n)}${gap}${noun}${Number(n) === 1 ? '' : 's'}`;
/** `a, b and c`. */
export const listed = (xs: readonly string[]): string => (xs.length < 2 ? xs.join('') : `${xs.slice(0, -1).join(', ')} and ${xs.at(-1)!}`);
/** `0–15, 31`. */
export function ranges(numbers: readonly number[]): string {
  const out: [number, number][] = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const last = out.at(-1);
    if (last && n === last[1] + 1) last[1] = n; else out.push([n, n]);
  }
  return out.map(([a, b]) => (a === b ? String(a) : `${a}–${b}`)).join(', ');
}

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
/** Markup with its values escaped; what is markup already is passed through `raw`, lists are joined. */
export class Markup { constructor(readonly text: string) {} }
export const raw = (text: string): Markup => new Markup(text);
type Value = Markup | string | number | undefined | false | readonly Value[];
const textOf = (v: Value): string => (v instanceof Markup ? v.text : Array.isArray(v) ? v.map(textOf).join('') : v === undefined || v === false ? '' : escapeHtml(String(v)));
export const html = (strings: TemplateStringsArray, ...values: readonly Value[]): Markup => raw(String.raw({ raw: strings.raw }, ...values.map(textOf)));
