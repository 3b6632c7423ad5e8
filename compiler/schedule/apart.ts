/**
 * How far two schedules of one family lie apart, in steps: a doubling of one number (a tile's rows, threads, lanes) is one, and
 * so is any other field that differs. Infinite between forms, which are different kernels.
 */
export function stepsApart(a: unknown, b: unknown): number {
  const form = (s: unknown): unknown => (s as { readonly form?: unknown } | null)?.form;
  return form(a) === form(b) ? fieldSteps(a, b) : Infinity;
}

function fieldSteps(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (typeof a === 'number' && typeof b === 'number' && a > 0 && b > 0) return Math.abs(Math.log2(a / b));
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return 1;
  const x = a as Record<string, unknown>, y = b as Record<string, unknown>;
  return [...new Set([...Object.keys(x), ...Object.keys(y)])].reduce((sum, k) => sum + fieldSteps(x[k], y[k]), 0);
}
