import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lowerMask } from '../../compiler/frontend/mask/lower.ts';
import { UserError } from '../../compiler/ir/errors.ts';
import { printMaskExpr } from '../../compiler/ir/mask/index.ts';
import { changing, type Pred, type Tok } from '../fixtures/masks/helpers.ts';
import { kinds } from '../support/random-masks.ts';

/** The error of reading a predicate: its message, and the piece of source that the caret points at. */
const failure = (fn: (...args: never[]) => unknown): { message: string; at: string; full: string } => {
  try {
    lowerMask({ fn, kinds });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const [head, ...rest] = error.message.split('\n\n');
    const frame = rest.map((r) => r.split('\n')).find((r) => /^ {2}\d+ \| /.test(r[0] ?? ''))!;
    expect(error.where?.file).toBe(import.meta.filename);
    expect(head).toMatch(/^\/.*mask-source-errors\.test\.ts:\d+:\d+: [A-Z'].*$/s);
    expect(Number(/\d+/.exec(frame[0]!)![0])).toBe(error.where!.line);
    return { message: head!.replace(/^.*?:\d+:\d+: /s, ''), at: frame[0]!.slice(frame[1]!.indexOf('^')), full: error.message };
  }
  throw new Error('Nothing was thrown.');
};

let counter = 0;
var old = 4; // eslint-disable-line no-var
const table = { inner: { width: 4 }, when: new Date() };
const holder = { width: 3 };
class Grid { static readonly rows = 3; }
const loop = (n: number): boolean => loop(n);
const reassigned = (w: number): Pred => { w = w + 1; return (q, k) => q.pos - k.pos < w; };
const mutable = (): Pred => { let w = 3; w++; return (q, k) => q.pos - k.pos < w; };

describe('what a mask cannot say', () => {
  test.each<[string, (q: Tok, k: Tok) => unknown, string, string]>([
    ['chance', () => Math.random() < 0.5, 'Math.random() says something else each time', 'Math.random()'],
    ['time', (q) => q.pos < Date.now(), "'Date' is neither a token nor a constant of this file.", 'Date.now()'],
    ['new', (q) => q.pos < new Date().getTime(), "A mask cannot contain 'new Date'.", 'new Date()'],
    ['a let', (q) => q.pos < counter, "'counter' may change after the mask was read. Declare it with const.", 'counter'],
    ['a var', (q) => q.pos < old, "'old' may change after the mask was read. Declare it with const.", 'old'],
    ['a loop', (q, k) => { for (let i = 0; i < 3; i++) if (q.pos === i) return true; return k.pos > 2; }, 'A mask cannot contain a loop.', 'for (let i'],
    ['an assignment', (q) => { counter = q.pos; return true; }, 'A mask changes nothing: it cannot contain an assignment.', 'counter = q.pos'],
    ['a compound assignment', (q) => { counter += q.pos; return true; }, 'A mask changes nothing: it cannot contain an assignment.', 'counter += q.pos'],
    ['an increment', () => { counter++; return true; }, 'A mask cannot contain an assignment: it changes nothing.', 'counter++'],
    ['a variable without value', (q) => { let x; x = q.pos; return x > 2; }, 'A mask declares constants: const name = value.', 'x;'], // eslint-disable-line prefer-const
    ['a call for its effect', (q) => { Math.abs(q.pos); return true; }, 'A statement for its effect has no place in a mask', 'Math.abs(q.pos);'],
    ['throw', () => { throw new Error('no'); }, 'A mask cannot contain throw.', 'throw'],
    ['try', () => { try { return true; } catch { return false; } }, 'A mask cannot contain try.', 'try'],
    ['a misspelt field', (q) => (q as unknown as { position: number }).position > 2, "A token has no 'position'. It has: kind, pos, index, image.", '(q as unknown as { position: number }).position'],
    ['a misspelt kind', (q) => q.kind as string === 'txt', "The sequence has no kind 'txt'. Did you mean 'text'?", "q.kind as string === 'txt'"],
    ['a kind of another type', (q) => (q.kind as unknown) === 3, "'==' takes a kind of token as its second operand, but was given an integer.", '(q.kind as unknown) === 3'],
    ['an ordering of kinds', (q, k) => q.kind < k.kind, "'<' takes an integer as its first operand, but was given a kind of token.", 'q.kind < k.kind'],
    ['whole tokens', (q, k) => q === k, 'This is a whole token. Use one of its fields: kind, pos, index, image', 'q === k'],
    ['a number as truth', (q) => (q.index ? true : false), 'A boolean was expected here, but this is a number; compare it: x !== 0.', 'q.index'],
    ['a number that is negated', (q) => !q.index, 'A boolean was expected here, but this is a number; compare it: x !== 0.', '!q.index'],
    ['a number as an answer', (q) => q.pos, 'A boolean was expected here, but this is a number; compare it: x !== 0.', '(q) => q.pos'],
    ['no answer', (q, k) => { if (q.pos > k.pos) return true; }, 'Where this is false, the function ends without returning a value.', 'q.pos > k.pos'],
    ['an empty answer', () => { return; }, 'A mask always returns a value.', 'return;'],
    ['a fraction', (q, k) => q.pos / 2 + 1 < k.pos, 'A mask computes with whole numbers, and a quotient need not be one. Round it: Math.floor(a / b).', 'q.pos / 2 + 1'],
    ['a broken number', (q) => q.pos < 2.5, 'A mask computes with 32-bit integers, and 2.5 is none.', 'q.pos < 2.5'],
    ['infinity', (q) => q.pos < Infinity, 'A mask computes with 32-bit integers, and Infinity is none.', 'q.pos < Infinity'],
    ['a division by a token', (q, k) => Math.floor(q.pos / k.pos) < 2, 'A mask can divide only by a constant other than 0.', 'q.pos / k.pos'],
    ['a division by 0', (q) => Math.floor(q.pos / 0) < 2, 'A mask can divide only by a constant other than 0.', 'q.pos / 0'],
    ['a remainder by a token', (q, k) => q.pos % k.pos === 0, "'%' needs a constant other than 0 as its divisor", 'q.pos % k.pos'],
    ['bits', (q) => (q.pos & 3) === 0, "A mask cannot use the operator '&' on what depends on the tokens.", 'q.pos & 3'],
    ['an unknown function of Math', (q) => Math.sqrt(q.pos) < 2, 'A mask cannot use Math.sqrt() on what depends on the tokens.', 'Math.sqrt(q.pos)'],
    ['a number that grows too large', (q, k) => q.pos * k.pos < 9, "'q.pos * k.pos' can leave the range of 32-bit integers", '(q, k) => q.pos * k.pos < 9'],
    ['a class', (q) => q.pos < Grid.rows, "'Grid' is a class. A mask is made of numbers and pure functions.", 'Grid.rows'],
    ['an object of a class', (q) => q.pos < table.when.getTime(), "A mask cannot contain 'new Date'.", 'new Date()'],
    ['what an object lacks', (q) => q.pos < (table.inner as unknown as { size: number }).size, "An object has no 'size' that a mask can use.", '(table.inner as unknown as { size: number }).size'],
    ['a recursion', (q) => loop(q.pos), 'This function calls itself, or calls go too deep. A mask has no recursion.', 'loop(n)'],
    ['a let of another file', (q) => q.pos < changing, "'changing' may change after the mask was read. Declare it with const.", 'changing'],
    ['a package', (q) => join('a', 'b') === 'c' && q.pos > 1, "'join' comes from 'node:path', whose source a mask cannot read.", "join('a', 'b')"],
    ['this', function (this: { pos: number }, q) { return q.pos < this.pos; }, "A mask cannot contain 'this'; copy what it needs into a const.", 'this.pos'],
    ['await', async (q) => q.pos > 2, 'A mask is a plain function, neither async nor a generator.', 'async (q)'],
    ['a generator', function* (q) { yield q.pos; }, 'A mask is a plain function, neither async nor a generator.', 'function* (q)'],
    ['typeof', (q) => typeof q.pos === 'number', "A mask cannot contain 'typeof'.", 'typeof q.pos'],
    ['an optional chain', (q) => q?.pos > 2, "A mask cannot contain '?.'; its values are always there.", 'q?.pos'],
    ['a regular expression', (q) => /t/.test(q.kind), 'A mask cannot contain a regular expression.', '/t/'],
    ['a method of a text', (q) => q.kind.startsWith('t'), "A mask cannot use 'startsWith' of a kind of token.", 'q.kind.startsWith'],
    ['a look-up by a token', (q) => [1, 2, 3][q.index]! > 2, 'A mask can look up an element only by a constant.', '[1, 2, 3][q.index]'],
    ['another method of a list', (q) => [1, 2].map((x) => x).includes(q.pos), "A mask cannot use 'map' of a list.", '[1, 2].map'],
    ['the name of nothing', (q) => q.pos < (globalThis as unknown as { w: number }).w, "'globalThis' is neither a token nor a constant of this file.", 'globalThis as unknown'],
    ['a case without an end', (q, k) => { switch (q.kind) { case 'text': { if (k.pos < 1) return true; } } return false; }, 'Each case of a switch in a mask ends with return or break.', "case 'text'"],
  ])('%s', (_, fn, message, place) => {
    const found = failure(fn);
    expect(found.message).toContain(message);
    expect(found.at.startsWith(place), `${found.at} should start with ${place}`).toBe(true);
  });

  test('captured variables that change', () => {
    expect(failure(reassigned(3))).toMatchObject({ message: "The mask uses 'w', and here it gets another value. A mask can use only what never changes: put the final value into a const." });
    expect(failure(reassigned(3)).at).toMatch(/^w = w \+ 1/);
    expect(failure(mutable()).message).toBe("'w' may change after the mask was read. Declare it with const.");
  });

  test('what masks can say is told with what they cannot', () => {
    expect(failure(() => Math.random() < 0.5).full).toMatch(/\n\nA mask's predicate can use\n {2}- kind, pos, index and image of its two tokens\n/);
  });

  test('a function that exists in no file', () => {
    const made = new Function('q', 'k', 'return k.pos <= q.pos') as (...args: never[]) => unknown;
    expect(() => lowerMask({ fn: made, kinds })).toThrow('The source of this mask was not found.');
    expect(() => lowerMask({ fn: Math.max, kinds })).toThrow('The source of this mask was not found.');
    expect(() => lowerMask({ fn: made, kinds, where: { file: '/nowhere.ts', line: 3, column: 1 } })).toThrow('/nowhere.ts:3:1: The source of this mask was not found.');
  });
});

describe('the source is checked against the function', () => {
  test('a property that changed since', () => {
    holder.width = 5;
    const found = failure((q: Tok, k: Tok) => q.pos - k.pos < holder.width && k.pos <= q.pos);
    expect(found.message).toBe('The predicate was read as');
    expect(found.full).toMatch(/\n\n {2}q\.pos - k\.pos < 3 && k\.pos <= q\.pos\n\nwhich is false for q = \{ kind: .*, where the function returns true\. Either it depends on more than its tokens/);
  });
  test('a constant that the running program holds another value of', () => {
    // As if the file had been edited after the program was started.
    const file = join(mkdtempSync(join(tmpdir(), 'masks-')), 'model.ts');
    writeFileSync(file, 'const width = 4;\nexport const a = mask(tokens, (q, k) => q.pos - k.pos < width);\n');
    const fn = new Function('return (width) => (q, k) => q.pos - k.pos < width')()(6) as Pred;
    expect(() => lowerMask({ fn, kinds, where: { file, line: 2, column: 18 } })).toThrow("The source says that 'width' is 4, but in the running program it is 6. Save the file and start again.");
  });
});

describe('without the inspector', () => {
  test('a mask is found by its call', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'masks-')), 'model.ts');
    writeFileSync(file, "const tokens = sequence('visual', 'text');\nconst width = 4;\nexport const a = mask(tokens, (q, k) => k.pos <= q.pos);\nexport const b = mask(tokens, (q, k) => q.pos - k.pos < width);\n");
    const fn = new Function('q', 'k', 'return q.pos - k.pos < 4') as Pred;
    expect(printMaskExpr(lowerMask({ fn, kinds, where: { file, line: 4, column: 18 } }))).toBe('q.pos - k.pos < 4');
  });
  test('and a wrong one is found out', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'masks-')), 'model.ts');
    writeFileSync(file, 'export const a = mask(tokens, (q, k) => k.pos <= q.pos);\n');
    const fn = new Function('q', 'k', 'return k.pos < q.pos') as Pred;
    expect(() => lowerMask({ fn, kinds, where: { file, line: 1, column: 18 } })).toThrow(/The predicate was read as\n\n {2}k\.pos <= q\.pos\n\nwhich is true for q = \{ kind: '\w+', pos: (\d+), .*\} and k = \{ kind: '\w+', pos: \1, .*\}, where the function returns false\./);
    expect(() => lowerMask({ fn: new Function('q', 'k', 'return +(k.pos < q.pos)') as Pred, kinds, where: { file, line: 1, column: 18 } })).toThrow(/A mask's predicate returns true or false, but for .* it returns [01]\./);
    expect(() => lowerMask({ fn: new Function('q', 'k', 'q.pos = 3') as Pred, kinds, where: { file, line: 1, column: 18 } })).toThrow(/it returns undefined/);
    expect(() => lowerMask({ fn: new Function("'use strict'; return nothing") as Pred, kinds, where: { file, line: 1, column: 18 } })).toThrow(/The predicate throws for .*: ReferenceError: nothing is not defined/);
  });
});
