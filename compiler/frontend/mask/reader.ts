/** Reads expressions of the author's source: one case for each construct that a mask can use, an error for every other. */
import type { Expression } from 'ts-morph';
import { Node } from 'ts-morph';
import type { MaskKind } from '../../ir/mask/index.ts';
import { and, or } from '../../ir/mask/index.ts';
import { isMask } from '../../dsl/mask.ts';
import { functionSource } from './find.ts';
import { allOfMasks, knownMask } from './masks.ts';
import { binaryValues, choose, unaryValue } from './operators.ts';
import { bindPattern } from './patterns.ts';
import { elementOf, propertyOf } from './properties.ts';
import type { Inspector, RunningFunction } from './running.ts';
import { LocalScope, OuterScope } from './scope.ts';
import { MaskError, unsupported } from './source.ts';
import { runStatements } from './statements.ts';
import type { FunctionNode, Reader, Scope, Value } from './values.ts';
import { asBoolean, describeValue, plain, symbolic } from './values.ts';

/** Calls within calls; more is a recursion, which a mask cannot have. */
const maxDepth = 64;
/** The whole predicate, counted in constructs read; a thousand times what people write. */
const maxSteps = 200_000;

export class MaskReader implements Reader {
  readonly constants = new Map<Node, Value | 'reading'>();
  private depth = 0;
  private steps = 0;
  constructor(readonly kinds: readonly MaskKind[], private readonly inspector: Inspector | undefined) {}

  captured(fn: RunningFunction, name: string): { readonly value: unknown } | undefined { return this.inspector?.captured(fn, name); }

  lift(value: unknown): Value {
    if (isMask(value)) {
      const { definition } = value;
      if (definition.is === 'all') return allOfMasks(this, definition.parts.map((m) => this.lift(m)));
      return knownMask(this, { is: 'running', fn: definition.fn }, definition.parameters && this.lift(definition.parameters));
    }
    if (typeof value === 'function') return { is: 'running', fn: value as RunningFunction };
    if (Array.isArray(value)) return { is: 'list', items: value.map((x) => this.lift(x)) };
    if (typeof value === 'object' && value !== null)
      return { is: 'record', what: `an object${value.constructor && value.constructor !== Object ? ` of class ${value.constructor.name}` : ''}`, get: (name) => (Object.hasOwn(value, name) ? this.lift((value as Record<string, unknown>)[name]) : undefined) };
    if (typeof value === 'bigint' || typeof value === 'symbol') return { is: 'record', what: `a ${typeof value}`, get: () => undefined };
    return plain(value as number);
  }

  call(f: Value, args: readonly Value[], node: Node): Value {
    if (f.is === 'known') return f.call(args, node);
    if (f.is === 'running') {
      const source = functionSource(f.fn, this.inspector);
      if (!source) return unsupported(node, `The source of the function${f.fn.name && ` '${f.fn.name}'`} could not be found.`);
      return this.inline(source, args, new OuterScope(this, source, f.fn), node);
    }
    if (f.is === 'function') return this.inline(f.node, args, f.scope, node);
    throw new MaskError(node, `A function was expected here, but this is ${describeValue(f)}.`);
  }

  /** The value of a function's body with its parameters bound: the function is written out where it is called. */
  private inline(f: FunctionNode, args: readonly Value[], around: Scope, node: Node): Value {
    if (f.isAsync() || (!Node.isArrowFunction(f) && f.isGenerator())) return unsupported(f, 'A mask is a plain function, neither async nor a generator.');
    if (++this.depth > maxDepth) throw new MaskError(node, 'This function calls itself, or calls go too deep. A mask has no recursion.');
    try {
      const scope = new LocalScope(around);
      f.getParameters().forEach((p, i) => {
        let value: Value = p.isRestParameter() ? { is: 'list', items: args.slice(i) } : args[i] ?? plain(undefined);
        const initial = p.getInitializer();
        if (value.is === 'plain' && value.value === undefined && initial) value = this.evaluate(initial, scope);
        bindPattern(this, p.getNameNode(), value, scope, scope);
      });
      const body = f.getBody();
      if (!Node.isBlock(body)) return this.evaluate(body!, scope);
      return runStatements(this, body.getStatements(), scope, () => undefined) ?? unsupported(f, 'This function ends without returning a value.');
    } finally {
      this.depth--;
    }
  }

