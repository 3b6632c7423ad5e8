/**
 * From the predicate that an author wrote to an expression of the mask language.
 *
 * The running function is found in the author's source, its source is read (reader.ts), and what was read is tried
 * against the function itself (check.ts). Nothing is taken from `Function.toString()`, which shows what a translator
 * left over, and not what the names in it stand for.
 */
import type { SourcePos } from '../../ir/errors.ts';
import { UserError } from '../../ir/errors.ts';
import type { MaskExpr, MaskKind, Token } from '../../ir/mask/index.ts';
import { findOverflow, maxTokens, printMaskExpr, simplify } from '../../ir/mask/index.ts';
import type { Node } from 'ts-morph';
import { disagreement } from './check.ts';
import { functionSource, maskCallAt } from './find.ts';
import { MaskReader } from './reader.ts';
import type { RunningFunction } from './running.ts';
import { inspector } from './running.ts';
import { OuterScope } from './scope.ts';
import { MaskError } from './source.ts';
import type { Value } from './values.ts';
import { asBoolean } from './values.ts';

/** A mask to read: the function that was given to mask(), with what it was given besides. */
export interface MaskSource {
  readonly fn: (...args: never[]) => unknown;
  /** The sequence's kinds, in the order of its declaration. */
  readonly kinds: readonly MaskKind[];
  /** Where mask() was called. */
  readonly where?: SourcePos;
  /** The third argument of the predicate. */
  readonly parameters?: Readonly<Record<string, number | boolean | string>>;
}

/**
 * The mask's predicate as an expression, simplified. Throws a MaskError that shows the author's line if the predicate
 * uses what the language lacks, or does something else than its source says.
 */
export const lowerMask = (source: MaskSource): MaskExpr => {
  const reader = new MaskReader(source.kinds, inspector());
  const { predicate, node } = findPredicate(reader, source);
  const tokens: Value[] = [{ is: 'token', token: 'q' }, { is: 'token', token: 'k' }, reader.lift(source.parameters ?? {})];
  const expr = simplify(asBoolean(reader.call(predicate, tokens, node), source.kinds, node));
  checkSize(expr, node);
  checkAgainstFunction(expr, source, node);
  return expr;
};

const findPredicate = (reader: MaskReader, { fn, where }: MaskSource): { predicate: Value; node: Node } => {
  const running = fn as RunningFunction;
  const source = functionSource(running, inspector());
  if (source) return { predicate: { is: 'function', node: source, scope: new OuterScope(reader, source, running) }, node: source };
  const argument = where && maskCallAt(where);
  if (!argument) throw new UserError('The source of this mask was not found. A mask is read from the TypeScript or JavaScript file that declares it: keep that file where it was when the program was started, and let source maps be inline or beside the script.', where);
  return { predicate: reader.evaluate(argument, new OuterScope(reader, argument, running)), node: argument };
};

const checkSize = (expr: MaskExpr, node: Node): void => {
  const part = findOverflow(expr);
  if (part) throw new MaskError(node, `'${printMaskExpr(part)}' can leave the range of 32-bit integers, with which the kernels compute, on a prompt of up to ${maxTokens} tokens. Compare smaller numbers: differences of positions, say, instead of products.`);
};

const checkAgainstFunction = (expr: MaskExpr, { fn, kinds, parameters }: MaskSource, node: Node): void => {
  const run = (q: Token, k: Token): unknown => (fn as (...args: unknown[]) => unknown)(q, k, parameters ?? {});
  const found = disagreement(expr, run, kinds);
  if (!found) return;
  const pair = `for q = ${show(found.q)} and k = ${show(found.k)}`;
  if (found.is === 'thrown') throw new MaskError(node, `The predicate throws ${pair}: ${String(found.error)}`, '', { cause: found.error });
  if (found.is === 'no boolean') throw new MaskError(node, `A mask's predicate returns true or false, but ${pair} it returns ${String(found.value)}.`);
  throw new MaskError(node, `The predicate was read as\n\n  ${printMaskExpr(expr)}\n\nwhich is ${found.read} ${pair}, where the function returns ${found.run}. Either it depends on more than its tokens, or the compiler is at fault; in that case please report it.`);
};

const show = (t: Token): string => `{ kind: '${t.kind}', pos: ${t.pos}, index: ${t.index}, image: ${t.image} }`;
