/**
 * Polynomials as people write them: common factors in front, sums of dims kept together where that is shorter
 * (`8,192·(V + T)·(31·(V + T) + 33)`), fractions at the end (`T·(T + 1)/2`). readable.ts and latex.ts print this form.
 */
import { readFloor } from '../ir/fraction.ts';
import { Poly } from '../ir/poly.ts';

/** A dim, or a sum in parentheses, to a power. */
export interface Factor { readonly base: string | Sum; readonly power: number }
/** A product with a rational number in front. */
export interface Term { readonly negative: boolean; readonly num: bigint; readonly den: bigint; readonly factors: readonly Factor[] }
export type Sum = readonly Term[];

/** Rows first, in the order of a prompt, then what they belong to, then everything else. */
const order = ['V', 'T', 'G', 'images', 'tiles'];
const place = (dim: string): number => { const i = order.indexOf(dim); return i < 0 ? order.length : i; };
const byPlace = (a: string, b: string): number => place(a) - place(b) || (a < b ? -1 : a > b ? 1 : 0);

const gcd = (a: bigint, b: bigint): bigint => { while (b) [a, b] = [b, a % b]; return a < 0n ? -a : a; };

/** A dim that stands for a sum of others while the rest is written. */
const sumName = (dims: readonly string[]): string => `sum(${dims.join('+')})`;
const dimsOfSum = (name: string): string[] | undefined => /^sum\((.*)\)$/.exec(name)?.[1]!.split('+');

/** The form in which a polynomial is written. Zero is the empty sum. */
export function factored(p: Poly): Sum {
  const terms = p.list();
  if (!terms.length) return [];
  const den = terms.reduce((l, t) => (l * t.den) / gcd(l, t.den), 1n);
  const content = terms.reduce((g, t) => gcd(g, t.num * (den / t.den)), 0n);
  const shared = p.variables.map((v) => ({ v, power: Math.min(...terms.map((t) => t.powers[v] ?? 0)) })).filter((f) => f.power > 0);
  const negative = terms.every((t) => t.num < 0n), g = gcd(content, den);
  const front: Term = { negative, num: content / g, den: den / g, factors: factorsOf(shared.map(({ v, power }) => [v, power])) };
  if (terms.length === 1) return opened(front);
  const rest = divided(p, Object.fromEntries(shared.map(({ v, power }) => [v, power]))).mul(negative ? -den : den).div(content);
  const together = joined(rest);
  // What stands in parentheses may have factors of its own once dims are joined.
  const inner = together ? factored(together) : sorted(rest);
  const factors = inner.length === 1 && !inner[0]!.negative ? inner[0]! : undefined;
  if (factors) return opened(product(front, factors));
  return front.num === 1n && front.den === 1n && !negative && !shared.length ? inner : [{ ...front, factors: [...front.factors, { base: inner, power: 1 }] }];
}

const product = (a: Term, b: Term): Term => {
  const num = a.num * b.num, den = a.den * b.den, g = gcd(num, den);
  return { negative: a.negative, num: num / g, den: den / g, factors: [...a.factors, ...b.factors] };
};

/** The terms of a sum, by falling degree, dims in their order. */
function sorted(p: Poly): Sum {
  const terms = p.list().map((t) => ({ ...t, dims: Object.entries(t.powers).sort(([a], [b]) => byPlace(a, b)) }));
  const degree = (dims: readonly (readonly [string, number])[]): number => dims.reduce((n, [, e]) => n + e, 0);
  const text = (dims: readonly (readonly [string, number])[]): string => dims.map(([v, e]) => String(place(dimsOfSum(v)?.[0] ?? v)).repeat(e)).join('');
  terms.sort((a, b) => degree(b.dims) - degree(a.dims) || (text(a.dims) < text(b.dims) ? -1 : 1));
  return terms.flatMap((t) => opened({ negative: t.num < 0n, num: t.num < 0n ? -t.num : t.num, den: t.den, factors: factorsOf(t.dims) }));
}
/** A plain sum within a sum, or by itself, needs no parentheses. */
function opened(t: Term): Sum {
  const [only, ...others] = t.factors;
  return !t.negative && t.num === 1n && t.den === 1n && only && !others.length && only.power === 1 && typeof only.base !== 'string' ? only.base : [t];
}

function factorsOf(dims: readonly (readonly [string, number])[]): Factor[] {
  return [...dims].sort(([a], [b]) => byPlace(a, b)).map(([v, power]) => {
    const inside = dimsOfSum(v);
    return { base: inside ? inside.map((d): Term => ({ negative: false, num: 1n, den: 1n, factors: [{ base: d, power: 1 }] })) : v, power };
  });
}

/** A polynomial divided by a product of dims that every term has. */
const divided = (p: Poly, by: Readonly<Record<string, number>>): Poly => Poly.sum(p.list().map(({ num, den, powers }) => {
  let term = Poly.of(num).div(den);
  for (const [v, e] of Object.entries(powers)) for (let i = by[v] ?? 0; i < e; i++) term = term.mul(Poly.dim(v));
  return term;
}));

/**
 * The same with a sum of rows in place of the rows, degree by degree, where that takes fewer terms: V² + 2VT + T² is (V + T)².
 * Never at the price of a minus sign.
 */
function joined(p: Poly): Poly | undefined {
  const dims = p.variables.filter((v) => place(v) < order.indexOf('images')).sort(byPlace);
  const choices = [dims, ...dims.flatMap((a, i) => dims.slice(i + 1).map((b) => [a, b]))]
    .filter((some) => some.length > 1 && !p.variables.some((v) => readFloor(v)?.dim === some.at(-1)));
  const out = Poly.sum(byDegree(p).map((part) => {
    let best = part;
    for (const some of choices) {
      const [last, ...others] = [...some].reverse() as [string, ...string[]];
      const other = part.substitute({ [last]: Poly.dim(sumName(some)).sub(Poly.sum(others.map((o) => Poly.dim(o)))) });
      if (other.list().length < best.list().length && minuses(other) <= minuses(part)) best = other;
    }
    return best;
  }));
  return out.list().length < p.list().length ? out : undefined;
}
const minuses = (p: Poly): number => p.list().filter((t) => t.num < 0n).length;
/** The terms of each degree. */
function byDegree(p: Poly): Poly[] {
  const parts: Poly[] = [];
  for (const { num, den, powers } of p.list()) {
    const degree = Object.values(powers).reduce((a, b) => a + b, 0);
    let term = Poly.of(num).div(den);
    for (const [v, e] of Object.entries(powers)) for (let i = 0; i < e; i++) term = term.mul(Poly.dim(v));
    parts[degree] = (parts[degree] ?? Poly.zero).add(term);
  }
  return parts.filter(Boolean);
}
