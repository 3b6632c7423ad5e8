/**
 * Criterion 7: models that nobody has seen (random decoders, masks, row rules, layouts, sizes) are compiled to bundles,
 * and what the device answers over prompts, turns of a chat, decoding and second questions is what the interpreter gives
 * for the definition. `EEMLLM_RANDOM_MODELS` says how many of each size (else as many of 8 as begin within 20 seconds),
 * `EEMLLM_RANDOM_SEED` which.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WeightFormat } from '../../compiler/ir/index.ts';
import { UserError, int4Groups, isQuantised } from '../../compiler/ir/index.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import type { QuantiseRules } from '../../passes/quantise.ts';
import type { PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { Session } from '../../runtime/session.ts';
import type { BundleOptions } from '../support/random-bundle.ts';
import { imagesIn, itemsOf, referenceLogits, storedWeights, textLength, visualLength, withSession } from '../support/random-bundle.ts';
import type { Case, CaseOptions } from '../support/random-graphs.ts';
import { knownMask, randomCase } from '../support/random-graphs.ts';
import { distance } from '../support/run-case.ts';

const asked = process.env['EEMLLM_RANDOM_MODELS'], models = Number(asked ?? 8), patience = asked ? Infinity : 20_000, seed = process.env['EEMLLM_RANDOM_SEED'];
const runs = { numRuns: models, endOnFailure: process.env['EEMLLM_RANDOM_SHRINK'] === undefined, ...(seed ? { seed: Number(seed) } : {}) };

let found: FoundAdapter, opened: OpenDevice;
beforeAll(async () => { found = await findAdapter(); opened = await found.open(); });
afterAll(() => opened.close());

/** Prompts in the order in which they are asked; each either continues what is in the cache or begins anew. */
interface Script { readonly c: Case; readonly ends: readonly number[]; readonly again: readonly PromptItem[]; readonly options: BundleOptions }

function script(o: CaseOptions, dtypes: readonly ('f32' | 'f16')[], quantised = false): fc.Arbitrary<Script> {
  const generating: CaseOptions = { ...o, generates: true };
  return fc.oneof(randomCase(generating), randomCase({ ...generating, masks: knownMask })).chain((c) => {
    const items = itemsOf(c), vocabulary = c.graph.outputs.get('logits')!.type.dims[0]!, images = items.filter(isImage);
    const afterText = items.flatMap((x, i) => (isImage(x) ? [] : [i + 1]));
    const text = fc.array(fc.nat(vocabulary - 1), { maxLength: 3 });
    return fc.record({
      ends: fc.subarray(afterText.slice(0, -1), { maxLength: Math.min(3, afterText.length - 1) }).map((e) => [...e, items.length]),
      // The same pictures in another order, one of them perhaps twice, with other words around them.
      chosen: fc.array(fc.constantFrom(...images, 0), { maxLength: 3 }), words: fc.tuple(text, text, text, text), last: fc.nat(vocabulary - 1), keep: fc.nat(items.length),
      spare: fc.constantFrom(0, 3), dtype: fc.constantFrom(...dtypes), packed: fc.boolean(), software: fc.boolean(), rules: quantised ? rulesFor(c) : fc.constant(undefined),
    }).map(({ ends, chosen, words, last, keep, spare, dtype, packed, software, rules }): Script => {
      const again: PromptItem[] = [...(keep % 2 ? items.slice(0, keep) : []), ...words.flatMap((w, i) => [...w, ...(chosen[i] ? [chosen[i]!] : [])]), last];
      return {
        c, ends, again,
        options: {
          dtype, ...(rules ? { quantise: rules } : {}), device: software ? 'software' : 'gpu', features: packed ? new Set() : opened.features,
          maxVisual: Math.max(1, visualLength(items), visualLength(again)) + spare, maxText: Math.max(textLength(items), textLength(again)) + spare,
        },
      };
    });
  });
}

