/** A predicate as a JavaScript function. */
import type { MaskExpr, MaskValue, Token } from './expr.ts';
import { operations } from './expr.ts';

export type TokenPredicate = (q: Token, k: Token) => boolean;

type Compiled = (q: Token, k: Token) => MaskValue;

/** Nested closures, built once: several times as fast as walking the tree for every pair. */
const compile = (e: MaskExpr): Compiled => {
  if (e.is === 'constant') { const { value } = e; return () => value; }
  if (e.is === 'variable') { const { field } = e; return e.token === 'q' ? (q) => q[field] : (_, k) => k[field]; }
  const [a, b, c] = e.args.map(compile) as [Compiled, Compiled, Compiled];
  switch (e.op) { // these three do not run what they do not need
    case 'and': return (q, k) => a(q, k) && b(q, k);
    case 'or': return (q, k) => a(q, k) || b(q, k);
    case 'if': return (q, k) => (a(q, k) ? b(q, k) : c(q, k));
  }
  const { run } = operations[e.op];
  return e.args.length === 1 ? (q, k) => run(a(q, k)) : (q, k) => run(a(q, k), b(q, k));
};

const cache = new WeakMap<MaskExpr, TokenPredicate>();

/** The predicate as a function of two tokens; made once for each expression. */
export const predicate = (expr: MaskExpr): TokenPredicate => {
  let f = cache.get(expr);
  if (!f) cache.set(expr, (f = compile(expr) as TokenPredicate));
  return f;
};

/** Whether query token `q` attends to key token `k`. */
export const evaluate = (expr: MaskExpr, q: Token, k: Token): boolean => predicate(expr)(q, k);
