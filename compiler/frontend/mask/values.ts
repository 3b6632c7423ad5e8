/**
 * What an expression of the author's source can stand for while a predicate is read.
 *
 * Reading is partial evaluation: whatever does not depend on the two tokens is computed now, with JavaScript's own
 * meaning, and functions are inlined where they are called; what remains is an expression of the mask language.
 */
import type { ArrowFunction, FunctionDeclaration, FunctionExpression, MethodDeclaration, Node } from 'ts-morph';
import type { MaskExpr, MaskKind, TokenName } from '../../ir/mask/index.ts';
import { bool, int, kind } from '../../ir/mask/index.ts';
import type { RunningFunction } from './running.ts';
import { at, MaskError } from './source.ts';

export type FunctionNode = ArrowFunction | FunctionDeclaration | FunctionExpression | MethodDeclaration;
export type Plain = number | boolean | string | undefined | null;

/** Names in reach: of a block, a call, a file. */
export interface Scope {
  /** The value of a name that stands at `node`; throws a MaskError if it has none that a mask can use. */
  lookup(name: string, node: Node): Value;
}

export type Value =
  /** Depends on the tokens. */
  | { readonly is: 'expr'; readonly expr: MaskExpr }
  /** Known now. */
  | { readonly is: 'plain'; readonly value: Plain }
  | { readonly is: 'token'; readonly token: TokenName }
  /** `a / b` before it is rounded. */
  | { readonly is: 'ratio'; readonly dividend: MaskExpr; readonly divisor: number }
  | { readonly is: 'list'; readonly items: readonly Value[] }
  | { readonly is: 'record'; readonly what: string; readonly get: (name: string) => Value | undefined }
  /** A function in source, with the names that it sees. */
  | { readonly is: 'function'; readonly node: FunctionNode; readonly scope: Scope }
  /** A function that was found as a value of the running program; its source is looked for when it is called. */
  | { readonly is: 'running'; readonly fn: RunningFunction }
  /** A function that this reader knows, such as Math.abs. */
  | { readonly is: 'known'; readonly name: string; readonly call: (args: readonly Value[], node: Node) => Value };

export const plain = (value: Plain): Value => ({ is: 'plain', value });
/** An expression; a constant becomes plain again, so that JavaScript goes on computing with it. */
export const symbolic = (expr: MaskExpr): Value => (expr.is === 'constant' ? plain(expr.value) : { is: 'expr', expr });

/** What a value is, for error messages. */
export const describeValue = (v: Value): string => {
  switch (v.is) {
    case 'expr': return { int: 'a number', bool: 'a boolean', kind: 'a kind of token' }[v.expr.type];
    case 'plain': return typeof v.value === 'string' ? `the text '${v.value}'` : String(v.value);
    case 'token': return `the token ${v.token === 'q' ? 'of the query' : 'of the key'}`;
    case 'ratio': return 'a fraction';
    case 'list': return 'a list';
    case 'record': return v.what;
    default: return 'a function';
  }
};

export const asExpr = (v: Value, kinds: readonly MaskKind[], node: Node): MaskExpr => {
  if (v.is === 'expr') return v.expr;
  if (v.is === 'plain') {
    const { value } = v;
    if (typeof value === 'boolean') return bool(value);
    if (typeof value === 'number') return at(node, () => int(value));
    if (typeof value === 'string') return at(node, () => kind(kinds, value));
  }
  if (v.is === 'ratio') throw new MaskError(node, 'A mask computes with whole numbers, and a quotient need not be one. Round it: Math.floor(a / b).');
  if (v.is === 'token') throw new MaskError(node, `This is a whole token. Use one of its fields: kind, pos, index, image${v.token === 'q' ? '' : ' (to ask for the same token, compare positions: k.pos === q.pos)'}.`);
  throw new MaskError(node, `A number, a boolean or a kind of token was expected here, but this is ${describeValue(v)}.`);
};

export const asBoolean = (v: Value, kinds: readonly MaskKind[], node: Node): MaskExpr => {
  const expr = asExpr(v, kinds, node);
  if (expr.type !== 'bool') throw new MaskError(node, `A boolean was expected here, but this is ${expr.type === 'int' ? 'a number; compare it: x !== 0' : "a kind of token; compare it: x === '…'"}.`);
  return expr;
};

/** What the parts of the reader ask of each other. */
export interface Reader {
  readonly kinds: readonly MaskKind[];
  /** The value of an expression. */
  evaluate(node: Node, scope: Scope): Value;
  /** What a function gives for these arguments; `node` is the call. */
  call(f: Value, args: readonly Value[], node: Node): Value;
  /** A value of the running program. */
  lift(value: unknown): Value;
  /** What a running function captured under this name, if anything. */
  captured(fn: RunningFunction, name: string): { readonly value: unknown } | undefined;
  /** Constants of modules that were read already; `reading` guards against cycles. */
  readonly constants: Map<Node, Value | 'reading'>;
}
