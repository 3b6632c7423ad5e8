/** The words of textual IR (print.ts shows the language). A mask's predicate is one word here: its own parser reads it. */
import type { ILexingError, IToken, TokenType } from 'chevrotain';
import { createToken, Lexer } from 'chevrotain';

/** Any name, a word of the language too where no other use is possible: `mask` and `state` are attributes as well. */
export const Name = createToken({ name: 'Name', pattern: /[A-Za-z_][A-Za-z0-9_]*/, label: 'a name' });
const word = (text: string, categories: TokenType[] = [Name]): TokenType =>
  createToken({ name: `word ${text}`, pattern: text, longer_alt: Name, categories, label: `'${text}'` });
const sign = (text: string): TokenType => createToken({ name: `sign ${text}`, pattern: text, label: `'${text}'` });

export const [Graph, Sequence, Mask, Input, Weight, State, Media, Of, Where, In, At, True, False] =
  ['graph', 'sequence', 'mask', 'input', 'weight', 'state', 'media', 'of', 'where', 'in', 'at', 'true', 'false'].map((t) => word(t)) as
  [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];
/** Never a name, so that a body's end cannot be taken for an attribute. */
export const Return = word('return', []);
export const words: readonly string[] = [Graph, Sequence, Mask, Input, Weight, State, Media, Of, Where, In, At, Return].map((t) => String(t.PATTERN));

export const [LCurly, RCurly, LParen, RParen, LSquare, RSquare, Comma, Colon, Equals, Plus, Minus, Star, Slash, Power, Dot, Greater, AtSign, Ampersand] =
  ['{', '}', '(', ')', '[', ']', ',', ':', '=', '+', '-', '*', '/', '^', '.', '>', '@', '&'].map(sign) as
  [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];

/** `%ids`, `%12`, `%5.0`, `%model.layers.0/linear.2`, `%"an odd name"`. */
export const Value = createToken({ name: 'Value', pattern: /%(?:[\w.]+(?:\/[\w.]+)?|"(?:[^"\\\n\r]|\\.)*")/, label: 'a value (%name)' });
export const Param = createToken({ name: 'Param', pattern: /\$\d+/, label: 'a parameter ($0)' });
export const Text = createToken({ name: 'Text', pattern: /"(?:[^"\\\n\r]|\\.)*"/, label: 'text in quotes' });
export const NumberWord = createToken({ name: 'Number', pattern: /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/, label: 'a number' });

/** After `mask name(sequence) =`: everything up to `where`, `at "…"`, a comment or the end of the line. */
const predicate = /(?:(?!\swhere\s|\sat\s*"|\/\/)[^\n\r])+/y;
export const MaskText = createToken({
  name: 'MaskText', label: "the mask's predicate", line_breaks: false,
  pattern: (text: string, offset: number, before: IToken[]) => {
    const n = before.length;
    if (before[n - 1]?.tokenType !== Equals || before[n - 1]!.endOffset !== offset - 1 || before[n - 2]?.tokenType !== RParen || before[n - 4]?.tokenType !== LParen || before[n - 6]?.tokenType !== Mask) return null;
    predicate.lastIndex = offset;
    const found = predicate.exec(text);
    return found?.[0].trim() ? found : null;
  },
});

const Space = createToken({ name: 'Space', pattern: /\s+/, group: Lexer.SKIPPED });
const Comment = createToken({ name: 'Comment', pattern: /\/\/[^\n\r]*/, group: Lexer.SKIPPED });

export const tokens: readonly TokenType[] = [
  MaskText, Space, Comment, Value, Param, Text, NumberWord,
  Graph, Sequence, Mask, Input, Weight, State, Media, Of, Where, In, At, True, False, Return, Name,
  LCurly, RCurly, LParen, RParen, LSquare, RSquare, Comma, Colon, Equals, Plus, Minus, Star, Slash, Power, Dot, Greater, AtSign, Ampersand,
];
const lexer = new Lexer([...tokens], { positionTracking: 'full' });

/** The words of a text, and the first place where it has none. */
export function tokenize(text: string): { tokens: IToken[]; error: ILexingError | undefined } {
  const { tokens, errors } = lexer.tokenize(text);
  return { tokens, error: errors[0] };
}
