/** Numbers for people: three digits that matter. */
const steps = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const;

/** 58203517747200 → `58.2 T`. */
export function si(x: number): string {
  const [by, prefix] = steps.find(([s]) => Math.abs(x) >= s) ?? [1, ''];
  if (by === 1) return Number.isInteger(x) ? String(x) : x.toPrecision(3);
  const v = x / by;
  return `${v >= 100 ? v.toFixed(0) : v.toPrecision(3)} ${prefix}`;
}
export const ms = (x: number): string => (x >= 10_000 ? `${(x / 1000).toFixed(1)} s` : x >= 100 ? `${x.toFixed(0)} ms` : `${x.toPrecision(2)} ms`);
export const count = (x: number): string => x.toLocaleString('en');
/** How much smaller `after` is than `before`: `-23 %`, `+4 %`, `same`. */
export function change(before: number, after: number): string {
  if (before === after) return 'same';
  if (before === 0) return '';
  const percent = (after / before - 1) * 100;
  const text = Math.abs(percent) < 10 ? Math.abs(percent).toFixed(1) : Math.abs(percent).toFixed(0);
  return `${percent < 0 ? '−' : '+'}${text} %`;
}
export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;
