/**
 * The mask language: predicates over a query token `q` and a key token `k`.
 *
 * A mask says which keys a query attends to. It is a closed expression over the four things known of each token before
 * the model runs, integer and kind constants, and the operations of the table below. That is little enough to prove
 * theorems about (prove.ts), to bound over blocks (interval.ts) and to print as WGSL, and enough to say causal, prefix,
 * sliding-window, per-image and strided masks.
 *
 * Expressions are immutable, typed, and made by `apply`, which checks types and folds constants: an expression that
 * exists is well formed, and building it again from its own parts gives it back (so printing and parsing is lossless).
 */
import { UserError } from '../errors.ts';
import { suggest } from '../spelling.ts';

/** A kind of token in a sequence. Tokens of a kind with images come in images; the others stand in runs (of text). */
export interface MaskKind {
  readonly name: string;
  readonly hasImages: boolean;
}

/**
 * What a mask may ask of a token. A *segment* is one image's tokens or one run of text: consecutive positions, one kind.
 * - `kind`: the name of its kind
 * - `pos`: position in the sequence, from 0
 * - `index`: position within its own segment, from 0
 * - `image`: number of its image in the sequence, from 0; -1 for kinds without images
 */
export interface Token {
  readonly kind: string;
  readonly pos: number;
  readonly index: number;
  readonly image: number;
}

export const tokenNames = ['q', 'k'] as const;
export const tokenFields = ['kind', 'pos', 'index', 'image'] as const;
export type TokenName = (typeof tokenNames)[number];
export type TokenField = (typeof tokenFields)[number];

export type MaskType = 'int' | 'bool' | 'kind';
export type MaskValue = number | boolean | string;

export interface Constant {
  readonly is: 'constant';
  readonly type: MaskType;
  readonly value: MaskValue;
  /** Of a kind: its place in the sequence's declaration, which is what kernels and intervals compare. */
  readonly ordinal?: number;
}
export interface Variable {
  readonly is: 'variable';
  readonly type: MaskType;
  readonly token: TokenName;
  readonly field: TokenField;
}
export interface Operation {
  readonly is: 'operation';
  readonly type: MaskType;
  readonly op: Op;
  readonly args: readonly MaskExpr[];
}
export type MaskExpr = Constant | Variable | Operation;

interface OpRule {
  /** How it is written in text and in error messages. */
  readonly symbol: string;
  /** Types of its operands; `any` stands for one type, the same in every `any` operand and result. */
  readonly takes: readonly (MaskType | 'any')[];
  readonly gives: MaskType | 'any';
  readonly run: (...args: MaskValue[]) => MaskValue;
}
const rule = (symbol: string, takes: OpRule['takes'], gives: OpRule['gives'], run: (a: number, b: number, c: number) => number | boolean): OpRule =>
  ({ symbol, takes, gives, run: run as unknown as OpRule['run'] });

/** Every operation: how it is written, its type, and what it means. */
export const operations = {
  neg: rule('-', ['int'], 'int', (a) => -a),
  abs: rule('abs', ['int'], 'int', (a) => Math.abs(a)),
  add: rule('+', ['int', 'int'], 'int', (a, b) => a + b),
  sub: rule('-', ['int', 'int'], 'int', (a, b) => a - b),
  mul: rule('*', ['int', 'int'], 'int', (a, b) => a * b),
  /** Division rounded down: floor(-1 / 2) is -1. The divisor is a constant other than 0. */
  div: rule('floor', ['int', 'int'], 'int', (a, b) => Math.floor(a / b)),
  /** Remainder with the sign of the dividend, as `%` in JavaScript and WGSL: -1 % 2 is -1. Divisor as for `div`. */
  mod: rule('%', ['int', 'int'], 'int', (a, b) => a % b),
  min: rule('min', ['int', 'int'], 'int', (a, b) => Math.min(a, b)),
  max: rule('max', ['int', 'int'], 'int', (a, b) => Math.max(a, b)),
  lt: rule('<', ['int', 'int'], 'bool', (a, b) => a < b),
  le: rule('<=', ['int', 'int'], 'bool', (a, b) => a <= b),
  gt: rule('>', ['int', 'int'], 'bool', (a, b) => a > b),
  ge: rule('>=', ['int', 'int'], 'bool', (a, b) => a >= b),
  eq: rule('==', ['any', 'any'], 'bool', (a, b) => a === b),
  ne: rule('!=', ['any', 'any'], 'bool', (a, b) => a !== b),
  not: rule('!', ['bool'], 'bool', (a) => !a),
  and: rule('&&', ['bool', 'bool'], 'bool', (a, b) => a && b),
  or: rule('||', ['bool', 'bool'], 'bool', (a, b) => a || b),
  if: rule('? :', ['bool', 'any', 'any'], 'any', (a, b, c) => (a ? b : c)),
} satisfies Record<string, OpRule>;
export type Op = keyof typeof operations;

const typeNames: Record<MaskType, string> = { int: 'an integer', bool: 'a boolean', kind: 'a kind of token' };
const ordinals = ['first', 'second', 'third'];

/** The values of 32-bit integers, which is what the kernels compute with. */
export const isInt32 = (n: number): boolean => Number.isInteger(n) && n >= -(2 ** 31) && n < 2 ** 31;