/** Every matrix in a format of its own, but for those that one kernel reads in turn. */
function rulesFor({ graph }: Case): fc.Arbitrary<QuantiseRules> {
  const formats: readonly WeightFormat[] = [{ kind: 'f32' }, { kind: 'int8' }, ...int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];
  const matrices = [...graph.weights].filter(([, n]) => n.type.dims.length > 1).map(([name]) => name);
  return fc.record({ format: fc.constantFrom(...formats.filter(isQuantised)), chosen: fc.array(fc.option(fc.constantFrom(...formats), { nil: undefined }), { minLength: matrices.length, maxLength: matrices.length }) }).map(({ format, chosen }) => {
    const of = (name: string): WeightFormat | undefined => chosen[matrices.indexOf(name.replace('gate_proj', 'up_proj'))];
    const keep = matrices.flatMap((pattern) => { const own = of(pattern); return own ? [{ pattern, format: own }] : []; });
    // At least one is quantised: the table, which every model reads.
    return { format, keep: [{ pattern: 'embed_tokens', format }, ...keep] };
  });
}

/** Runs the script on a session; the worst distance of its logits from the definition's. */
async function worstOf({ c, ends, again, options }: Script, session: Session, formats: Parameters<typeof storedWeights>[1]): Promise<number> {
  const items = itemsOf(c), weights = storedWeights(c, formats);
  let worst = 0;
  const compare = async (prompt: readonly PromptItem[], what: string): Promise<void> => {
    const [got, next] = await Promise.all([session.logits(), session.next()]), want = referenceLogits(c, prompt, weights), d = distance(want, got);
    if (d > tolerance(options)) console.error(`${what}: got ${[...got]}\nwant ${[...want]}`);
    worst = Math.max(worst, d, got[next] === Math.max(...got) ? 0 : Infinity);
  };
  for (const [i, end] of ends.entries()) {
    const prompt = items.slice(0, end), before = i ? ends[i - 1]! : 0, fresh = items.slice(before, end);
    // A stretch of text behind what is there is decoded, every other one is the next turn.
    if (i && fresh.every((x) => !isImage(x))) {
      for (const [k, token] of fresh.entries()) {
        session.decode(token as number);
        if (k === fresh.length - 1) await compare(prompt, `decode to ${end}`);
      }
    } else {
      await session.prefill(prompt);
      await compare(prompt, `prefill to ${end}`);
    }
  }
  await session.prefill(again);
  await compare(again, `second prompt ${JSON.stringify(again.map((x) => (isImage(x) ? x.key : x)))} with ${imagesIn(again).length} images`);
  session.decode(again.at(-1) as number === 0 ? 1 : 0);
  await compare([...again, again.at(-1) === 0 ? 1 : 0], 'decode after the second prompt');
  return worst;
}

/** Weights are rounded alike on both sides; what is left are f32 sums, and f16 products where the device has them. */
const tolerance = (o: BundleOptions): number => (o.dtype === 'f32' ? 1e-4 : 2e-2);

const sizes: Readonly<Record<string, { options: CaseOptions; dtypes: readonly ('f32' | 'f16')[]; quantised?: boolean }>> = {
  'small models in f32': { options: {}, dtypes: ['f32'] },
  'wider models and longer prompts in f32': { options: { width: 67, length: 41, layers: 2 }, dtypes: ['f32'] },
  'models in f16': { options: { width: 20, length: 9, layers: 2 }, dtypes: ['f16'] },
  'quantised models': { options: { width: 150, length: 9, layers: 2 }, dtypes: ['f32', 'f16'], quantised: true },
};
for (const [name, { options, dtypes, quantised }] of Object.entries(sizes)) {
  test(`${name} answer as their definitions say`, { timeout: asked ? 3_600_000 : 300_000 }, async () => {
    let refused = 0;
    const start = performance.now();
    await fc.assert(fc.asyncProperty(script(options, dtypes, quantised), async (s) => {
      if (performance.now() - start > patience) return; // a slow machine: pipelines take seconds to make
      try {
        maskAnalysis.run(s.c.graph);
      } catch (e) {
        expect(e).toBeInstanceOf(UserError); // a mask that looks into text to come
        refused++;
        return;
      }
      const worst = await withSession(s.c, opened.device, { ...s.options, maxText: s.options.maxText + 1 }, (session, formats) => worstOf(s, session, formats));
      opened.check();
      expect(worst).toBeLessThan(tolerance(s.options));
    }), runs);
    expect(refused).toBeLessThan(Math.max(models, 4));
  });
}
