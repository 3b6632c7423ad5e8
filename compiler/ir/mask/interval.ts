/**
 * Predicates over blocks of tokens: does a mask hold for all, none or some pairs of a block of queries and a block of
 * keys? A block is given by bounds of its tokens' fields, and the answer is an interval evaluation (abstract
 * interpretation): it may say `some` too often, and never `all` or `none` wrongly.
 *
 * The rules are written once, over an abstract machine of numbers and truth values. Run on JavaScript's own they give
 * `evaluateInterval`; run on text they give the WGSL by which an attention kernel skips blocks (compiler/wgsl/mask.ts).
 */
import type { MaskExpr, Operation, TokenField, Variable } from './expr.ts';
import type { Linear } from './linear.ts';
import { difference, linearise, numberOf, unknown } from './linear.ts';
import { printMaskExpr } from './print.ts';

/** What the rules need of integers `N` and truth values `B`. */
export interface Machine<N, B> {
  int(value: number): N;
  add(a: N, b: N): N;
  mul(a: N, b: N): N;
  /** Division by a constant > 0, rounded down. */
  div(a: N, by: number): N;
  /** Remainder by a constant > 0, with the sign of the dividend. */
  mod(a: N, by: number): N;
  min(a: N, b: N): N;
  max(a: N, b: N): N;
  choose(test: B, yes: N, no: N): N;
  bool(value: boolean): B;
  le(a: N, b: N): B;
  and(a: B, b: B): B;
  or(a: B, b: B): B;
  not(a: B): B;
}

/** An integer lies between `lo` and `hi`, both included. Kinds count as their numbers. */
export interface Range<N> { readonly lo: N; readonly hi: N }
/** `must`: true for every pair of the block. `may`: true for some pair, as far as the rules can tell. */
export interface Truth<B> { readonly must: B; readonly may: B }

