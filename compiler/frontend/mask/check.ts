/**
 * The proof of the pudding: a predicate as it was read is run beside the function itself, on pairs of tokens from
 * random sequences. They disagree if the function reads something that changes, or if the reader is wrong.
 */
import type { MaskExpr, MaskKind, Token } from '../../ir/mask/index.ts';
import { predicate } from '../../ir/mask/index.ts';

/** Pairs to try for each ordered pair of kinds. */
const pairsPerKinds = 400;

export type Disagreement =
  | { readonly is: 'different'; readonly q: Token; readonly k: Token; readonly run: boolean; readonly read: boolean }
  | { readonly is: 'thrown'; readonly q: Token; readonly k: Token; readonly error: unknown }
  | { readonly is: 'no boolean'; readonly q: Token; readonly k: Token; readonly value: unknown };

/** The first pair on which the function and the expression differ, or undefined if none was found. */
export const disagreement = (expr: MaskExpr, fn: (q: Token, k: Token) => unknown, kinds: readonly MaskKind[]): Disagreement | undefined => {
  const holds = predicate(expr);
  for (const [q, k] of samplePairs(expr, kinds)) {
    let value: unknown;
    try { value = fn(q, k); } catch (error) { return { is: 'thrown', q, k, error }; }
    if (typeof value !== 'boolean') return { is: 'no boolean', q, k, value };
    const read = holds(q, k);
    if (value !== read) return { is: 'different', q, k, run: value, read };
  }
  return undefined;
};

/** Pairs of tokens of every two kinds: near and far, in one segment and in two, and at distances that the mask itself names. */
function* samplePairs(expr: MaskExpr, kinds: readonly MaskKind[]): Generator<readonly [Token, Token]> {
  const random = generator(1);
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const constants = [...new Set([0, 1, 2, ...constantsOf(expr)])].filter((n) => n < 2 ** 20);
  const distance = (): number => Math.max(0, pick(constants) + below(3) - 1);
  /** Where something begins, or how long it is: often small, sometimes large, sometimes a constant of the mask. */
  const extent = (): number => pick([() => below(4), () => below(40), () => below(5000), distance])();
  for (const a of kinds) for (const b of kinds) for (let i = 0; i < pairsPerKinds; i++) {
    if (a === b && random() < 0.5) {
      const start = extent(); const image = a.hasImages ? below(4) : -1;
      const index = extent();
      const other = Math.max(0, random() < 0.2 ? extent() : index + pick([-1, 1]) * distance());
      const at = (n: number): Token => Object.freeze({ kind: a.name, pos: start + n, index: n, image });
      yield [at(index), at(other)];
    } else {
      // Two segments, the first before the second.
      const early = { start: extent(), index: extent(), image: below(3) };
      const late = { start: early.start + early.index + 1 + extent(), index: extent(), image: early.image + 1 + below(2) };
      const [x, y] = random() < 0.5 ? [early, late] : [late, early];
      const at = (kind: MaskKind, s: typeof early): Token => Object.freeze({ kind: kind.name, pos: s.start + s.index, index: s.index, image: kind.hasImages ? s.image : -1 });
      yield [at(a, x), at(b, y)];
    }
  }
}

const constantsOf = (e: MaskExpr): number[] =>
  e.is === 'constant' ? (typeof e.value === 'number' ? [Math.abs(e.value)] : []) : e.is === 'operation' ? e.args.flatMap(constantsOf) : [];

/** Random numbers in [0, 1), the same each time: two compilations must not differ. (mulberry32) */
const generator = (seed: number): (() => number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
