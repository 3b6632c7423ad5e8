import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../compiler/ir/errors.ts';
import {
  always, and, apply, bool, evaluate, int, k, kind, never, not, or, parseMaskExpr, printMaskExpr, q, sameExpr, simplify, specialise,
  type MaskExpr, type Token,
} from '../../compiler/ir/mask/index.ts';
import { anyMask, fixedLayouts, kinds, likelyMask, segmentList, tokensOf, twoKinds } from '../support/random-masks.ts';

const parse = (text: string): MaskExpr => parseMaskExpr(text, kinds);
const message = (f: () => unknown): string => {
  try { f(); } catch (error) { expect(error).toBeInstanceOf(UserError); return (error as Error).message; }
  throw new Error('Nothing was thrown.');
};

describe('making expressions', () => {
  test('constants are folded', () => {
    expect(apply('add', int(2), int(3))).toEqual(int(5));
    expect(apply('div', int(-1), int(2))).toEqual(int(-1));
    expect(apply('mod', int(-3), int(2))).toEqual(int(-1));
    expect(apply('eq', kind(kinds, 'text'), kind(kinds, 'visual'))).toEqual(never);
    expect(apply('if', always, q.pos, k.pos)).toBe(q.pos);
    expect(and(always, apply('lt', q.pos, k.pos))).toEqual(apply('lt', q.pos, k.pos));
    expect(or(always, apply('lt', q.pos, k.pos))).toEqual(bool(true));
  });
  test('a negative divisor is turned around', () => {
    expect(printMaskExpr(apply('eq', apply('div', q.pos, int(-2)), int(0)))).toBe('floor(-q.pos / 2) == 0');
    expect(printMaskExpr(apply('eq', apply('mod', q.pos, int(-2)), int(0)))).toBe('q.pos % 2 == 0');
  });
  test.each<[() => unknown, string]>([
    [() => apply('and', q.pos, always), "'&&' takes a boolean as its first operand, but was given an integer."],
    [() => apply('lt', q.pos, q.kind), "'<' takes an integer as its second operand, but was given a kind of token."],
    [() => apply('eq', q.pos, q.kind), "'==' takes an integer as its second operand, but was given a kind of token."],
    [() => apply('if', always, q.pos, always), "'? :' takes an integer as its third operand, but was given a boolean."],
    [() => apply('div', q.pos, k.pos), "'/' needs a constant other than 0 as its divisor, but was given a value that depends on the tokens."],
    [() => apply('mod', q.pos, int(0)), "'%' needs a constant other than 0 as its divisor, but was given 0."],
    [() => apply('add', q.pos), "'+' takes 2 operands, but was given 1."],
    [() => int(1.5), 'A mask computes with 32-bit integers, and 1.5 is none. Use a whole number between -2147483648 and 2147483647.'],
    [() => apply('mul', int(2 ** 20), int(2 ** 20)), 'A mask computes with 32-bit integers, and 1099511627776 is none. Use a whole number between -2147483648 and 2147483647.'],
    [() => kind(kinds, 'txt'), "The sequence has no kind 'txt'. Did you mean 'text'? Its kinds are: visual, text, audio."],
  ])('%s', (make, text) => expect(message(make)).toBe(text));
});

describe('text', () => {
  test.each([
    'k.pos <= q.pos',
    'q.kind == text ? k.pos <= q.pos : k.pos == q.pos',
    'q.kind == text && k.pos <= q.pos',
    '!(q.kind == text) || k.pos < q.pos && q.image == k.image',
    '(q.kind == text || k.pos < q.pos) && q.image == k.image',
    'q.pos - (k.pos - 3) < 2 * (q.index + 1)',
    'floor((q.index - 1) / 24) == floor(k.index / 24) && -q.pos % 3 != -2',
    'min(q.pos, max(k.pos, abs(-q.index))) == -2147483648',
    '(q.pos < k.pos) == (q.index < k.index)',
    'q.pos < k.pos ? q.image == 0 ? true : k.pos == 1 : (q.pos == 1 ? k.pos == 1 : false) && q.kind != audio',
    '(q.kind == text ? q.kind : k.kind) == visual',
  ])('%s', (text) => {
    const e = parse(text);
    expect(printMaskExpr(e)).toBe(printMaskExpr(parse(printMaskExpr(e))));
    expect(sameExpr(parse(printMaskExpr(e)), e)).toBe(true);
    expect(printMaskExpr(e).length).toBeLessThanOrEqual(text.length);
  });

  test('kinds whose names are no plain words are quoted', () => {
    const odd = [{ name: 'q', hasImages: true }, { name: 'high res', hasImages: true }];
    const e = or(apply('eq', q.kind, kind(odd, 'q')), apply('eq', k.kind, kind(odd, 'high res')));
    expect(printMaskExpr(e)).toBe('q.kind == "q" || k.kind == "high res"');
    expect(sameExpr(parseMaskExpr(printMaskExpr(e), odd), e)).toBe(true);
  });

  test('parsing what was printed gives the same expression', () => {
    fc.assert(fc.property(fc.oneof(anyMask, likelyMask), (e) => {
      const back = parse(printMaskExpr(e));
      expect(sameExpr(back, e)).toBe(true);
      expect(printMaskExpr(back)).toBe(printMaskExpr(e));
    }), { numRuns: 2000 });
  });

  test.each([
    ['k.pos <= ', '1:9: Expected a value (a field of q or k, a number, a kind, a call or parentheses), but found the end of the mask.'],
    ['', '1:1: Expected a value (a field of q or k, a number, a kind, a call or parentheses), but found the end of the mask.'],
    ['k.pos <= q.pos / 2', "1:16: Expected an operator or the end of the mask, but found '/'. Division is written floor(a / b)."],
    ['(k.pos < q.pos', "1:15: Expected ')', but found the end of the mask."],
    ['k.pos &&\n  q.pos', "1:7: '&&' takes a boolean as its first operand, but was given an integer."],
    ['k.pos < q.pos\n && q.foo == 1', "2:5: A token has no 'foo'. It has kind, pos, index, image."],
    ['q.kind == txt', "1:11: The sequence has no kind 'txt'. Did you mean 'text'? Its kinds are: visual, text, audio."],
    ['q == k', "1:1: 'q' is a token. Compare one of its fields: q.kind, q.pos, q.index, q.image."],
    ['min(1) < 2', "1:6: Expected ',', but found ')'."],
    ['k.pos + 1', '1:1: A mask is a boolean, but this is an integer.'],
    ['k.pos # 2', "1:7: The mask language has no character '#'."],
    ['k.pos % q.pos == 0', "1:7: '%' needs a constant other than 0 as its divisor, but was given a value that depends on the tokens."],
    ['k.pos < 9999999999', '1:9: A mask computes with 32-bit integers, and 9999999999 is none. Use a whole number between -2147483648 and 2147483647.'],
    ['floor(q.pos) < 2', "1:12: Expected '/', but found ')'."],
    ['q.pos < k.pos < 3', "1:15: '<' takes an integer as its first operand, but was given a boolean."],
  ])('error in %j', (text, expected) => expect(message(() => parse(text))).toBe(`mask:${expected}`));

  test('errors name the place in the file that the text comes from', () => {
    const place = { file: 'g.ir', line: 7, column: 20 };
    expect(message(() => parseMaskExpr('k.pos @', twoKinds, place))).toMatch(/^g\.ir:7:26: /);
    expect(message(() => parseMaskExpr('k.pos ==\n @', twoKinds, place))).toMatch(/^g\.ir:8:2: /);
  });
});