/** The rules on one machine, for variables whose ranges `bounds` gives. */
export const intervalRules = <N, B>(m: Machine<N, B>, bounds: (v: Variable) => Range<N>): { range: (e: MaskExpr) => Range<N>; truth: (e: MaskExpr) => Truth<B> } => {
  const lt = (a: N, b: N): B => m.not(m.le(b, a));
  const union = (a: Range<N>, b: Range<N>): Range<N> => ({ lo: m.min(a.lo, b.lo), hi: m.max(a.hi, b.hi) });
  const exactly = (value: number): Range<N> => ({ lo: m.int(value), hi: m.int(value) });
  const times = (a: Range<N>, c: number): Range<N> => (c >= 0
    ? { lo: m.mul(a.lo, m.int(c)), hi: m.mul(a.hi, m.int(c)) }
    : { lo: m.mul(a.hi, m.int(c)), hi: m.mul(a.lo, m.int(c)) });

  const sumRange = ({ terms, constant }: Sum): Range<N> => {
    let total: Range<N> | undefined;
    for (const [n, atom] of terms) {
      const term = times(atomRange(atom), n);
      total = total ? { lo: m.add(total.lo, term.lo), hi: m.add(total.hi, term.hi) } : term;
    }
    if (!total) return exactly(constant);
    return constant === 0 ? total : { lo: m.add(total.lo, m.int(constant)), hi: m.add(total.hi, m.int(constant)) };
  };
  const linearRange = (e: MaskExpr): Range<N> => sumRange(sumOf(e));

  const atomRange = (e: MaskExpr): Range<N> => {
    if (e.is === 'constant') return exactly(numberOf(e));
    if (e.is === 'variable') return bounds(e);
    const [x, y, z] = e.args as [MaskExpr, MaskExpr, MaskExpr];
    switch (e.op) {
      case 'abs': { const a = linearRange(x); const minus = times(a, -1); return { lo: m.max(m.max(a.lo, minus.lo), m.int(0)), hi: m.max(a.hi, minus.hi) }; }
      case 'min': { const a = linearRange(x); const b = linearRange(y); return { lo: m.min(a.lo, b.lo), hi: m.min(a.hi, b.hi) }; }
      case 'max': { const a = linearRange(x); const b = linearRange(y); return { lo: m.max(a.lo, b.lo), hi: m.max(a.hi, b.hi) }; }
      case 'mul': {
        const a = linearRange(x); const b = linearRange(y);
        const corners = [m.mul(a.lo, b.lo), m.mul(a.lo, b.hi), m.mul(a.hi, b.lo), m.mul(a.hi, b.hi)];
        return { lo: corners.reduce(m.min), hi: corners.reduce(m.max) };
      }
      case 'div': { const a = linearRange(x); const by = constantOf(y); return { lo: m.div(a.lo, by), hi: m.div(a.hi, by) }; }
      case 'mod': return modRange(linearRange(x), constantOf(y));
      case 'if': {
        const t = truth(x); const a = linearRange(y); const b = linearRange(z); const u = union(a, b);
        const pick = (yes: N, no: N, either: N): N => m.choose(t.must, yes, m.choose(t.may, either, no));
        return { lo: pick(a.lo, b.lo, u.lo), hi: pick(a.hi, b.hi, u.hi) };
      }
      default: return linearRange(e);
    }
  };

  /** A remainder grows with its dividend as long as the quotient stays the same. */
  const modRange = (a: Range<N>, by: number): Range<N> => {
    const zero = m.int(0);
    const multiple = (x: N): N => m.add(x, m.mul(m.mod(x, by), m.int(-1)));
    const samePeriod = m.le(multiple(a.hi), multiple(a.lo));
    return {
      lo: m.choose(samePeriod, m.mod(a.lo, by), m.max(m.min(a.lo, zero), m.int(1 - by))),
      hi: m.choose(samePeriod, m.mod(a.hi, by), m.min(m.max(a.hi, zero), m.int(by - 1))),
    };
  };

  const compare = (e: Operation): Truth<B> => {
    const [x, y] = e.args as [MaskExpr, MaskExpr];
    if (x.type === 'bool') {
      const a = truth(x); const b = truth(y);
      const same = { must: m.or(m.and(a.must, b.must), m.not(m.or(a.may, b.may))), may: m.or(m.and(a.may, b.may), m.not(m.or(a.must, b.must))) };
      return e.op === 'eq' ? same : negate(same);
    }
    const { lo, hi } = sumRange(sumOf(e)); // of left - right
    const zero = m.int(0);
    switch (e.op) {
      case 'lt': return { must: lt(hi, zero), may: lt(lo, zero) };
      case 'le': return { must: m.le(hi, zero), may: m.le(lo, zero) };
      case 'gt': return { must: lt(zero, lo), may: lt(zero, hi) };
      case 'ge': return { must: m.le(zero, lo), may: m.le(zero, hi) };
      default: {
        const equal = { must: m.and(m.le(zero, lo), m.le(hi, zero)), may: m.and(m.le(lo, zero), m.le(zero, hi)) };
        return e.op === 'eq' ? equal : negate(equal);
      }
    }
  };
  const negate = (t: Truth<B>): Truth<B> => ({ must: m.not(t.may), may: m.not(t.must) });

  const truth = (e: MaskExpr): Truth<B> => {
    if (e.is === 'constant') return { must: m.bool(e.value as boolean), may: m.bool(e.value as boolean) };
    if (e.is === 'variable') throw new Error('No variable of the mask language is a boolean.');
    const [x, y, z] = e.args as [MaskExpr, MaskExpr, MaskExpr];
    switch (e.op) {
      case 'not': return negate(truth(x));
      case 'and': { const a = truth(x); const b = truth(y); return { must: m.and(a.must, b.must), may: m.and(a.may, b.may) }; }
      case 'or': { const a = truth(x); const b = truth(y); return { must: m.or(a.must, b.must), may: m.or(a.may, b.may) }; }
      case 'if': {
        const t = truth(x); const a = truth(y); const b = truth(z);
        return {
          must: m.or(m.and(t.must, a.must), m.or(m.and(m.not(t.may), b.must), m.and(a.must, b.must))),
          may: m.or(m.and(t.may, a.may), m.and(m.not(t.must), b.may)),
        };
      }
      default: return compare(e);
    }
  };

  return { range: linearRange, truth };
};

