/**
 * Weights beyond what a device may bind at once are split by rows by the plan, whatever their format and wherever the cuts fall: a
 * model in many slices answers as its definition does on the interpreter. Criterion 5 of real sizes is the last test: an
 * embedding table and a head above 128 MiB on a device with WebGPU's default limits.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createModel } from 'eemllm';
import { Llama, applyVariant } from 'eemllm/models';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Checkpoint } from '../../compiler/bundle/checkpoint.ts';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { UserError, interpret } from '../../compiler/ir/index.ts';
import { chooseTarget } from '../../runtime/bundle.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';
import { uploadWeights } from '../../runtime/weights.ts';
import { makeCheckpoint } from '../../scripts/make-checkpoint.ts';
import { caseOf } from '../support/golden.ts';
import type { BundleOptions } from '../support/random-bundle.ts';
import { itemsOf, referenceLogits, storedWeights, withSession } from '../support/random-bundle.ts';
import { distance } from '../support/run-case.ts';

let found: FoundAdapter, opened: OpenDevice;
/** No feature and no limit is asked for: what every WebGPU device has. */
beforeAll(async () => { found = await findAdapter(process.env['EEMLLM_ADAPTER'] ? {} : { prefer: 'swiftshader' }); opened = await found.open({ features: [], limits: {} }); });
afterAll(() => opened.close());

/** Widths that no tile divides; heads of 6. A picture's rows are given as they are. */
const config = { model_type: 'llama', hidden_size: 18, intermediate_size: 23, num_hidden_layers: 2, num_attention_heads: 3, num_key_value_heads: 1, vocab_size: 101 };
function tiny(variant: string, kvHeads = 1) {
  const model = createModel(Llama, { ...config, num_key_value_heads: kvHeads });
  applyVariant(model, variant);
  const c = caseOf(trace(model).graph, [{ kind: 'text', length: 2 }, { kind: 'visual', image: 0, length: 3 }, { kind: 'text', length: 4 }]);
  return { ...c, weights: new Map([...c.weights].map(([name, w]) => [name, w.map((x) => x * 0.3)] as const)) };
}
const int4 = { kind: 'int4', group: 32, symmetric: true } as const;

test.each<[string, number, Pick<BundleOptions, 'dtype' | 'quantise'>]>([
  ['self', 1300, { dtype: 'f32' }],
  ['composite', 530, { dtype: 'f16' }],
  ['composite', 530, { dtype: 'f16', quantise: { format: int4, keep: [{ pattern: 'v_proj', format: { kind: 'int8' } }] } }],
])('%s in at most %i bytes, %j', async (variant, bindingLimit, format) => {
  const c = tiny(variant), items = [...itemsOf(c), 100, 7, 64];
  await withSession(c, opened.device, { ...format, device: 'software', features: new Set(), maxVisual: 3, maxText: 11, bindingLimit }, async (session, formats) => {
    const weights = storedWeights(c, formats), tolerance = format.dtype === 'f32' ? 1e-4 : 2e-2;
    await session.prefill(items);
    expect(distance(referenceLogits(c, items, weights), await session.logits()), 'prefill').toBeLessThan(tolerance);
    session.decode(99);
    expect(distance(referenceLogits(c, [...items, 99], weights), await session.logits()), 'decode').toBeLessThan(tolerance);
  });
  opened.check();
});

test.each([
  [300, /^A head of '.*k_proj\.weight' \(6 rows\) takes 432 bytes, more than a device may bind at once \(300 bytes\)\. Raise --binding-limit\.$/],
  [800, /^A table of rotary angles for 40 positions takes 960 bytes/],
  [1000, /^The memory of visual and text rows in '.*\.[kv]' takes 2880 bytes, more than a device may bind at once \(1000 bytes\)\. Compile for fewer rows \(--max-visual, --max-text\), or for devices that bind more \(--binding-limit 2880 at least\)\.$/],
])('a limit of %i bytes is too small, and said so', async (bindingLimit, message) => {
  const refused = withSession(tiny('composite', 3), opened.device, { dtype: 'f32', device: 'software', features: new Set(), maxVisual: 3, maxText: 37, bindingLimit }, async () => undefined);
  await expect(refused).rejects.toBeInstanceOf(UserError);
  await expect(refused).rejects.toThrow(message);
});

test('an embedding table and a head of 143 MB each, on a device with the default limits', async () => {
  expect(opened.device.limits.maxStorageBufferBindingSize).toBe(128 << 20);
  const folder = await mkdtemp(join(tmpdir(), 'eemllm-large-'));
  try {
    const large = { ...config, hidden_size: 1024, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 16, num_key_value_heads: 1, vocab_size: 70_000 };
    await makeCheckpoint(join(folder, 'checkpoint'), large, { dtype: 'f16', shards: 1 });
    const source = await findModel(join(folder, 'checkpoint')), { manifest, compiled } = await compileModel(source, { dtype: 'f16', maxText: 16, maxVisual: 1, output: join(folder, 'bundle') });
    const target = chooseTarget(await openBundleFolder(join(folder, 'bundle')), opened.features, found.software, {});
    const weightsOf = (name: string): number[] => Object.entries(target.buffers).flatMap(([key, b]) => (b.kind === 'weight' && key.startsWith(name) ? [b.bytes] : []));
    for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) expect(weightsOf(name)).toHaveLength(2);
    expect(manifest.weights.every((w) => w.bytes <= 512e6)).toBe(true);

    const bundle = await openBundleFolder(join(folder, 'bundle')), program = await Program.create(bundle, target, opened.device), session = new Session(program, manifest);
    try {
      await uploadWeights(bundle, program);
      const prompt = [69_999, 3, 34_900, 35_100];
      await session.prefill(prompt);
      const logits = await session.logits(), next = await session.next();
      opened.check();
      const files = await Checkpoint.open(join(folder, 'checkpoint')), { graph } = trace(source.create()), weights = new Map<string, Float32Array>();
      for (const [name, n] of graph.weights) weights.set(name, await files.rows(name, 0, n.type.dims[0]!));
      await files.close();
      const want = Float32Array.from(interpret(graph, { layout: { tokens: [{ kind: 'text', length: prompt.length }] }, inputs: { ids: prompt }, weights }).outputs.get('logits')!.data);
      expect(distance(want, logits)).toBeLessThan(2e-2);
      expect(want[next]).toBeCloseTo(want.reduce((a, b) => Math.max(a, b)), 3);
      expect(compiled.targets.length).toBeGreaterThan(0);
    } finally {
      session.destroy();
      program.destroy();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
