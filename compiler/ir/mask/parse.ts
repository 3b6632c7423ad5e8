/** Reads the text form of a predicate (print.ts writes it). Grammar and precedence are JavaScript's, less most of it. */
import type { IParserErrorMessageProvider, IToken, TokenType } from 'chevrotain';
import { createToken, EmbeddedActionsParser, EOF, Lexer, tokenLabel } from 'chevrotain';
import type { SourcePos } from '../errors.ts';
import { UserError } from '../errors.ts';
import type { MaskExpr, MaskKind, Op, TokenField, TokenName } from './expr.ts';
import { apply, bool, int, kind, tokenFields, variable } from './expr.ts';

const word = createToken({ name: 'Word', pattern: /[A-Za-z_][A-Za-z0-9_]*/, label: 'the name of a kind' });
const keyword = (text: string): TokenType => createToken({ name: text, pattern: text, longer_alt: word, label: `'${text}'` });
const symbol = (text: string, categories?: TokenType): TokenType => createToken({ name: text, pattern: text, ...(categories && { categories }), label: `'${text}'` });
const category = (label: string): TokenType => createToken({ name: label, pattern: Lexer.NA, label });

const equality = category("'==' or '!='");
const relation = category("'<', '<=', '>' or '>='");
const additive = category("'+' or '-'");
const multiplicative = category("'*' or '%'");

const space = createToken({ name: 'Space', pattern: /\s+/, group: Lexer.SKIPPED });
const field = createToken({ name: 'Field', pattern: /[qk]\.[A-Za-z0-9_]*/, label: "a field of 'q' or 'k'" });
const integer = createToken({ name: 'Integer', pattern: /[0-9]+/, label: 'an integer' });
const quoted = createToken({ name: 'Quoted', pattern: /"(?:[^"\\]|\\.)*"/, label: 'the name of a kind' });
const [yes, no, abs, min, max, floor] = ['true', 'false', 'abs', 'min', 'max', 'floor'].map(keyword) as [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];
const or = symbol('||');
const and = symbol('&&');
const [le, ge] = [symbol('<=', relation), symbol('>=', relation)];
const [eq, ne] = [symbol('==', equality), symbol('!=', equality)];
const [lt, gt] = [symbol('<', relation), symbol('>', relation)];
const [plus, minus] = [symbol('+', additive), symbol('-', additive)];
const [times, percent] = [symbol('*', multiplicative), symbol('%', multiplicative)];
const [slash, bang, question, colon, comma, open, close] = ['/', '!', '?', ':', ',', '(', ')'].map((s) => symbol(s)) as [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];

const tokens = [
  space, field, integer, quoted, yes, no, abs, min, max, floor, word, equality, relation, additive, multiplicative,
  or, and, le, ge, eq, ne, lt, gt, plus, minus, times, percent, slash, bang, question, colon, comma, open, close,
];
const lexer = new Lexer(tokens, { positionTracking: 'full' });

const binaryOps: Readonly<Record<string, Op>> =
  { '||': 'or', '&&': 'and', '==': 'eq', '!=': 'ne', '<': 'lt', '<=': 'le', '>': 'gt', '>=': 'ge', '+': 'add', '-': 'sub', '*': 'mul', '%': 'mod' };

const found = (token: IToken): string => (token.tokenType === EOF ? 'the end of the mask' : `'${token.image}'`);
const hint = (token: IToken): string => (token.tokenType === slash ? ' Division is written floor(a / b).' : '');
const sentence = (expected: string, token: IToken): string => `Expected ${expected}, but found ${found(token)}.${hint(token)}`;
const errors: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected, actual }) => sentence(tokenLabel(expected), actual),
  buildNotAllInputParsedMessage: ({ firstRedundant }) => sentence('an operator or the end of the mask', firstRedundant),
  buildNoViableAltMessage: ({ actual }) => sentence('a value (a field of q or k, a number, a kind, a call or parentheses)', actual[0]!),
  buildEarlyExitMessage: ({ actual }) => sentence('a value', actual[0]!),
};

/** A problem at a token; `parseMaskExpr` adds the place. */
class AtToken extends Error {
  constructor(message: string, readonly token: IToken) { super(message); }
}
const at = (token: IToken, build: () => MaskExpr): MaskExpr => {
  try {
    return build();
  } catch (error) {
    throw error instanceof UserError ? new AtToken(error.reason, token) : error;
  }
};

type Rule = (idx?: number) => MaskExpr;

class MaskParser extends EmbeddedActionsParser {
  kinds: readonly MaskKind[] = [];
  readonly mask: Rule;

