import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import type { AnyMask } from '../../compiler/dsl/mask.ts';
import { allOf, mask } from '../../compiler/dsl/mask.ts';
import { sequence } from '../../compiler/dsl/sequence.ts';
import { lowerMask } from '../../compiler/frontend/mask/lower.ts';
import { printMaskExpr } from '../../compiler/ir/mask/index.ts';
import { and, causal, config, near, or, ownImage, Size, span, window, type Pred, type Tok } from '../fixtures/masks/helpers.ts';
import * as helpers from '../fixtures/masks/helpers.ts';
import anyImage, { width } from '../fixtures/masks/again-default.ts';
import { kinds } from '../support/random-masks.ts';

const read = (fn: Pred): string => printMaskExpr(lowerMask({ fn, kinds }));

const limit = 7;
const limits = { low: 2, high: 2 * limit } as const;
const { high } = limits;
const listed: readonly string[] = ['visual', 'audio'];
const text = 'text';
const half = Math.floor(limits.high / 4);
const runtimeOnly = Number('6');
const isText = (t: Tok): boolean => t.kind === text;
const distance = (a: Tok, b: Tok): number => a.pos - b.pos;
function sameRow({ index: a }: Tok, { index: b }: Tok, row: number = Size.Row): boolean { return Math.floor(a / row) === Math.floor(b / row); }
const sliding = (w: number): Pred => (q, k) => q.pos - k.pos < w && k.pos <= q.pos;
const choosing = (flags: { strict: boolean; kinds: readonly string[] }): Pred => (q, k) => (flags.strict ? k.pos < q.pos : k.pos <= q.pos) && flags.kinds.includes(k.kind);
const both = (a: Pred, b: Pred): Pred => (q, k) => a(q, k) && b(q, k);

