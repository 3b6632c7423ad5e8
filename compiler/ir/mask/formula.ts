/**
 * Predicates as formulas: `all` and `any` of linear inequalities, and whether such a formula can be true.
 *
 * Conditionals, absolute values, minima and maxima become a choice between guarded linear values. A quotient becomes a
 * new unknown with its two defining inequalities. What stays (the product of two variables) is an opaque unknown that
 * may be any integer; equal products share it. So a formula without solution has none in truth, and the reverse
 * may fail: every answer is sound, some are `perhaps`.
 */
import type { MaskExpr, Variable } from './expr.ts';
import { feasible } from './feasible.ts';
import type { Linear } from './linear.ts';
import { combine, constantForm, difference, formKey, numberOf, scale, sum, TooLarge, unknown } from './linear.ts';

export type Formula =
  | { readonly is: 'all' | 'any'; readonly parts: readonly Formula[] }
  /** `form <= 0` */
  | { readonly is: 'nonPositive'; readonly form: Linear };

const truth: Formula = { is: 'all', parts: [] };
const falsehood: Formula = { is: 'any', parts: [] };
export const all = (...parts: Formula[]): Formula => (parts.includes(falsehood) ? falsehood : merge('all', parts.filter((p) => p !== truth)));
export const any = (...parts: Formula[]): Formula => (parts.includes(truth) ? truth : merge('any', parts.filter((p) => p !== falsehood)));
const merge = (is: 'all' | 'any', parts: Formula[]): Formula => (parts.length === 1 ? parts[0]! : parts.length === 0 ? (is === 'all' ? truth : falsehood) : { is, parts });
const nonPositive = (form: Linear): Formula => (form.terms.size > 0 ? { is: 'nonPositive', form } : form.constant <= 0 ? truth : falsehood);

/** A text by which formulas that are built alike are recognised. */
export const formulaKey = (f: Formula): string => (f.is === 'nonPositive' ? formKey(f.form) : `${f.is}(${f.parts.map(formulaKey).join(', ')})`);

/** An integer expression is `value` where `guard` holds. */
interface Case { readonly guard: Formula; readonly value: Linear }

/** Beyond these sizes a question is left open. Masks that people write stay two orders of magnitude below. */
const maxCases = 64;
const maxSteps = 4000;
class TooComplex extends Error {}

/** Translates predicates whose variables have the linear forms that `formOf` gives; collects the definitions of quotients. */
export class FormulaBuilder {
  readonly definitions: Linear[] = [];
  private readonly defined = new Set<string>();
  private readonly formOf: (v: Variable) => Linear;
  constructor(formOf: (v: Variable) => Linear) { this.formOf = formOf; }

  /** The formula that is true exactly where the predicate equals `value`. */
  predicate(e: MaskExpr, value: boolean): Formula {
    if (e.is === 'constant') return e.value === value ? truth : falsehood;
    if (e.is === 'variable') throw new Error('No variable of the mask language is a boolean.');
    const [a, b, c] = e.args as [MaskExpr, MaskExpr, MaskExpr];
    switch (e.op) {
      case 'not': return this.predicate(a, !value);
      case 'and': case 'or': return (e.op === 'and') === value ? all(this.predicate(a, value), this.predicate(b, value)) : any(this.predicate(a, value), this.predicate(b, value));
      case 'if': return any(all(this.predicate(a, true), this.predicate(b, value)), all(this.predicate(a, false), this.predicate(c, value)));
      case 'eq': case 'ne': {
        if (a.type !== 'bool') break;
        const same = (e.op === 'eq') === value;
        return any(all(this.predicate(a, true), this.predicate(b, same)), all(this.predicate(a, false), this.predicate(b, !same)));
      }
    }
    const comparison = value ? e.op : opposite[e.op as keyof typeof opposite];
    return any(...this.pairs(a, b).map(({ guard, left, right }) => all(guard, compare(comparison, left, right))));
  }

