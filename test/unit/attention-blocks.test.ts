import fc from 'fast-check';
import { expect, test } from 'vitest';
import { evaluate, printMaskExpr } from '../../compiler/ir/mask/index.ts';
import type { AttentionSchedule } from '../../compiler/schedule/attention-schedule.ts';
import { attentionBlocking } from '../../compiler/schedule/attention-schedule.ts';
import { attentionShape } from '../../compiler/wgsl/attention.ts';
import { attentionBlocks } from '../../compiler/wgsl/attention-blocks.ts';
import { attentionCase, defaultOf } from '../support/attention.ts';
import { exchangeSchedules } from '../support/attention-cases.ts';
import type { Case, CaseOptions } from '../support/attention.ts';
import { likelyMask } from '../support/random-masks.ts';

const workBy = <S extends AttentionSchedule>(c: Case, schedule: S) => ({ c, schedule, work: attentionBlocks(c.spec, schedule, { dims: c.dims, rows: c.rows, spans: c.spans }) });
const workOf = (o: CaseOptions, device: 'software' | 'gpu' = 'software') => { const c = attentionCase(o); return workBy(c, defaultOf(c, device)); };
const text = (length: number) => ({ kind: 'text' as const, length }), visual = (length: number) => ({ kind: 'visual' as const, length });
const causal = 'k.pos <= q.pos', composite = 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos';

test('causal: whole blocks below the diagonal, the predicate along it, nothing above', () => {
  const { work, schedule } = workOf({ mask: causal, parts: [text(128)], heads: 2, headDim: 32 });
  const [rows, keys] = [schedule.rowGroups * schedule.rowsPerThread, schedule.lanes * schedule.keysPerThread];
  expect([rows, keys]).toEqual([4, 32]);
  expect(work.mixed).toBe(32);
  expect(work.full).toBe(8 * (0 + 1 + 2 + 3));
  expect(work.skipped).toBe(8 * (3 + 2 + 1));
  expect(work.flops).toBe((32 + 48) * (4 * 32) * (32 + 32) * 2 * 2);
});

test('exchange: blocks of lanes × rows and lanes × keys; the last lane\'s keys of a ragged block are padding', () => {
  const c = attentionCase({ mask: causal, parts: [text(29)], heads: 2, headDim: 32 }), { work } = workBy(c, exchangeSchedules(8)['three keys each, two rows']!);
  // 16 rows by 24 keys: rows 0–15 meet keys 0–23, rows 16–28 those and the last 5, which are two lanes' keys.
  expect(work).toMatchObject({ full: 0, mixed: 3, skipped: 1 });
  expect(work.flops).toBe(16 * (3 * 24 * 32 + (24 + 24 + 6) * 32) * 2 * 2);
});

test('composite: text reads images whole, and visual rows meet their own block alone', () => {
  const alone = workOf({ mask: composite, parts: [visual(64), text(32)], heads: 1, headDim: 8, queryKinds: ['text'] }).work;
  expect(alone).toMatchObject({ full: 8 * 2, mixed: 8, skipped: 0 });
  const all = workOf({ mask: composite, parts: [visual(64), text(32)], heads: 1, headDim: 8 }).work;
  expect(all).toMatchObject({ full: 8 * 2, mixed: 8 + 16, skipped: 16 * 2 });
});

test('composite at 576 + 64 on heads of a 7B model executes at most 5 % more than the pairs that the mask admits', () => {
  const { c, work } = workOf({ mask: composite, parts: [text(32), visual(576), text(32)], heads: 1, headDim: 128, queryKinds: ['text'] }, 'gpu');
  const pairs = (32 * 33) / 2 + 32 * (32 + 576) + (32 * 33) / 2;
  expect(work.flops / (pairs * 4 * 128)).toBeLessThan(1.05);
  expect(c.spec.heads).toBe(1);
});

test('a block is skipped only if the mask admits none of its pairs, and computed whole only if it admits all', () => {
  const part = fc.oneof(fc.integer({ min: 1, max: 60 }).map(visual), fc.integer({ min: 1, max: 60 }).map(text));
  fc.assert(fc.property(likelyMask, fc.array(part, { minLength: 1, maxLength: 4 }), fc.boolean(), fc.boolean(), (mask, list, unproven, exchange) => {
    const parts = list.filter((p, i) => p.kind === 'visual' || list[i - 1]?.kind !== 'text');
    const c = attentionCase({ mask: printMaskExpr(mask), parts, heads: 1, headDim: 4, unproven });
    const { schedule, work } = workBy<AttentionSchedule>(c, exchange ? exchangeSchedules(4)['a key each']! : defaultOf(c, 'software')), { rows, keys } = attentionBlocking(schedule, attentionShape(c.spec));
    const token = (at: number, x: Int32Array) => ({ pos: x[at]!, kind: ['visual', 'text'][x[at + 1]!]!, index: x[at + 2]!, image: x[at + 3]! });
    let none = 0, all = 0, blocks = 0;
    for (let first = 0; first < c.rows.length / 4; first += rows)
      for (let s = 0; s < c.spans.length; s += 8)
        for (let begin = 0; begin < c.spans[s + 1]!; begin += keys, blocks++) {
          const answers = new Set<boolean>();
          for (let r = first; r < Math.min(first + rows, c.rows.length / 4); r++)
            for (let j = begin; j < Math.min(begin + keys, c.spans[s + 1]!); j++)
              answers.add(evaluate(mask, token(r * 4, c.rows), token(0, Int32Array.of(c.spans[s + 4]! + j, c.spans[s + 2]!, c.spans[s + 5]! + j, c.spans[s + 3]!))));
          if (!answers.has(true)) none++;
          if (!answers.has(false)) all++;
        }
    expect(work.full + work.mixed + work.skipped).toBe(blocks);
    expect(work.skipped).toBeLessThanOrEqual(none);
    expect(work.full).toBeLessThanOrEqual(all);
  }), { numRuns: 90 });
});
