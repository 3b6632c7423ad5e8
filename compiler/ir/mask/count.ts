/**
 * How many pairs of query and key a mask admits in a concrete layout of segments: what attention must compute.
 *
 * Each pair of segments is counted at once where the prover settles it, by the size of a rectangle or a triangle. What
 * is mixed is cut into blocks until interval evaluation says all or none of each; along the edge of a causal or sliding
 * mask that is a number of blocks in proportion to its length. Only what stays open on small blocks is evaluated pair
 * by pair, so the count is exact in every case.
 */
import { UserError } from '../errors.ts';
import { predicate } from './eval.ts';
import type { MaskExpr, MaskKind, Token } from './expr.ts';
import type { TokenBlock } from './interval.ts';
import { evaluateInterval } from './interval.ts';
import { printMaskExpr } from './print.ts';
import type { Relation } from './prove.ts';
import { verdicts } from './prove.ts';
import { specialise } from './simplify.ts';

/** Consecutive tokens of one image or one run of text. */
export interface MaskSegment {
  readonly kind: string;
  /** Number of the image; -1 for kinds without images. */
  readonly image: number;
  /** Position of its first token. */
  readonly start: number;
  readonly length: number;
  /** Index of its first token within the image or run; 0 unless this is only a later part of it. */
  readonly index?: number;
}

/** The most pairs that are evaluated one by one: those of a strided mask over 8,000 tokens, in some ten seconds. */
export const maxEvaluations = 2 ** 26;
/** Blocks of at most this many pairs are no longer cut: cheaper to look at than to bound. */
const smallBlock = 1024;

interface Budget { readonly limit: number; left: number }

const origin = (s: MaskSegment): number => s.start - (s.index ?? 0);

/**
 * The number of pairs (query, key) of the two lists of segments that the mask admits. Throws a UserError if more than
 * `limit` pairs would have to be evaluated one by one.
 */
export const countPairs = (expr: MaskExpr, queries: readonly MaskSegment[], keys: readonly MaskSegment[], kinds: readonly MaskKind[], limit = maxEvaluations): bigint => {
  const budget = { limit, left: limit };
  let total = 0n;
  for (const a of queries) for (const b of keys) if (a.length > 0 && b.length > 0) total += pairsOf(expr, a, b, kinds, budget);
  return total;
};

const pairsOf = (expr: MaskExpr, a: MaskSegment, b: MaskSegment, kinds: readonly MaskKind[], budget: Budget): bigint => {
  const found = verdicts(expr, a.kind, b.kind, kinds);
  const sizes = relationSizes(a, b);
  let total = 0n;
  for (const [relation, size] of sizes) {
    if (size === 0n || found[relation] === 'never') continue;
    if (found[relation] !== 'always') return countBlocks(expr, a, b, kinds, budget);
    total += size;
  }
  return total;
};

/** How many pairs stand in each relation. */
const relationSizes = (a: MaskSegment, b: MaskSegment): readonly (readonly [Relation, bigint])[] => {
  const area = BigInt(a.length) * BigInt(b.length);
  if (a.kind !== b.kind || a.image !== b.image || origin(a) !== origin(b)) return [[b.start < a.start ? 'earlierSegment' : 'laterSegment', area]];
  const upTo = (shift: number): bigint => pairsBelow(a.start + a.length - b.start + shift, b.length) - pairsBelow(a.start - b.start + shift, b.length);
  const [before, notAfter] = [upTo(0), upTo(1)];
  return [['earlier', before], ['same', notAfter - before], ['later', area - notAfter]];
};

/** The sum of clamp(x, 0, length) for x = 0 … below-1 (and nothing for `below` < 0). */
const pairsBelow = (below: number, length: number): bigint => {
  if (below <= 0) return 0n;
  const ramp = BigInt(Math.min(below, length + 1));
  return (ramp * (ramp - 1n)) / 2n + BigInt(Math.max(0, below - length - 1)) * BigInt(length);
};

const countBlocks = (mask: MaskExpr, a: MaskSegment, b: MaskSegment, kinds: readonly MaskKind[], budget: Budget): bigint => {
  const expr = specialise(mask, a.kind, b.kind, kinds);
  // Made where they are looked at: a segment may be too long for a list of its tokens.
  const token = (s: MaskSegment, i: number): Token => ({ kind: s.kind, pos: s.start + i, index: (s.index ?? 0) + i, image: s.image });
  const tokens = (s: MaskSegment, from: number, to: number): Token[] => Array.from({ length: to - from }, (_, i) => token(s, from + i));
  const ordinal = (s: MaskSegment): number => kinds.findIndex((x) => x.name === s.kind);
  const [qKind, kKind] = [ordinal(a), ordinal(b)];
  const block = (s: MaskSegment, kind: number, from: number, to: number): TokenBlock => ({ lo: { ...token(s, from), kind }, hi: { ...token(s, to - 1), kind } });
  const holds = predicate(expr);
  const count = (a0: number, a1: number, b0: number, b1: number): bigint => {
    const size = (a1 - a0) * (b1 - b0);
    const answer = evaluateInterval(expr, block(a, qKind, a0, a1), block(b, kKind, b0, b1));
    if (answer !== 'some') return answer === 'all' ? BigInt(a1 - a0) * BigInt(b1 - b0) : 0n;
    if (size <= smallBlock) {
      if ((budget.left -= size) < 0) throw new UserError(`The pairs of the mask '${printMaskExpr(mask)}' cannot be counted: more than ${budget.limit} of them have to be evaluated one by one. Count a shorter sequence.`);
      const qs = tokens(a, a0, a1), ks = tokens(b, b0, b1);
      let n = 0;
      for (const q of qs) for (const k of ks) if (holds(q, k)) n++;
      return BigInt(n);
    }
    if (a1 - a0 >= b1 - b0) { const mid = Math.floor((a0 + a1) / 2); return count(a0, mid, b0, b1) + count(mid, a1, b0, b1); }
    const mid = Math.floor((b0 + b1) / 2);
    return count(a0, a1, b0, mid) + count(a0, a1, mid, b1);
  };
  return count(0, a.length, 0, b.length);
};
