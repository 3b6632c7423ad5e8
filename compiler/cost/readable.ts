/** Polynomials as text for people: `16,384·V²·T`, `T·(T + 1)/2`. */
import type { Poly } from '../ir/poly.ts';
import type { Factor, Sum, Term } from './factored.ts';
import { factored } from './factored.ts';

const superscripts = '⁰¹²³⁴⁵⁶⁷⁸⁹';
const power = (n: number): string => (n === 1 ? '' : [...String(n)].map((d) => superscripts[Number(d)]).join(''));
/** 16384 → `16,384`. */
export const thousands = (n: bigint | number, separator = ','): string => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, separator);

/** `8,192·(V + T)·(31·(V + T) + 33)`. Every number is exact. */
export const readable = (p: Poly): string => sum(factored(p));

function sum(terms: Sum): string {
  if (!terms.length) return '0';
  return terms.map((t, i) => (i ? ` ${t.negative ? '−' : '+'} ` : t.negative ? '−' : '') + term(t)).join('');
}
function term({ num, den, factors }: Term): string {
  const parts = [...(num === 1n && factors.length ? [] : [thousands(num)]), ...factors.map(factor)];
  return parts.join('·') + (den === 1n ? '' : `/${thousands(den)}`);
}
const factor = ({ base, power: n }: Factor): string => (typeof base === 'string' ? base : `(${sum(base)})`) + power(n);
