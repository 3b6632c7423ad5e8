/** What the commands share: numbers and tables for people, JSON for programs. */
import { InvalidArgumentError } from 'commander';
import Table from 'cli-table3';

/** JSON with a last newline; integers beyond 2⁵³ stay exact as bare digits. */
export function exactJson(value: unknown): string {
  const marked = JSON.stringify(value, (_k, v: unknown) => (typeof v === 'bigint' ? `\u0000${v}\u0000` : v), 2);
  return marked.replace(/"\\u0000(-?\d+)\\u0000"/g, '$1') + '\n';
}
/** `exactJson` on standard output. */
export const printJson = (value: unknown): void => { process.stdout.write(exactJson(value)); };

/** A table without vertical lines; the first column reads left, numbers read right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const blank = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' };
  const t = new Table({ head: [...head], chars: blank, style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 }, colAligns: head.map((_h, i) => (i === 0 ? 'left' : 'right')) });
  t.push(...rows.map((r) => [...r]));
  return t.toString().split('\n').map((l) => l.trimEnd()).join('\n');
}

/** 58203517747200 → `58.2 T`; three digits that matter. */
export function si(x: number | bigint, unit = ''): string {
  const n = Number(x), steps: [number, string][] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
  const [by, prefix] = steps.find(([s]) => Math.abs(n) >= s) ?? [1, ''];
  const v = n / by;
  const text = by === 1 && Number.isInteger(v) ? String(v) : v.toPrecision(3).includes('e') ? v.toFixed(0) : v.toPrecision(3);
  return `${text}${prefix || unit ? ' ' : ''}${prefix}${unit}`;
}
export const percent = (part: number | bigint, whole: number | bigint): string => (Number(whole) === 0 ? '–' : `${((100 * Number(part)) / Number(whole)).toFixed(1)} %`);
export const milliseconds = (ms: number): string => (ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 100 ? `${ms.toFixed(0)} ms` : `${ms.toPrecision(3)} ms`);

/** Parses a count from the command line; `least` is the smallest that makes sense. */
export const counting = (what: string, least = 0) => (text: string): number => {
  const n = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(n) || n < least || n > 1e9) throw new InvalidArgumentError(`${what} must be a whole number from ${least} to 1,000,000,000, not '${text}'.`);
  return n;
};
/** Parses a number of bytes from the command line: 4096, 512MB, 1.5GiB. */
export const byteCount = (what: string) => (text: string): number => {
  const [, digits, prefix, binary] = /^(\d+(?:\.\d+)?) ?(?:(?:([kMG])(i?))?B)?$/i.exec(text) ?? [], n = Number(digits) * (binary ? 1024 : 1000) ** ('kmg'.indexOf((prefix ?? '').toLowerCase() || 'b') + 1);
  if (digits === undefined || !Number.isInteger(n) || n < 1 || !Number.isSafeInteger(n)) throw new InvalidArgumentError(`${what} must be a number of bytes, as in 134217728, 128MiB or 1GB, not '${text}'.`);
  return n;
};
export const number = (what: string, low: number, high: number) => (text: string): number => {
  const n = Number(text);
  if (text.trim() === '' || !(n >= low && n <= high)) throw new InvalidArgumentError(`${what} must be a number from ${low} to ${high}, not '${text}'.`);
  return n;
};
/** For options that may be given several times. */
export const collect = (value: string, previous: string[] = []): string[] => [...previous, value];
/** How a model's matrices are stored: `f16`, or `int4:group=32 and f16`; and its keys and values: `f16, KV int8`. */
export const precisionOf = ({ dtype, quantised, kv }: { readonly dtype: string; readonly quantised?: string | undefined; readonly kv?: string | undefined }): string =>
  `${quantised === undefined ? dtype : `${quantised} and ${dtype}`}${kv === undefined || kv === 'f32' ? '' : `, KV ${kv}`}`;