describe('predicates are read from their source', () => {
  test.each<[Pred, string]>([
    [(q, k) => k.pos <= q.pos, 'k.pos <= q.pos'],
    [(q, k) => (q.kind === 'text' ? k.pos <= q.pos : k.pos === q.pos), 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos'],
    [(q, k) => q.kind === 'text' && k.pos <= q.pos, 'q.kind == text && k.pos <= q.pos'],
    [(q, k) => !(q.kind !== 'text') || k.pos + 1 > -q.pos, 'q.kind == text || k.pos + 1 > -q.pos'],
    // eslint-disable-next-line eqeqeq
    [(q, k) => q.kind == k.kind && q.image != k.image, 'q.kind == k.kind && q.image != k.image'],
    [(query, key) => key['pos'] * 2 - 3 >= query.index % 4, 'k.pos * 2 - 3 >= q.index % 4'],
    [({ pos: a }, { pos: b, kind }) => b <= a && kind === 'visual', 'k.pos <= q.pos && k.kind == visual'],
    [function (q, k) { return k.pos <= q.pos; }, 'k.pos <= q.pos'],
    [(q, k) => (k.pos as number)! <= (q satisfies Tok).pos, 'k.pos <= q.pos'],
    [(q, k) => Math.abs(q.pos - k.pos) < Math.min(q.index, k.index, 5) + Math.max(3, q.image), 'abs(q.pos - k.pos) < min(min(q.index, k.index), 5) + max(3, q.image)'],
    [(q, k) => q.pos < 0x10 && k.pos < 1e3 && (true as boolean), 'q.pos < 16 && k.pos < 1000'],
  ])('%s', (fn, expected) => expect(read(fn)).toBe(expected));

  test.each<[Pred, string]>([
    [(q, k) => Math.floor(q.index / 24) === Math.floor(k.index / 24), 'floor(q.index / 24) == floor(k.index / 24)'],
    [(q, k) => Math.floor((q.pos - k.pos) / -3) < 2, 'floor(-(q.pos - k.pos) / 3) < 2'],
    [(q, k) => Math.ceil(q.pos / 2) <= k.pos, '-floor(-q.pos / 2) <= k.pos'],
    [(q, k) => Math.trunc((q.pos - k.pos) / 2) === 0, '(q.pos - k.pos >= 0 ? floor((q.pos - k.pos) / 2) : -floor(-(q.pos - k.pos) / 2)) == 0'],
    [(q, k) => Math.round(q.pos / 3) === Math.round(k.pos), 'floor((2 * q.pos + 3) / 6) == k.pos'],
    [(q, k) => k.pos < q.pos / 2, 'k.pos * 2 < q.pos'],
    [(q, k) => -k.pos / 3 < q.pos / 2, '-k.pos * 2 < q.pos * 3'],
    [(q, k) => q.index % 3 === k.index % -3, 'q.index % 3 == k.index % 3'],
  ])('division: %s', (fn, expected) => expect(read(fn)).toBe(expected));

  test.each<[Pred, string]>([
    [(q, k) => q.pos - k.pos < limit, 'q.pos - k.pos < 7'],
    [(q, k) => q.pos - k.pos < limits.low + high, 'q.pos - k.pos < 16'],
    [(q, k) => q.pos - k.pos < limits['high'] / 2, 'q.pos - k.pos < 7'],
    [(q, k) => q.pos - k.pos < half ** 2, 'q.pos - k.pos < 9'],
    [(q, k) => q.pos - k.pos < runtimeOnly, 'q.pos - k.pos < 6'],
    [(q, k) => q.kind === text && k.kind !== listed[0], 'q.kind == text && k.kind != visual'],
    [(q, k) => listed.includes(q.kind) && [1, 2, limit].includes(k.pos), '(q.kind == visual || q.kind == audio) && (k.pos == 1 || k.pos == 2 || k.pos == 7)'],
    [(q, k) => q.index < Size.Row && k.index < Size.Half, 'q.index < 24 && k.index < 12'],
    [(q, k) => q.pos - k.pos < span + width, 'q.pos - k.pos < 24'],
    [(q, k) => (q.pos - k.pos) % config.nested.stride < config.window, '(q.pos - k.pos) % 4 < 16'],
    [(q, k) => config.seen.some((s) => s === k.kind) && q.pos < helpers.span, '(visual == k.kind || audio == k.kind) && q.pos < 12'],
    [(q, k) => (limit > 5 ? k.pos <= q.pos : k.pos < q.pos), 'k.pos <= q.pos'],
    [(q, k) => (limits.low ?? 3) < q.pos && (limit < 5 || k.pos < 2), '2 < q.pos && k.pos < 2'],
    [(q, k) => q.pos < listed.length && k.pos < Math.max(...[1, 5, 3]), 'q.pos < 2 && k.pos < 5'],
  ])('constants: %s', (fn, expected) => expect(read(fn)).toBe(expected));

  test.each<[Pred, string]>([
    [(q, k) => causal(q, k) && near(q, k), 'k.pos <= q.pos && abs(q.pos - k.pos) < 12'],
    [(q, k) => isText(q) && distance(k, q) <= 0, 'q.kind == text && k.pos - q.pos <= 0'],
    [(q, k) => causal(k, q), 'q.pos <= k.pos'],
    [(q, k) => sameRow(q, k) || sameRow(q, k, 3), 'floor(q.index / 24) == floor(k.index / 24) || floor(q.index / 3) == floor(k.index / 3)'],
    [(q, k) => window(5)(q, k) && ownImage(q, k), 'q.pos - k.pos < 5 && q.image == k.image'],
    [(q, k) => anyImage(q, k) && helpers.causal(q, k), 'q.image == k.image && k.pos <= q.pos'],
    [and(causal, window(16)), 'k.pos <= q.pos && q.pos - k.pos < 16'],
    [or(and(causal, window(16), ownImage), isTextKey), 'k.pos <= q.pos && q.pos - k.pos < 16 && q.image == k.image || k.kind == text'],
    [both((q, k) => q.pos < k.pos, sliding(3)), 'q.pos < k.pos && q.pos - k.pos < 3 && k.pos <= q.pos'],
    [(q, k) => and(causal, (a, b) => a.image === b.image)(q, k), 'k.pos <= q.pos && q.image == k.image'],
    [{ inObject(q: Tok, k: Tok) { return k.pos < q.pos; } }.inObject, 'k.pos < q.pos'],
  ])('other functions: %s', (fn, expected) => expect(read(fn)).toBe(expected));

  test('each call of a factory has its own values', () => {
    expect(read(sliding(8))).toBe('q.pos - k.pos < 8 && k.pos <= q.pos');
    expect(read(sliding(32))).toBe('q.pos - k.pos < 32 && k.pos <= q.pos');
    expect(read(choosing({ strict: true, kinds: ['text'] }))).toBe('k.pos < q.pos && k.kind == text');
    expect(read(choosing({ strict: false, kinds: ['visual', 'audio'] }))).toBe('k.pos <= q.pos && (k.kind == visual || k.kind == audio)');
    expect([1, 2].map((w) => read((q, k) => q.pos - k.pos < w))).toEqual(['q.pos - k.pos < 1', 'q.pos - k.pos < 2']);
    const made: Pred[] = [];
    for (const w of [3, 4]) made.push((q, k) => q.pos - k.pos < w);
    expect(made.map(read)).toEqual(['q.pos - k.pos < 3', 'q.pos - k.pos < 4']);
  });

  test('bodies of several statements', () => {
    expect(read((q, k) => {
      const ahead = k.pos - q.pos;
      if (q.kind === 'text') return ahead <= 0;
      const sameImage = q.image === k.image;
      return sameImage && ahead < 4;
    })).toBe('q.kind == text ? k.pos - q.pos <= 0 : q.image == k.image && k.pos - q.pos < 4');
    expect(read((q, k) => {
      if (q.kind === 'text') {
        if (k.kind === 'text') return k.pos <= q.pos;
      } else if (limit < 3) {
        return false;
      } else {
        return k.pos === q.pos;
      }
      return true;
    })).toBe('q.kind == text ? k.kind != text || k.pos <= q.pos : k.pos == q.pos');
    expect(read((q, k) => {
      switch (q.kind) {
        case 'text': return k.pos <= q.pos;
        case 'audio':
        case 'visual': { const same = k.image === q.image; return same; }
        default: return false;
      }
    })).toBe('q.kind == text ? k.pos <= q.pos : (q.kind == audio || q.kind == visual) && k.image == q.image');
    expect(read((q, k) => {
      function later(a: Tok, b: Tok): boolean { return a.pos > b.pos; }
      const { pos, index: i } = q;
      return !later(k, q) && pos > i;
    })).toBe('k.pos <= q.pos && q.pos > q.index');
  });
});

function isTextKey(_: Tok, k: Tok): boolean { return isText(k); }

describe('masks of the DSL', () => {
  const tokens = sequence('visual', 'text');
  const own = tokens.ir.kinds.map((x) => ({ name: x.name, hasImages: x.media }));
  const lower = ({ definition }: AnyMask): string => {
    if (definition.is !== 'predicate') throw new Error('This test reads single predicates.');
    return printMaskExpr(lowerMask({ ...definition, kinds: own }));
  };
  const lookBack = mask(tokens, (q, k) => k.pos <= q.pos);
  const inWindow = mask(tokens, (q, k, { width }) => q.pos - k.pos < width, { width: 9 });

  test('with parameters', () => expect(lower(inWindow)).toBe('q.pos - k.pos < 9'));
  test('inside other masks', () => {
    expect(lower(mask(tokens, (q, k) => q.kind === 'text' && lookBack(q, k) && inWindow(q, k)))).toBe('q.kind == text && k.pos <= q.pos && q.pos - k.pos < 9');
    const narrow = allOf(lookBack, inWindow);
    expect(lower(mask(tokens, (q, k) => q.pos === 0 || narrow(q, k)))).toBe('q.pos == 0 || k.pos <= q.pos && q.pos - k.pos < 9');
  });
  test('declared in a module, and used by another', async () => {
    const { wide } = await import('../fixtures/masks/dsl.ts');
    expect(lower(wide)).toBe('q.kind == visual || k.pos <= q.pos && q.pos - k.pos < 64');
  });
});

test('reading a mask is quick once the first was read', () => {
  const began = performance.now();
  for (let i = 0; i < 20; i++) read((q, k) => k.pos <= q.pos);
  expect((performance.now() - began) / 20).toBeLessThan(200);
});