  evaluate(e: Node, scope: Scope): Value {
    if (++this.steps > maxSteps) throw new MaskError(e, 'The predicate is too large once its functions are written out.');
    if (Node.isParenthesizedExpression(e) || Node.isAsExpression(e) || Node.isSatisfiesExpression(e) || Node.isNonNullExpression(e) || Node.isTypeAssertion(e))
      return this.evaluate(e.getExpression(), scope);
    if (Node.isNumericLiteral(e)) return plain(e.getLiteralValue());
    if (Node.isStringLiteral(e) || Node.isNoSubstitutionTemplateLiteral(e)) return plain(e.getLiteralText());
    if (Node.isTrueLiteral(e)) return plain(true);
    if (Node.isFalseLiteral(e)) return plain(false);
    if (Node.isNullLiteral(e)) return plain(null);
    if (Node.isIdentifier(e)) return scope.lookup(e.getText(), e);
    if (Node.isArrowFunction(e) || Node.isFunctionExpression(e)) return { is: 'function', node: e, scope };
    if (Node.isPropertyAccessExpression(e) && !e.hasQuestionDotToken()) return propertyOf(this, this.evaluate(e.getExpression(), scope), e.getName(), e);
    if (Node.isElementAccessExpression(e) && !e.hasQuestionDotToken()) return elementOf(this, this.evaluate(e.getExpression(), scope), this.evaluate(e.getArgumentExpressionOrThrow(), scope), e);
    if (Node.isPrefixUnaryExpression(e)) return this.prefix(e, e.getText(), e.getOperand(), scope);
    if (Node.isBinaryExpression(e)) return this.binary(e, e.getOperatorToken().getText(), e.getLeft(), e.getRight(), scope);
    if (Node.isConditionalExpression(e)) {
      const test = this.evaluate(e.getCondition(), scope);
      if (test.is === 'plain') return this.evaluate(test.value ? e.getWhenTrue() : e.getWhenFalse(), scope);
      return choose(this, asBoolean(test, this.kinds, e.getCondition()), this.evaluate(e.getWhenTrue(), scope), this.evaluate(e.getWhenFalse(), scope), e);
    }
    if (Node.isCallExpression(e) && !e.hasQuestionDotToken()) return this.call(this.evaluate(e.getExpression(), scope), this.items(e.getArguments(), scope), e);
    if (Node.isArrayLiteralExpression(e)) return { is: 'list', items: this.items(e.getElements(), scope) };
    if (Node.isObjectLiteralExpression(e)) return this.object(e, scope);
    return unsupported(e, `A mask cannot contain ${describe(e)}.`);
  }

  /** Arguments or elements, with `...list` spread out. */
  private items(nodes: readonly Node[], scope: Scope): Value[] {
    return nodes.flatMap((n) => {
      if (!Node.isSpreadElement(n)) return [this.evaluate(n, scope)];
      const list = this.evaluate(n.getExpression(), scope);
      return list.is === 'list' ? list.items : unsupported(n, 'A mask can spread only a list.');
    });
  }

  private prefix(e: Node, text: string, operand: Expression, scope: Scope): Value {
    const op = /^(\+\+|--|[-+!~])/.exec(text)![0];
    return op.length === 2 ? unsupported(e, 'A mask changes nothing: it cannot contain an assignment.') : unaryValue(this, op, this.evaluate(operand, scope), e);
  }

  private binary(e: Node, op: string, left: Expression, right: Expression, scope: Scope): Value {
    if (op.endsWith('=') && !['==', '===', '!=', '!==', '<=', '>='].includes(op)) return unsupported(e, 'A mask changes nothing: it cannot contain an assignment.');
    const a = this.evaluate(left, scope);
    if (op === '&&' || op === '||') {
      if (a.is === 'plain') return (op === '&&') === Boolean(a.value) ? this.evaluate(right, scope) : a;
      const x = asBoolean(a, this.kinds, left);
      const b = this.evaluate(right, scope);
      return symbolic((op === '&&' ? and : or)(x, asBoolean(b, this.kinds, right)));
    }
    if (op === '??') return a.is === 'plain' && (a.value === undefined || a.value === null) ? this.evaluate(right, scope) : a;
    return binaryValues(this, op, a, this.evaluate(right, scope), e);
  }

  private object(e: Node & { getProperties(): Node[] }, scope: Scope): Value {
    const members = new Map<string, () => Value>();
    for (const p of e.getProperties()) {
      if (Node.isPropertyAssignment(p) && !Node.isComputedPropertyName(p.getNameNode())) {
        const key = p.getNameNode();
        members.set(Node.isStringLiteral(key) ? key.getLiteralText() : key.getText(), () => this.evaluate(p.getInitializerOrThrow(), scope));
      } else if (Node.isShorthandPropertyAssignment(p)) members.set(p.getName(), () => scope.lookup(p.getName(), p));
      else if (Node.isMethodDeclaration(p)) members.set(p.getName(), () => ({ is: 'function', node: p, scope }));
      else return unsupported(p, 'A mask can read only objects with plain properties.');
    }
    return { is: 'record', what: 'an object', get: (name) => members.get(name)?.() };
  }
}

/** A construct by its name. */
const describe = (e: Node): string => {
  if (Node.isNewExpression(e)) return `'new ${e.getExpression().getText()}'`;
  if (Node.isThisExpression(e)) return "'this'; copy what it needs into a const";
  if (Node.isAwaitExpression(e)) return "'await'";
  if (Node.isTypeOfExpression(e)) return "'typeof'";
  if (Node.isPostfixUnaryExpression(e)) return 'an assignment: it changes nothing';
  if (Node.isTemplateExpression(e)) return 'a text put together';
  if (Node.isRegularExpressionLiteral(e)) return 'a regular expression';
  if (Node.isBigIntLiteral(e)) return 'a bigint; write a number';
  if (Node.isPropertyAccessExpression(e) || Node.isElementAccessExpression(e) || Node.isCallExpression(e)) return "'?.'; its values are always there";
  return `'${e.getText().split('\n')[0]!.slice(0, 60)}'`;
};