  constructor() {
    super(tokens, { errorMessageProvider: errors, recoveryEnabled: false });
    const expression = this.RULE('expression', (): MaskExpr => {
      const test = this.SUBRULE(either);
      return this.OPTION(() => {
        const mark = this.CONSUME(question);
        const yes = this.SUBRULE2(expression);
        this.CONSUME(colon);
        const no = this.SUBRULE3(expression);
        return this.ACTION(() => at(mark, () => apply('if', test, yes, no)));
      }) ?? test;
    }) as Rule;
    this.mask = expression;

    /** `next (operator next)*`, leaning to the left. */
    const chain = (name: string, operator: TokenType, next: Rule): Rule => this.RULE(name, (): MaskExpr => {
      let left = this.SUBRULE(next);
      this.MANY(() => {
        const mark = this.CONSUME(operator);
        const right = this.SUBRULE2(next);
        left = this.ACTION(() => at(mark, () => apply(binaryOps[mark.image]!, left, right)));
      });
      return left;
    }) as Rule;

    const primary = this.RULE('primary', (): MaskExpr => this.OR([
      { ALT: () => { const t = this.CONSUME(field); return this.ACTION(() => at(t, () => this.fieldOf(t))); } },
      { ALT: () => { const t = this.CONSUME(integer); return this.ACTION(() => at(t, () => int(Number(t.image)))); } },
      { ALT: () => { this.CONSUME(yes); return bool(true); } },
      { ALT: () => { this.CONSUME(no); return bool(false); } },
      { ALT: () => { const t = this.CONSUME(word); return this.ACTION(() => at(t, () => this.kindOf(t.image))); } },
      { ALT: () => { const t = this.CONSUME(quoted); return this.ACTION(() => at(t, () => kind(this.kinds, JSON.parse(t.image) as string))); } },
      { ALT: () => this.call('abs', this.CONSUME(abs), () => { const a = this.SUBRULE(expression); return [a]; }) },
      { ALT: () => this.call('min', this.CONSUME(min), () => { const a = this.SUBRULE2(expression); this.CONSUME(comma); return [a, this.SUBRULE3(expression)]; }) },
      { ALT: () => this.call('max', this.CONSUME(max), () => { const a = this.SUBRULE4(expression); this.CONSUME2(comma); return [a, this.SUBRULE5(expression)]; }) },
      { ALT: () => this.call('div', this.CONSUME(floor), () => { const a = this.SUBRULE(product); this.CONSUME(slash); return [a, this.SUBRULE(unary)]; }) },
      { ALT: () => { this.CONSUME9(open); const e = this.SUBRULE9(expression); this.CONSUME9(close); return e; } },
    ])) as Rule;
    const unary = this.RULE('unary', (): MaskExpr => this.OR([
      { ALT: () => {
        const mark = this.CONSUME(minus);
        const negative = this.OPTION(() => this.CONSUME(integer)); // of a literal, so that -2147483648 can be written
        if (negative) return this.ACTION(() => at(mark, () => int(-Number(negative.image))));
        const arg = this.SUBRULE(unary);
        return this.ACTION(() => at(mark, () => apply('neg', arg)));
      } },
      { ALT: () => { const mark = this.CONSUME(bang); const arg = this.SUBRULE2(unary); return this.ACTION(() => at(mark, () => apply('not', arg))); } },
      { ALT: () => this.SUBRULE(primary) },
    ])) as Rule;
    const product = chain('product', multiplicative, unary);
    const total = chain('sum', additive, product);
    const ordered = chain('ordering', relation, total);
    const equal = chain('equality', equality, ordered);
    const both = chain('conjunction', and, equal);
    const either = chain('disjunction', or, both);
    this.performSelfAnalysis();
  }

  private call(op: Op, mark: IToken, args: () => MaskExpr[]): MaskExpr {
    const idx = { abs: 1, min: 2, max: 3, div: 4 }[op as 'abs' | 'min' | 'max' | 'div'];
    this.consume(idx, open);
    const given = args();
    this.consume(idx, close);
    return this.ACTION(() => at(mark, () => apply(op, ...given)));
  }

  private kindOf(name: string): MaskExpr {
    if (name === 'q' || name === 'k') throw new UserError(`'${name}' is a token. Compare one of its fields: ${tokenFields.map((f) => `${name}.${f}`).join(', ')}.`);
    return kind(this.kinds, name);
  }

  private fieldOf(t: IToken): MaskExpr {
    const [token, name] = t.image.split('.') as [TokenName, TokenField];
    if (!tokenFields.includes(name)) throw new UserError(`A token has no '${name}'. It has ${tokenFields.join(', ')}.`);
    return variable(token, name);
  }
}

const parser = new MaskParser();

/**
 * The predicate that `text` says. `place` is where the text begins in its file. Throws a UserError with line and column
 * that says what was expected there.
 */
export const parseMaskExpr = (text: string, kinds: readonly MaskKind[], place: SourcePos = { file: 'mask', line: 1, column: 1 }): MaskExpr => {
  /** Errors name the place in the file; without one, that is the end of the text. */
  const fail = (message: string, offset: number): never => {
    const before = text.slice(0, Number.isNaN(offset) ? text.trimEnd().length : offset).split('\n');
    const column = before.at(-1)!.length + (before.length === 1 ? place.column : 1);
    throw new UserError(message, { file: place.file, line: place.line + before.length - 1, column });
  };
  const { tokens: input, errors: lexed } = lexer.tokenize(text);
  if (lexed[0]) return fail(`The mask language has no character '${text.charAt(lexed[0].offset)}'.`, lexed[0].offset);
  parser.input = input;
  parser.kinds = kinds;
  try {
    const expr = parser.mask();
    const error = parser.errors[0];
    if (error) return fail(error.message, error.token.startOffset);
    if (expr.type !== 'bool') return fail(`A mask is a boolean, but this is ${expr.type === 'int' ? 'an integer' : 'a kind'}.`, 0);
    return expr;
  } catch (error) {
    if (error instanceof AtToken) return fail(error.message, error.token.startOffset);
    throw error;
  }
};
