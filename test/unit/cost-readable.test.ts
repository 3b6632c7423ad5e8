/** Formulas as people write them: read back, they are the polynomials that they were written from. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { latex, latexBlock } from '../../compiler/cost/latex.ts';
import { readable, thousands } from '../../compiler/cost/readable.ts';
import { Poly } from '../../compiler/ir/index.ts';

/** Reads what `readable` writes, by the rules of arithmetic alone. */
function read(text: string): Poly {
  const tokens = text.match(/(?:pairs|floor)\([^)]*\)|[A-Za-z_]\w*|\d[\d,]*|[⁰¹²³⁴⁵⁶⁷⁸⁹]+|[−+·()/]/g)!;
  expect(tokens.join('')).toBe(text.replaceAll(' ', ''));
  let i = 0;
  const number = (t: string): bigint => BigInt(t.replaceAll(',', ''));
  const atom = (): Poly => {
    const t = tokens[i++]!;
    const base = t === '(' ? sum() : /^\d/.test(t) ? Poly.of(number(t)) : Poly.dim(t);
    if (t === '(') expect(tokens[i++]).toBe(')');
    if (!/^[⁰¹²³⁴⁵⁶⁷⁸⁹]/.test(tokens[i] ?? '')) return base;
    let power = Poly.of(1);
    for (let n = Number([...tokens[i++]!].map((d) => '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(d)).join('')); n > 0; n--) power = power.mul(base);
    return power;
  };
  const product = (): Poly => {
    let out = atom();
    while (tokens[i] === '·' || tokens[i] === '/') out = tokens[i++] === '·' ? out.mul(atom()) : out.div(number(tokens[i++]!));
    return out;
  };
  function sum(): Poly {
    let out = tokens[i] === '−' ? (i++, product().mul(-1)) : product();
    while (tokens[i] === '+' || tokens[i] === '−') out = tokens[i++] === '+' ? out.add(product()) : out.sub(product());
    return out;
  }
  const all = sum();
  expect(i).toBe(tokens.length);
  return all;
}

test.each([
  ['0', '0'], ['7', '7'], ['-3*V', '−3·V'], ['V^2', 'V²'], ['V^12', 'V¹²'], ['16384*T', '16,384·T'],
  ['1/2*T^2 + 1/2*T', 'T·(T + 1)/2'], ['V^2 + 2*T*V + T^2', '(V + T)²'], ['V + T', 'V + T'], ['5*V + 5*T', '5·(V + T)'],
  ['V^2 + 2*T*V + T^2 + 3*V + 3*T', '(V + T)·(V + T + 3)'], ['1/2*T^2 + T*V + 1/2*T + V', '(2·V·T + T² + 2·V + T)/2'],
  ['12*V + 8*T*V + 4', '4·(2·V·T + 3·V + 1)'], ['G*T + G*V + 1/2*G^2 + 1/2*G', 'G·(2·(V + T) + G + 1)/2'],
  ['3*pairs(m:text>visual) + 3*V', '3·(V + pairs(m:text>visual))'], ['V - T', 'V − T'], ['2*tiles*V', '2·V·tiles'],
])('%s is written %s', (text, written) => { expect(readable(Poly.parse(text))).toBe(written); });

const dims = ['V', 'T', 'G', 'tiles', 'pairs(m:text>visual)', 'floor(V/2)'];
const factor = fc.tuple(fc.constantFrom(...dims), fc.integer({ min: 1, max: 3 }));
const term = fc.tuple(fc.integer({ min: -40, max: 40 }), fc.integer({ min: 1, max: 4 }), fc.array(factor, { maxLength: 3 }))
  .map(([num, den, factors]) => factors.reduce((p, [d, n]) => { for (let i = 0; i < n; i++) p = p.mul(Poly.dim(d)); return p; }, Poly.of(num).div(den)));
const sums = fc.array(term, { maxLength: 6 }).map((terms) => Poly.sum(terms));
/** Products of sums, which is what costs are made of. */
const poly = fc.oneof(sums, fc.tuple(sums, sums).map(([a, b]) => a.mul(b)), fc.tuple(sums, fc.constant(Poly.parse('V + T'))).map(([a, b]) => a.mul(b).mul(b)));

test('what is printed parses back to the same polynomial, and has the same values at any size', () => {
  fc.assert(fc.property(poly, fc.array(fc.bigInt({ min: 0n, max: 10n ** 9n }), { minLength: dims.length, maxLength: dims.length }), (p, values) => {
    const again = read(readable(p)), at = Object.fromEntries(dims.map((d, i) => [d, values[i]!]));
    expect(again.equals(p)).toBe(true);
    expect(again.nearest(at)).toBe(p.nearest(at));
    expect(latex(p)).not.toMatch(/undefined|NaN|\[object|−/);
  }), { numRuns: 300 });
});

describe('LaTeX', () => {
  test.each([
    ['16384*T*V^2', '16{,}384\\,V^{2}\\,T'], ['1/2*T^2 + 1/2*T', '\\frac{T\\,(T + 1)}{2}'], ['-V + 3', '-V + 3'], ['tiles', '\\mathrm{tiles}'],
    ['5*floor(9V/10)', '5\\,\\left\\lfloor \\frac{9V}{10} \\right\\rfloor'], ['pairs(my_mask:text>visual)', 'N_{\\text{my\\_mask:text>visual}}'],
  ])('%s', (text, written) => { expect(latex(Poly.parse(text))).toBe(written); });
  test('a block for a paper', () => {
    expect(latexBlock([['vision', Poly.parse('3*tiles')], ['q_proj', Poly.parse('2*V')]], ['convention exact'])).toBe(
      '% convention exact\n\\begin{align*}\n  F_{\\text{vision}} &= 3\\,\\mathrm{tiles} \\\\\n  F_{\\text{q\\_proj}} &= 2\\,V\n\\end{align*}');
  });
});

test('thousands', () => { expect([999, 1000, 12345678n].map((n) => thousands(n))).toEqual(['999', '1,000', '12,345,678']); });
