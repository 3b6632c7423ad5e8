import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { printMaskExpr } from '../../compiler/ir/mask/index.ts';
import { attentionSpace, whyNotAttention } from '../../compiler/schedule/attention-schedule.ts';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { factsOf, leastFacts } from '../../compiler/schedule/device-facts.ts';
import { attentionShape } from '../../compiler/wgsl/attention.ts';
import type { AdapterPreference, FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import { likelyMask } from './random-masks.ts';
import { cases, exchangeSchedules, oddSchedules, tolerance } from './attention-cases.ts';
import { attentionCase, defaultOf, worstError } from './attention.ts';

const compiledForGpus = new Set(['causal, heads of 11', 'composite, image in the past', 'relative, halves', 'decode, grouped heads', 'decode, single head of 128', 'decode, relative', 'packed f16', 'int8', 'int8, decode', 'f16']);

/** The attention kernels against the reference on one adapter. A process can use one kind of adapter: one file for each. */
export function attentionSuite(prefer: AdapterPreference): void {
  let found: FoundAdapter, opened: OpenDevice, facts: DeviceFacts; // the device works as long as somebody holds the adapter
  beforeAll(async () => { found = await findAdapter({ prefer }); opened = await found.open(); facts = factsOf(opened, found.adapter.info, found.software); });
  afterAll(() => opened.close());
  const supported = (features: readonly string[]): boolean => features.every((f) => opened.features.has(f));

  for (const [name, options] of Object.entries(cases)) {
    test(`attention: ${name}`, async ({ skip }) => {
      const c = attentionCase(options);
      if (!supported(c.features)) skip(`this adapter lacks ${c.features.join(', ')}`);
      // Software adapters take seconds to compile a GPU's tile.
      for (const device of compiledForGpus.has(name) ? (['software', 'gpu'] as const) : (['software'] as const)) expect(await worstError(opened.device, c, defaultOf(c, device)), `default of ${device}`).toBeLessThan(tolerance(options));
    });
  }

  // Each odd schedule meets two cases, each case several schedules.
  const trials = ['own image', 'decode, grouped heads', 'relative, interleaved', 'values of 11'];
  for (const [i, [name, schedule]] of Object.entries(oddSchedules).entries()) {
    test(`attention with ${name}`, async () => {
      for (const which of [trials[i % 4]!, trials[(i + 1) % 4]!]) {
        expect(await worstError(opened.device, attentionCase(cases[which]!), schedule), which).toBeLessThan(tolerance(cases[which]!));
      }
    });
  }

  // Lanes exchange inside a subgroup: every case meets one such schedule, and every schedule several cases.
  describe('attention that exchanges', () => {
    const names = Object.keys(exchangeSchedules(4));
    for (const [i, [name, options]] of Object.entries(cases).entries()) {
      const how = names[i % names.length]!;
      test(`${name}, with ${how}`, async ({ skip }) => {
        const c = attentionCase(options), schedule = exchangeSchedules(facts.subgroups?.min ?? 4)[how]!, problem = whyNotAttention(schedule, attentionShape(c.spec), facts);
        if (!supported(c.features)) skip(`this adapter lacks ${c.features.join(', ')}`);
        if (problem) skip(problem);
        expect(await worstError(opened.device, c, schedule, facts)).toBeLessThan(tolerance(options));
      });
    }
  });

  test.each(['tile', 'exchange'] as const)('random masks, layouts and schedules of form %s', async (form) => {
    const part = fc.record({ kind: fc.constantFrom('visual' as const, 'text' as const), length: fc.integer({ min: 0, max: 25 }) });
    const parts = fc.array(part, { minLength: 1, maxLength: 5 }).map((list) => list.filter((p, i) => p.kind === 'visual' || list[i - 1]?.kind !== 'text'));
    const sizes = fc.record({ kvHeads: fc.integer({ min: 1, max: 2 }), group: fc.integer({ min: 1, max: 3 }), headDim: fc.constantFrom(8, 10, 11, 24), kv: fc.constantFrom('f32' as const, 'f16x2' as const, 'int8' as const), seed: fc.nat() });
    await fc.assert(fc.asyncProperty(likelyMask, parts, sizes, fc.nat(), async (mask, list, { kvHeads, group, headDim, kv, seed }, pick) => {
      const c = attentionCase({ mask: printMaskExpr(mask), parts: list, kvHeads, heads: kvHeads * group, headDim, seed, unproven: seed % 3 === 0, storage: { kv } });
      const device: DeviceFacts = form === 'tile' ? leastFacts('gpu') : { ...facts, class: 'software' };
      const space = attentionSpace(attentionShape(c.spec), device).filter((s) => s.form === form && s.rowsPerThread * s.keysPerThread <= 16);
      if (!space.length) return; // the device's subgroups are not known
      expect(await worstError(opened.device, c, space[pick % space.length]!, device)).toBeLessThan(4e-6);
    }), { numRuns: 8, endOnFailure: true });
  });
}
