/** The text form of a predicate, as it stands in textual IR: `q.kind == text ? k.pos <= q.pos : k.pos == q.pos`. */
import type { MaskExpr, Op } from './expr.ts';
import { operations } from './expr.ts';

/** Names with a meaning of their own in the language; a kind of such a name is printed in quotes. */
export const reservedWords: readonly string[] = ['q', 'k', 'true', 'false', 'abs', 'min', 'max', 'floor'];

/** How tightly operators bind, as in JavaScript; a greater level binds tighter. Functions and leaves are tightest. */
const levels: Partial<Record<Op, number>> = {
  if: 1, or: 2, and: 3, eq: 4, ne: 4, lt: 5, le: 5, gt: 5, ge: 5, add: 6, sub: 6, mul: 7, mod: 7, not: 8, neg: 8,
};
const tightest = 9;

const levelOf = (e: MaskExpr): number => (e.is !== 'operation' ? tightest : (levels[e.op] ?? tightest));

/** The predicate as text, with as few parentheses as parse back to the same expression. */
export const printMaskExpr = (e: MaskExpr): string => {
  if (e.is === 'variable') return `${e.token}.${e.field}`;
  if (e.is === 'constant') return e.type === 'kind' ? printKind(e.value as string) : String(e.value);
  const { symbol } = operations[e.op];
  const level = levelOf(e);
  /** An operand, in parentheses unless it binds at least as tightly as `least`. */
  const operand = (i: number, least: number): string => {
    const text = printMaskExpr(e.args[i]!);
    return levelOf(e.args[i]!) >= least ? text : `(${text})`;
  };
  switch (e.op) {
    case 'abs': case 'min': case 'max':
      return `${symbol}(${e.args.map(printMaskExpr).join(', ')})`;
    case 'div':
      return `floor(${operand(0, levels.mul!)} / ${operand(1, levels.neg!)})`;
    case 'not': case 'neg':
      return symbol + operand(0, level);
    case 'if':
      return `${operand(0, level + 1)} ? ${operand(1, level)} : ${operand(2, level)}`;
    default:
      return `${operand(0, level)} ${symbol} ${operand(1, level + 1)}`; // binary operators lean to the left
  }
};

const printKind = (name: string): string =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !reservedWords.includes(name) ? name : JSON.stringify(name);
