/** Linear forms over named integer unknowns: `2·q.pos - k.pos + 3`. Intervals and proofs both stand on them. */
import type { Constant, MaskExpr } from './expr.ts';

export interface Linear {
  readonly constant: number;
  /** Coefficients other than 0, by the name of the unknown. */
  readonly terms: ReadonlyMap<string, number>;
}

/** A sum whose coefficients left the exact range of numbers. Nothing can be said about it, so nothing is. */
export class TooLarge extends Error {}
const exact = (n: number): number => {
  if (!Number.isSafeInteger(n)) throw new TooLarge(`The coefficient ${n} cannot be computed exactly.`);
  return n;
};

export const constantForm = (constant: number): Linear => ({ constant, terms: new Map() });
export const unknown = (name: string): Linear => ({ constant: 0, terms: new Map([[name, 1]]) });

/** `x·a + y·b`. */
export const combine = (x: number, a: Linear, y: number, b: Linear): Linear => {
  const terms = new Map<string, number>();
  for (const [name, n] of a.terms) terms.set(name, exact(x * n));
  for (const [name, n] of b.terms) terms.set(name, exact((terms.get(name) ?? 0) + y * n));
  for (const [name, n] of terms) if (n === 0) terms.delete(name);
  return { constant: exact(x * a.constant + y * b.constant), terms };
};
export const sum = (a: Linear, b: Linear): Linear => combine(1, a, 1, b);
export const difference = (a: Linear, b: Linear): Linear => combine(1, a, -1, b);
export const scale = (x: number, a: Linear): Linear => combine(x, a, 0, a);

/** A name by which equal forms are recognised. */
export const formKey = (a: Linear): string => [...[...a.terms].sort(([x], [y]) => (x < y ? -1 : 1)).map(([name, n]) => `${n}*${name}`), a.constant].join('+');

/** The number of an integer constant, or that of a kind. */
export const numberOf = (c: Constant): number => c.ordinal ?? (c.value as number);

/** The linear form of an integer expression; `atom` gives the form of whatever is not a sum or a multiple. */
export const linearise = (e: MaskExpr, atom: (e: MaskExpr) => Linear): Linear => {
  const of = (x: MaskExpr): Linear => linearise(x, atom);
  if (e.is === 'constant') return constantForm(numberOf(e));
  if (e.is === 'operation') {
    const [a, b] = e.args as [MaskExpr, MaskExpr];
    if (e.op === 'neg') return scale(-1, of(a));
    if (e.op === 'add') return sum(of(a), of(b));
    if (e.op === 'sub') return difference(of(a), of(b));
    if (e.op === 'mul' && a.is === 'constant') return scale(a.value as number, of(b));
    if (e.op === 'mul' && b.is === 'constant') return scale(b.value as number, of(a));
  }
  return atom(e);
};