const constantOf = (e: MaskExpr): number => (e.is === 'constant' ? (e.value as number) : 0);

/** `Σ n·atom + constant` */
interface Sum { readonly terms: readonly (readonly [number, MaskExpr])[]; readonly constant: number }
const sums = new WeakMap<MaskExpr, Sum>();
/**
 * An integer expression, or what a comparison compares with 0 (left - right), as a sum that counts each unknown once:
 * so `q.pos - q.pos` is 0 and not twice the block's width.
 */
const sumOf = (e: MaskExpr): Sum => {
  const known = sums.get(e);
  if (known) return known;
  const atoms = new Map<string, MaskExpr>();
  const of = (x: MaskExpr): Linear => linearise(x, (atom) => { const name = printMaskExpr(atom); atoms.set(name, atom); return unknown(name); });
  const form = e.type === 'bool' && e.is === 'operation' ? difference(of(e.args[0]!), of(e.args[1]!)) : of(e);
  const sum = { terms: [...form.terms].map(([name, n]) => [n, atoms.get(name)!] as const), constant: form.constant };
  sums.set(e, sum);
  return sum;
};

/** JavaScript's own numbers. */
const numbers: Machine<number, boolean> = {
  int: (v) => v, add: (a, b) => a + b, mul: (a, b) => a * b, div: (a, by) => Math.floor(a / by), mod: (a, by) => a % by,
  min: (a, b) => Math.min(a, b), max: (a, b) => Math.max(a, b), choose: (t, a, b) => (t ? a : b),
  bool: (v) => v, le: (a, b) => a <= b, and: (a, b) => a && b, or: (a, b) => a || b, not: (a) => !a,
};

/** A token's fields as numbers; a kind is its place in the sequence's declaration. */
export type TokenNumbers = Readonly<Record<TokenField, number>>;
/** A block of tokens: every field of every token lies between those of `lo` and `hi`. */
export interface TokenBlock { readonly lo: TokenNumbers; readonly hi: TokenNumbers }

const rulesOn = (qs: TokenBlock, ks: TokenBlock) =>
  intervalRules(numbers, (v) => { const b = v.token === 'q' ? qs : ks; return { lo: b.lo[v.field], hi: b.hi[v.field] }; });

/** Whether the predicate holds for all, none or some of the pairs of two blocks; `some` also where it cannot tell. */
export const evaluateInterval = (expr: MaskExpr, qs: TokenBlock, ks: TokenBlock): 'all' | 'none' | 'some' => {
  const { must, may } = rulesOn(qs, ks).truth(expr);
  return must ? 'all' : may ? 'some' : 'none';
};

/** Bounds of an integer expression over two blocks. */
export const evaluateRange = (expr: MaskExpr, qs: TokenBlock, ks: TokenBlock): Range<number> => rulesOn(qs, ks).range(expr);

/** Prompts have at most this many tokens, and this many images: what masks must be able to compute with. */
export const maxTokens = 2 ** 20;
export const maxImages = 2 ** 16;
/** Every token that a prompt within these limits can have. */
const anyToken: TokenBlock = {
  lo: { kind: 0, pos: 0, index: 0, image: -1 },
  hi: { kind: maxImages, pos: maxTokens - 1, index: maxTokens - 1, image: maxImages - 1 },
};
/** Bounds of an integer expression over all pairs of tokens. */
export const rangeOf = (expr: MaskExpr): Range<number> => evaluateRange(expr, anyToken, anyToken);

/** Half of what 32 bits hold, so that comparing two values by their difference cannot overflow either. */
const maxValue = 2 ** 30;

/**
 * The first part of an expression that can leave 32-bit arithmetic on prompts of up to `maxTokens` tokens, or
 * undefined if there is none. JavaScript would go on with 53 bits, a kernel would wrap around.
 */
export const findOverflow = (expr: MaskExpr): MaskExpr | undefined => {
  if (expr.is === 'operation') for (const x of expr.args) { const found = findOverflow(x); if (found) return found; }
  if (expr.type !== 'int') return undefined;
  const { lo, hi } = rangeOf(expr);
  return lo <= -maxValue || hi >= maxValue ? expr : undefined;
};