export const int = (value: number): Constant => {
  if (!isInt32(value)) throw new UserError(`A mask computes with 32-bit integers, and ${value} is none. Use a whole number between -2147483648 and 2147483647.`);
  return { is: 'constant', type: 'int', value: value + 0 }; // -0 + 0 is 0
};
export const bool = (value: boolean): Constant => ({ is: 'constant', type: 'bool', value });
export const always = bool(true);
export const never = bool(false);

/** The constant for a kind of the sequence. */
export const kind = (kinds: readonly MaskKind[], name: string): Constant => {
  const ordinal = kinds.findIndex((k) => k.name === name);
  if (ordinal < 0) throw new UserError(`The sequence has no kind '${name}'.${suggest(name, kinds.map((k) => k.name), 'Its kinds are')}`);
  return { is: 'constant', type: 'kind', value: name, ordinal };
};

export const variable = (token: TokenName, field: TokenField): Variable => ({ is: 'variable', type: field === 'kind' ? 'kind' : 'int', token, field });

/** `q.pos`, `k.kind` and so on, as expressions. */
const fieldsOf = (token: TokenName): Readonly<Record<TokenField, Variable>> =>
  ({ kind: variable(token, 'kind'), pos: variable(token, 'pos'), index: variable(token, 'index'), image: variable(token, 'image') });
export const q = fieldsOf('q');
export const k = fieldsOf('k');

const checkTypes = (op: Op, args: readonly MaskExpr[]): MaskType => {
  const { symbol, takes, gives }: OpRule = operations[op];
  if (args.length !== takes.length) throw new UserError(`'${symbol}' takes ${takes.length} operand${takes.length === 1 ? '' : 's'}, but was given ${args.length}.`);
  let any: MaskType | undefined;
  takes.forEach((want, i) => {
    const given = args[i]!.type;
    const expected = want === 'any' ? (any ??= given) : want;
    if (given !== expected) throw new UserError(`'${symbol}' takes ${typeNames[expected]} as its ${ordinals[i]} operand, but was given ${typeNames[given]}.`);
  });
  return gives === 'any' ? any! : gives;
};

const divisor = (op: 'div' | 'mod', e: MaskExpr): number => {
  if (e.is !== 'constant' || e.value === 0) throw new UserError(`'${op === 'div' ? '/' : '%'}' needs a constant other than 0 as its divisor, but was given ${e.is === 'constant' ? '0' : 'a value that depends on the tokens'}.`);
  return e.value as number;
};

/** The expression `op(args)`, with its types checked and constants folded. Throws a UserError that says what was expected. */
export const apply = (op: Op, ...args: MaskExpr[]): MaskExpr => {
  const type = checkTypes(op, args);
  const [a, b, c] = args as [MaskExpr, MaskExpr, MaskExpr];
  const make = (): MaskExpr => ({ is: 'operation', type, op, args });
  if (op === 'div' || op === 'mod') divisor(op, b);
  if (args.every((x) => x.is === 'constant')) return constantOf(type, operations[op].run(...args.map((x) => (x as Constant).value)), args);
  switch (op) {
    case 'not': case 'neg':
      return isOp(a, op) ? a.args[0]! : make();
    case 'and': case 'or': {
      const neutral = op === 'and';
      if (a.is === 'constant') return a.value === neutral ? b : a;
      if (b.is === 'constant') return b.value === neutral ? a : b;
      // Chains lean to the left, so that `x && (y && z)` has one form.
      return isOp(b, op) ? apply(op, apply(op, a, b.args[0]!), b.args[1]!) : make();
    }
    case 'if':
      if (a.is === 'constant') return a.value ? b : c;
      return sameExpr(b, c) ? b : make();
    case 'div': {
      const d = divisor(op, b);
      return d < 0 ? apply('div', apply('neg', a), int(-d)) : d === 1 ? a : make();
    }
    case 'mod': {
      const d = divisor(op, b);
      return d < 0 ? apply('mod', a, int(-d)) : d === 1 ? int(0) : make();
    }
    default:
      return make();
  }
};

const constantOf = (type: MaskType, value: MaskValue, args: readonly MaskExpr[]): MaskExpr => {
  if (type === 'int') return int(value as number);
  if (type === 'bool') return bool(value as boolean);
  return args.find((x) => x.is === 'constant' && x.type === 'kind' && x.value === value)!;
};

export const isOp = <O extends Op>(e: MaskExpr, op: O): e is Operation & { readonly op: O } => e.is === 'operation' && e.op === op;
export const not = (a: MaskExpr): MaskExpr => apply('not', a);
export const and = (...all: readonly MaskExpr[]): MaskExpr => all.reduce((a, b) => apply('and', a, b), always);
export const or = (...all: readonly MaskExpr[]): MaskExpr => all.reduce((a, b) => apply('or', a, b), never);

/** Structural equality. */
export const sameExpr = (a: MaskExpr, b: MaskExpr): boolean => {
  if (a === b) return true;
  if (a.is === 'constant') return b.is === 'constant' && a.type === b.type && a.value === b.value;
  if (a.is === 'variable') return b.is === 'variable' && a.token === b.token && a.field === b.field;
  return b.is === 'operation' && a.op === b.op && a.args.every((x, i) => sameExpr(x, b.args[i]!));
};

/** Rebuilds an expression from the leaves up, with `leaf` in place of its variables. */
export const substitute = (e: MaskExpr, leaf: (v: Variable) => MaskExpr): MaskExpr =>
  e.is === 'constant' ? e : e.is === 'variable' ? leaf(e) : apply(e.op, ...e.args.map((x) => substitute(x, leaf)));