  /** The linear values that an integer (or a kind's number) takes; the guards cover everything and exclude each other. */
  private cases(e: MaskExpr): Case[] {
    if (e.is === 'constant') return [{ guard: truth, value: constantForm(numberOf(e)) }];
    if (e.is === 'variable') return [{ guard: truth, value: this.formOf(e) }];
    const [a, b, c] = e.args as [MaskExpr, MaskExpr, MaskExpr];
    const unary = (f: (x: Linear) => Case[]): Case[] => limited(this.cases(a).flatMap((x) => f(x.value).map((y) => ({ guard: all(x.guard, y.guard), value: y.value }))));
    const binary = (f: (x: Linear, y: Linear) => Case[]): Case[] =>
      limited(this.pairs(a, b).flatMap(({ guard, left, right }) => f(left, right).map((y) => ({ guard: all(guard, y.guard), value: y.value }))));
    const just = (value: Linear): Case[] => [{ guard: truth, value }];
    const smaller = (x: Linear, y: Linear, ifSo: Linear, ifNot: Linear): Case[] => [{ guard: compare('le', x, y), value: ifSo }, { guard: compare('gt', x, y), value: ifNot }];
    switch (e.op) {
      case 'neg': return unary((x) => just(scale(-1, x)));
      case 'add': return binary((x, y) => just(sum(x, y)));
      case 'sub': return binary((x, y) => just(difference(x, y)));
      case 'mul': return binary((x, y) => just(product(x, y)));
      case 'abs': return unary((x) => smaller(x, constantForm(0), scale(-1, x), x));
      case 'min': return binary((x, y) => smaller(x, y, x, y));
      case 'max': return binary((x, y) => smaller(x, y, y, x));
      case 'div': return binary((x, y) => just(this.quotient(x, y.constant)));
      case 'mod': return binary((x, { constant: by }) => {
        const minus = scale(-1, x);
        return smaller(x, constantForm(0), combine(1, x, by, this.quotient(minus, by)), combine(1, x, -by, this.quotient(x, by)));
      });
      case 'if': return limited([
        ...this.cases(b).map((x) => ({ guard: all(this.predicate(a, true), x.guard), value: x.value })),
        ...this.cases(c).map((x) => ({ guard: all(this.predicate(a, false), x.guard), value: x.value })),
      ]);
      default: throw new Error(`'${e.op}' is no integer.`);
    }
  }

  private pairs(a: MaskExpr, b: MaskExpr): { guard: Formula; left: Linear; right: Linear }[] {
    const right = this.cases(b);
    return limited(this.cases(a).flatMap((x) => right.map((y) => ({ guard: all(x.guard, y.guard), left: x.value, right: y.value }))));
  }

  /** The unknown d with by·d <= x <= by·d + by - 1. */
  private quotient(x: Linear, by: number): Linear {
    if (x.terms.size === 0) return constantForm(Math.floor(x.constant / by));
    const name = `floor(${formKey(x)} / ${by})`;
    const d = unknown(name);
    if (!this.defined.has(name)) {
      this.defined.add(name);
      this.definitions.push(combine(by, d, -1, x), sum(combine(1, x, -by, d), constantForm(1 - by)));
    }
    return d;
  }
}

const opposite = { lt: 'ge', le: 'gt', gt: 'le', ge: 'lt', eq: 'ne', ne: 'eq' } as const;

const compare = (op: string, x: Linear, y: Linear): Formula => {
  const below = (a: Linear, b: Linear, by: number): Formula => nonPositive(sum(difference(a, b), constantForm(by)));
  switch (op) {
    case 'lt': return below(x, y, 1);
    case 'le': return below(x, y, 0);
    case 'gt': return below(y, x, 1);
    case 'ge': return below(y, x, 0);
    case 'eq': return all(below(x, y, 0), below(y, x, 0));
    case 'ne': return any(below(x, y, 1), below(y, x, 1));
    default: throw new Error(`'${op}' is no comparison.`);
  }
};

const product = (x: Linear, y: Linear): Linear => {
  if (x.terms.size === 0) return scale(x.constant, y);
  if (y.terms.size === 0) return scale(y.constant, x);
  return unknown([formKey(x), formKey(y)].sort().map((f) => `(${f})`).join('·'));
};

const limited = <T>(cases: T[]): T[] => {
  if (cases.length > maxCases) throw new TooComplex('The predicate branches too often.');
  return cases;
};

/**
 * Whether the formula that `build` makes can be true where all of `axioms` are `<= 0`. `false` is a proof, `true` says
 * that none was found (or that the formula is beyond the limits).
 */
export const satisfiable = (axioms: readonly Linear[], build: () => { formula: Formula; definitions: readonly Linear[] }): boolean => {
  let steps = 0;
  /** Depth first: take on everything that must hold, then try each way of the narrowest choice. */
  const search = (demands: readonly Formula[], facts: readonly Linear[]): boolean => {
    if (++steps > maxSteps) throw new TooComplex('The proof takes too many steps.');
    const known = [...facts];
    const choices: (Formula & { is: 'any' })[] = [];
    const take = (f: Formula): void => {
      if (f.is === 'nonPositive') known.push(f.form);
      else if (f.is === 'all') f.parts.forEach(take);
      else choices.push(f as Formula & { is: 'any' });
    };
    demands.forEach(take);
    if (!feasible(known)) return false;
    if (choices.length === 0) return true;
    const narrowest = choices.reduce((a, b) => (b.parts.length < a.parts.length ? b : a));
    const others = choices.filter((c) => c !== narrowest);
    return narrowest.parts.some((part) => search([part, ...others], known));
  };
  try {
    const { formula, definitions } = build();
    return search([formula], [...axioms, ...definitions]);
  } catch (error) {
    if (error instanceof TooComplex || error instanceof TooLarge) return true;
    throw error;
  }
};