describe('evaluation', () => {
  const at = (kind: string, pos: number, index = pos, image = -1): Token => ({ kind, pos, index, image });
  test.each<[string, Token, Token, boolean]>([
    ['k.pos <= q.pos', at('text', 3), at('text', 3), true],
    ['k.pos <= q.pos', at('text', 3), at('text', 4), false],
    ['floor((k.pos - q.pos) / 2) == -2', at('text', 3), at('text', 0), true],
    ['(k.pos - q.pos) % 2 == -1', at('text', 3), at('text', 0), true],
    ['q.image == k.image', at('visual', 3, 0, 1), at('visual', 1, 1, 0), false],
    ['(q.kind == text ? q.kind : k.kind) == visual', at('audio', 0, 0, 0), at('visual', 1, 0, 1), true],
    ['min(q.pos, 2) + max(k.pos, 7) - abs(q.pos - k.pos) == 7', at('text', 3), at('text', 5), true],
  ])('%s', (text, a, b, expected) => expect(evaluate(parse(text), a, b)).toBe(expected));
});

describe('simplifying', () => {
  test.each([
    ['!(q.pos < k.pos)', 'q.pos >= k.pos'],
    ['q.kind == text ? true : false', 'q.kind == text'],
    ['q.kind == text ? k.pos <= q.pos : false', 'q.kind == text && k.pos <= q.pos'],
    ['q.kind == text ? true : k.pos <= q.pos', 'q.kind == text || k.pos <= q.pos'],
    ['q.kind == text ? false : k.pos <= q.pos', 'q.kind != text && k.pos <= q.pos'],
    ['q.pos + 0 < 1 * k.pos', 'q.pos < k.pos'],
    ['q.pos + 3 < q.pos + 5 && k.pos < 2', 'k.pos < 2'],
    ['k.pos < 2 && q.pos < 1 && k.pos >= 2', 'false'],
    ['k.pos < 2 || q.pos < 1 || k.pos >= 2', 'true'],
    ['k.pos < 2 && q.pos < 1 && k.pos < 2', 'k.pos < 2 && q.pos < 1'],
    ['(k.pos < 2) == true', 'k.pos < 2'],
    ['(k.pos < 2 ? 1 : 0) == 1', 'k.pos < 2'],
  ])('%s is %s', (text, expected) => expect(printMaskExpr(simplify(parse(text)))).toBe(expected));

  test('what is left for a pair of kinds', () => {
    const composite = parse('q.kind == text ? k.pos <= q.pos : k.pos == q.pos');
    expect(printMaskExpr(specialise(composite, 'text', 'visual', kinds))).toBe('k.pos <= q.pos');
    expect(printMaskExpr(specialise(composite, 'visual', 'visual', kinds))).toBe('k.pos == q.pos');
    expect(printMaskExpr(specialise(parse('q.image == k.image || k.kind == visual'), 'text', 'text', kinds))).toBe('true');
    expect(printMaskExpr(specialise(parse('(q.image < 0 ? q.kind : visual) == text'), 'audio', 'text', kinds))).toBe('false');
  });

  test('changes no value', () => {
    fc.assert(fc.property(fc.oneof(anyMask, likelyMask), segmentList(), (e, segments) => {
      const tokens = tokensOf(segments);
      const short = simplify(e);
      for (const a of tokens) for (const b of tokens) {
        expect(evaluate(short, a, b)).toBe(evaluate(e, a, b));
        expect(evaluate(specialise(e, a.kind, b.kind, kinds), a, b)).toBe(evaluate(e, a, b));
      }
    }), { numRuns: 300 });
    expect(fixedLayouts.length).toBeGreaterThan(0);
  });

  test('not and not is nothing', () => expect(not(not(apply('lt', q.pos, k.pos)))).toEqual(apply('lt', q.pos, k.pos)));
});
