import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluate, evaluateInterval, evaluateRange, findOverflow, int, kind, parseMaskExpr, printMaskExpr, substitute, type MaskExpr, type TokenBlock, type TokenNumbers } from '../../compiler/ir/mask/index.ts';
import { anyMask, kinds, likelyMask } from '../support/random-masks.ts';

const parse = (text: string): MaskExpr => parseMaskExpr(text, kinds);
const [visual, text] = [0, 1];
/** A block of one kind whose positions are given; the segment begins at `start`. */
const block = (kind: number, from: number, to: number, start = 0, image = kind === text ? -1 : 0): TokenBlock =>
  ({ lo: { kind, pos: from, index: from - start, image }, hi: { kind, pos: to, index: to - start, image } });

describe('blocks', () => {
  test.each<[string, TokenBlock, TokenBlock, 'all' | 'none' | 'some']>([
    ['k.pos <= q.pos', block(text, 64, 127), block(text, 0, 64), 'all'],
    ['k.pos <= q.pos', block(text, 64, 127), block(text, 0, 65), 'some'],
    ['k.pos <= q.pos', block(text, 64, 127), block(text, 128, 191), 'none'],
    ['q.pos - k.pos < 64 && k.pos <= q.pos', block(text, 128, 191), block(text, 0, 65), 'some'],
    ['q.pos - k.pos < 64 && k.pos <= q.pos', block(text, 128, 191), block(text, 0, 64), 'none'],
    ['q.pos - k.pos < 128 && k.pos <= q.pos', block(text, 128, 191), block(text, 64, 127), 'all'],
    ['q.kind == text ? k.pos <= q.pos : k.pos == q.pos', block(visual, 0, 63), block(visual, 64, 127), 'none'],
    ['q.kind == text ? k.pos <= q.pos : k.pos == q.pos', block(text, 128, 191), block(visual, 64, 127), 'all'],
    ['q.image == k.image', block(visual, 0, 63), block(visual, 64, 127), 'all'],
    ['q.pos - q.pos == 0', block(visual, 0, 63), block(visual, 64, 127), 'all'],
    ['2 * (q.pos + k.pos) - 2 * q.pos - k.pos >= 64', block(visual, 0, 63), block(visual, 64, 127), 'all'],
    ['floor(q.index / 24) == floor(k.index / 24)', block(visual, 24, 47), block(visual, 24, 47), 'all'],
    ['floor(q.index / 24) == floor(k.index / 24)', block(visual, 24, 47), block(visual, 48, 50), 'none'],
    ['q.index % 24 < 4', block(visual, 48, 51), block(visual, 0, 0), 'all'],
    ['q.index % 24 < 4', block(visual, 47, 51), block(visual, 0, 0), 'some'],
    ['abs(q.pos - k.pos) <= 8', block(visual, 0, 3), block(visual, 4, 8), 'all'],
    ['(q.pos < k.pos) == (q.index < k.index)', block(visual, 0, 3), block(visual, 4, 8), 'all'],
    ['(q.kind == text ? 1 : 2) * k.index < 20', block(visual, 0, 3), block(visual, 4, 9), 'all'],
    ['min(q.pos, k.pos) + max(q.pos, k.pos) == 7', block(visual, 3, 3), block(visual, 4, 4), 'all'],
  ])('%s: %o with %o is %s', (mask, qs, ks, expected) => expect(evaluateInterval(parse(mask), qs, ks)).toBe(expected));

  /** Two bounds for each field, and a token between them. */
  const interval = (least: number, most: number) => fc.tuple(fc.integer({ min: least, max: most }), fc.integer({ min: 0, max: 6 }), fc.nat(6)).map(([lo, width, at]) => ({ lo, hi: lo + width, at: lo + Math.min(at, width) }));
  const box = fc.record({ kind: interval(0, 1).map((x) => ({ lo: x.lo, hi: Math.min(2, x.hi), at: Math.min(2, x.at) })), pos: interval(0, 20), index: interval(0, 20), image: interval(-1, 3) });
  type Box = typeof box extends fc.Arbitrary<infer T> ? T : never;
  const side = (b: Box, of: 'lo' | 'hi' | 'at'): TokenNumbers => ({ kind: b.kind[of], pos: b.pos[of], index: b.index[of], image: b.image[of] });
  const blockOf = (b: Box): TokenBlock => ({ lo: side(b, 'lo'), hi: side(b, 'hi') });
  const tokenIn = (b: Box) => ({ ...side(b, 'at'), kind: kinds[b.kind.at]!.name });

  test('what is said of a block is true of every pair in it', () => {
    fc.assert(fc.property(fc.oneof(anyMask, likelyMask), box, box, (e, a, b) => {
      const answer = evaluateInterval(e, blockOf(a), blockOf(b));
      if (answer !== 'some') expect(evaluate(e, tokenIn(a), tokenIn(b)), printMaskExpr(e)).toBe(answer === 'all');
    }), { numRuns: 5000 });
  });

  test('a block of one token is decided', () => {
    fc.assert(fc.property(fc.oneof(anyMask, likelyMask), box, box, (e, a, b) => {
      const one = (x: Box): TokenBlock => ({ lo: side(x, 'at'), hi: side(x, 'at') });
      expect(evaluateInterval(e, one(a), one(b)), printMaskExpr(e)).toBe(evaluate(e, tokenIn(a), tokenIn(b)) ? 'all' : 'none');
    }), { numRuns: 2000 });
  });

  test('integers lie within their bounds', () => {
    fc.assert(fc.property(anyMask, box, box, (e, a, b) => {
      const visit = (x: MaskExpr): void => {
        if (x.is !== 'operation') return;
        x.args.forEach(visit);
        if (x.type !== 'int') return;
        const { lo, hi } = evaluateRange(x, blockOf(a), blockOf(b));
        const value = substitute(x, (v) => { const t = tokenIn(v.token === 'q' ? a : b); return v.field === 'kind' ? kind(kinds, t.kind) : int(t[v.field]); });
        if (value.is !== 'constant') throw new Error('An expression without variables is a constant.');
        expect(value.value).toBeGreaterThanOrEqual(lo);
        expect(value.value).toBeLessThanOrEqual(hi);
      };
      visit(e);
    }), { numRuns: 1000 });
  });
});

describe('overflow', () => {
  test.each([
    ['k.pos <= q.pos', undefined],
    ['(q.index % 32 - k.index % 32) * (q.index % 32 - k.index % 32) + (floor(q.index / 32) - floor(k.index / 32)) * (q.index % 32) < 25', undefined],
    ['q.pos * k.pos < 9', 'q.pos * k.pos'],
    ['q.pos < 2000000000', '2000000000'],
    ['(q.pos - k.pos) * 2000 < 9', '(q.pos - k.pos) * 2000'],
    ['q.pos * 513 + k.pos * 513 < 9', 'q.pos * 513 + k.pos * 513'],
  ])('%s: %s', (mask, expected) => {
    const found = findOverflow(parse(mask));
    expect(found && printMaskExpr(found)).toBe(expected);
  });
});
