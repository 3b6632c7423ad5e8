/** Equal but shorter predicates, by local rules; and what is left of a mask once the two kinds are known. */
import type { MaskExpr, MaskKind, Operation } from './expr.ts';
import { always, and, apply, bool, int, isOp, kind, never, not, or, sameExpr, substitute } from './expr.ts';
import { linearise, unknown } from './linear.ts';
import { printMaskExpr } from './print.ts';

const opposites = { lt: 'ge', le: 'gt', gt: 'le', ge: 'lt', eq: 'ne', ne: 'eq' } as const;
const isComparison = (e: MaskExpr): e is Operation & { readonly op: keyof typeof opposites } => e.is === 'operation' && e.op in opposites;
const isInt = (e: MaskExpr, value: number): boolean => e.is === 'constant' && e.type === 'int' && e.value === value;
const isBool = (e: MaskExpr, value: boolean): boolean => e.is === 'constant' && e.type === 'bool' && e.value === value;
const contradict = (a: MaskExpr, b: MaskExpr): boolean => sameExpr(negated(a), b);
/** `!a`, as the opposite comparison where `a` is one. */
const negated = (a: MaskExpr): MaskExpr => (isComparison(a) ? apply(opposites[a.op], ...a.args) : not(a));
const chain = (op: 'and' | 'or', e: MaskExpr): readonly MaskExpr[] => (isOp(e, op) ? [...chain(op, e.args[0]!), e.args[1]!] : [e]);

/** One step at the root of an expression whose parts are simple already; the expression itself if no rule applies. */
const rewrite = (e: MaskExpr): MaskExpr => {
  if (e.is !== 'operation') return e;
  const [a, b, c] = e.args as [MaskExpr, MaskExpr, MaskExpr];
  switch (e.op) {
    case 'add': return isInt(a, 0) ? b : isInt(b, 0) ? a : e;
    case 'sub': return isInt(b, 0) ? a : sameExpr(a, b) ? int(0) : e;
    case 'mul': return isInt(a, 0) || isInt(b, 0) ? int(0) : isInt(a, 1) ? b : isInt(b, 1) ? a : e;
    case 'min': case 'max': return sameExpr(a, b) ? a : e;
    case 'not': return negated(a);
    case 'and': case 'or': {
      const parts = chain(e.op, a);
      if (parts.some((x) => sameExpr(x, b))) return a;
      return parts.some((x) => contradict(x, b)) ? bool(e.op === 'or') : e;
    }
    case 'if': {
      if (isOp(a, 'not')) return apply('if', a.args[0]!, c, b);
      if (isOp(c, 'if') && sameExpr(c.args[1]!, b)) return apply('if', or(a, c.args[0]!), b, c.args[2]!);
      if (e.type !== 'bool') return e;
      if (isOp(c, 'and') && sameExpr(c.args[1]!, b)) return and(or(a, c.args[0]!), b);
      if (isBool(b, true)) return or(a, c);
      if (isBool(b, false)) return and(negated(a), c);
      if (isBool(c, true)) return or(negated(a), b);
      return isBool(c, false) ? and(a, b) : e;
    }
    case 'eq': case 'ne': case 'lt': case 'le': case 'gt': case 'ge': return rewriteComparison(e, a, b);
    default: return e;
  }
};

const rewriteComparison = (e: Operation, a: MaskExpr, b: MaskExpr): MaskExpr => {
  if (a.type === 'bool') {
    const [constant, other] = a.is === 'constant' ? [a, b] : [b, a];
    if (constant.is === 'constant') return (e.op === 'eq') === constant.value ? other : negated(other);
  }
  if (sameExpr(a, b)) return bool(['eq', 'le', 'ge'].includes(e.op));
  // A choice between constants, compared with a constant: `(c ? visual : text) == text`.
  for (const [choice, constant] of [[a, b], [b, a]] as const) {
    if (constant.is !== 'constant' || !isOp(choice, 'if')) continue;
    const [test, x, y] = choice.args as [MaskExpr, MaskExpr, MaskExpr];
    if (x.is === 'constant' && y.is === 'constant') return apply('if', test, ...[x, y].map((v) => (choice === a ? apply(e.op, v, b) : apply(e.op, a, v))));
  }
  if (a.type === 'int') {
    const form = linearise(apply('sub', a, b), (x) => unknown(printMaskExpr(x)));
    if (form.terms.size === 0) return apply(e.op, int(Math.sign(form.constant)), int(0));
  }
  return e;
};

/** An equal expression, as short as local rules make it. */
export const simplify = (e: MaskExpr): MaskExpr => {
  const parts = e.is === 'operation' ? apply(e.op, ...e.args.map(simplify)) : e;
  const next = rewrite(parts);
  return next === parts || sameExpr(next, parts) ? parts : simplify(next);
};

/** The mask for queries of one kind and keys of another, simplified: kinds are constants, and so is `image` for kinds without images. */
export const specialise = (expr: MaskExpr, queryKind: string, keyKind: string, kinds: readonly MaskKind[]): MaskExpr =>
  simplify(substitute(expr, (v) => {
    const name = v.token === 'q' ? queryKind : keyKind;
    const constant = kind(kinds, name);
    if (v.field === 'kind') return constant;
    return v.field === 'image' && !kinds[constant.ordinal!]!.hasImages ? int(-1) : v;
  }));

/** The predicate as a constant, if simplifying shows that it is one. */
export const constantValue = (e: MaskExpr): boolean | undefined => (sameExpr(e, always) ? true : sameExpr(e, never) ? false : undefined);
