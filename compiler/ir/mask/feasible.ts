/**
 * Can a system of linear inequalities over the integers be satisfied? Decided by Fourier-Motzkin elimination with
 * integer tightening (the "real shadow" of Pugh's Omega test, 1991): to remove an unknown, add every lower bound of it
 * to every upper bound, until only constants are left. On difference constraints, `x - y <= c`, this is exactly the
 * search for a negative cycle; beyond them it also handles `4·d <= x <= 4·d + 3`, which is what division means.
 *
 * `false` is a proof. `true` means that no contradiction was found: there may still be no integer solution (a rational
 * one exists), or the system grew over the limit.
 */
import type { Linear } from './linear.ts';
import { combine, formKey, TooLarge } from './linear.ts';

/** Inequalities that may arise on the way before elimination gives up; real masks need some twenty. */
const maxInequalities = 400;

const gcd = (a: number, b: number): number => { while (b) [a, b] = [b, a % b]; return a; };

/** `form <= 0`, divided by what its coefficients have in common; integers let the constant round towards the bound. */
const tighten = (form: Linear): Linear => {
  let g = 0;
  for (const n of form.terms.values()) g = gcd(g, Math.abs(n));
  if (g <= 1) return form;
  return { constant: Math.ceil(form.constant / g), terms: new Map([...form.terms].map(([name, n]) => [name, n / g])) };
};

/** The system without repetitions: of inequalities with equal left sides only the sharpest. Undefined if one is false. */
const reduce = (forms: Iterable<Linear>): Linear[] | undefined => {
  const sharpest = new Map<string, Linear>();
  for (const raw of forms) {
    const form = tighten(raw);
    if (form.terms.size === 0) {
      if (form.constant > 0) return undefined;
      continue;
    }
    const key = formKey({ ...form, constant: 0 });
    const other = sharpest.get(key);
    if (!other || other.constant < form.constant) sharpest.set(key, form);
  }
  return [...sharpest.values()];
};

/** Whether all of `forms` can be `<= 0` at once; see the head of the file for what the answer means. */
export const feasible = (forms: readonly Linear[]): boolean => {
  try {
    let system = reduce(forms);
    while (system && system.length > 0) {
      const name = cheapest(system);
      const upper = system.filter((f) => (f.terms.get(name) ?? 0) > 0);
      const lower = system.filter((f) => (f.terms.get(name) ?? 0) < 0);
      const rest: Linear[] = system.filter((f) => !f.terms.has(name));
      if (rest.length + upper.length * lower.length > maxInequalities) return true;
      for (const u of upper) for (const l of lower) rest.push(combine(-l.terms.get(name)!, u, u.terms.get(name)!, l));
      system = reduce(rest);
    }
    return system !== undefined;
  } catch (error) {
    if (error instanceof TooLarge) return true;
    throw error;
  }
};

/** The unknown whose elimination adds the fewest inequalities. */
const cheapest = (system: readonly Linear[]): string => {
  const counts = new Map<string, [number, number]>();
  for (const f of system) for (const [name, n] of f.terms) {
    const c = counts.get(name) ?? [0, 0];
    c[n > 0 ? 0 : 1]++;
    counts.set(name, c);
  }
  let best = ''; let least = Infinity;
  for (const [name, [up, low]] of counts) if (up * low - up - low < least) { least = up * low - up - low; best = name; }
  return best;
};
