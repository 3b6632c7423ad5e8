/** Sums of polynomials over a range, as polynomials: what a growing context costs in all. */
import { Poly } from '../ir/poly.ts';

const known: Poly[] = [];
/**
 * 1^k + 2^k + … + n^k as a polynomial in the dim `n` (Faulhaber). Telescoping (i+1)^(k+1) − i^(k+1) over i gives
 * (k+1) S_k = (n+1)^(k+1) − 1 − Σ_{j<k} C(k+1, j) S_j.
 */
function powerSum(k: number): Poly {
  if (known[k]) return known[k];
  const n = Poly.dim('n');
  let sum = Poly.of(1), binomial = 1;
  for (let i = 0; i <= k; i++) sum = sum.mul(n.add(1));
  sum = sum.sub(1);
  for (let j = 0; j < k; j++) {
    sum = sum.sub(powerSum(j).mul(binomial));
    binomial = (binomial * (k + 1 - j)) / (j + 1);
  }
  return (known[k] = sum.div(k + 1));
}

/** Σ of `p` over `variable` = 1 … `last`, a polynomial in what is left of `p` and in `last`. */
export function sumOver(p: Poly, variable: string, last: Poly): Poly {
  return Poly.sum(p.list().map(({ num, den, powers }) => {
    let rest = Poly.of(num).div(den);
    for (const [v, e] of Object.entries(powers)) if (v !== variable) for (let i = 0; i < e; i++) rest = rest.mul(Poly.dim(v));
    return rest.mul(powerSum(powers[variable] ?? 0).substitute({ n: last }));
  }));
}
