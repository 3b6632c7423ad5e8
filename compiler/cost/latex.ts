/** Polynomials and blocks of formulas for papers. */
import { readFloor } from '../ir/fraction.ts';
import type { Poly } from '../ir/poly.ts';
import type { Factor, Sum, Term } from './factored.ts';
import { factored } from './factored.ts';
import { thousands } from './readable.ts';

const number = (n: bigint): string => thousands(n, '{,}');
/** Text inside a formula. */
export const latexText = (text: string): string => `\\text{${text.replace(/[\\{}]/g, '').replace(/[_#%&$]/g, '\\$&')}}`;

/** `8{,}192\,(V + T)\,(31\,(V + T) + 33)`. */
export const latex = (p: Poly): string => sum(factored(p));

function sum(terms: Sum): string {
  if (!terms.length) return '0';
  return terms.map((t, i) => (i ? ` ${t.negative ? '-' : '+'} ` : t.negative ? '-' : '') + term(t)).join('');
}
function term({ num, den, factors }: Term): string {
  const top = [...(num === 1n && factors.length ? [] : [number(num)]), ...factors.map(factor)].join('\\,');
  return den === 1n ? top : `\\frac{${top}}{${number(den)}}`;
}
const factor = ({ base, power }: Factor): string => (typeof base === 'string' ? dim(base) : `(${sum(base)})`) + (power === 1 ? '' : `^{${power}}`);

/** Single letters as they are, words upright; pairs that a mask decides are a number N, shares of rows are rounded down. */
function dim(name: string): string {
  const floor = readFloor(name);
  if (floor) return `\\left\\lfloor \\frac{${floor.share.num === 1n ? '' : floor.share.num}${floor.dim}}{${floor.share.den}} \\right\\rfloor`;
  const pairs = /^pairs\((.*)\)$/.exec(name);
  if (pairs) return `N_{${latexText(pairs[1]!)}}`;
  return name.length === 1 ? name : `\\mathrm{${name}}`;
}

/** Named polynomials, aligned at their equals signs, with comments in front. Needs the package amsmath. */
export function latexBlock(formulas: readonly (readonly [name: string, formula: Poly])[], comments: readonly string[] = []): string {
  const lines = formulas.map(([name, p]) => `  F_{${latexText(name)}} &= ${latex(p)}`);
  return [...comments.map((c) => `% ${c}`), '\\begin{align*}', lines.join(' \\\\\n'), '\\end{align*}'].join('\n');
}
