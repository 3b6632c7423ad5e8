/** A small Mixtral on a device, prefilled and decoded, answers as its definition does on the interpreter; quantised experts too. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseWeightFormat } from '../../compiler/ir/weight-format.ts';
import type { Segment } from '../../compiler/ir/index.ts';
import { isImage } from '../../runtime/context.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { itemsOf, referenceLogits, storedWeights, withSession } from '../support/random-bundle.ts';
import { distance } from '../support/run-case.ts';
import { mixtralCase, tinyMixtral } from '../support/tiny-mixtral.ts';

if (process.platform === 'linux' && process.arch === 'x64') process.env['EEMLLM_ADAPTER'] ??= 'swiftshader';

let found: FoundAdapter, opened: OpenDevice;
beforeAll(async () => { found = await findAdapter(); opened = await found.open(); });
afterAll(() => opened.close());

const prompt: readonly Segment[] = [{ kind: 'text', length: 3 }, { kind: 'visual', image: 0, length: 5 }, { kind: 'text', length: 4 }];

test.each([
  // With 1000 bytes a binding, gate and up of one expert are two tensors, and down of all of them several; so is a router of 15.
  ['self', 'f32', undefined, 1000, 'software', {}], ['ee-mllm-f:layers=0+shortv:layers=1', 'f32', 'int8', undefined, 'software', {}], ['composite', 'f16', 'int4:group=32,asymmetric', undefined, 'software', {}],
  ['self', 'f32', undefined, 1000, 'software', { num_local_experts: 15 }],
  // Of 70 scores the default for GPUs has some in every workgroup, and a kernel of its own chooses.
  ['composite', 'f32', undefined, undefined, 'gpu', { num_local_experts: 70, num_experts_per_tok: 5, num_hidden_layers: 1 }],
] as const)('%s, %s, %s, at most %s bytes bound, kernels for %s, %j', async (variant, dtype, quant, bindingLimit, device, config) => {
  const c = mixtralCase(variant, prompt, { ...tinyMixtral, ...config }), items = itemsOf(c), again = [5, ...items.filter(isImage), 7, 1, 2];
  const quantise = quant === undefined ? {} : { quantise: { format: parseWeightFormat(quant)!, keep: [] } };
  await withSession(c, opened.device, { device, dtype, ...quantise, ...(bindingLimit === undefined ? {} : { bindingLimit }), features: opened.features, maxVisual: 12, maxText: 16 }, async (session, formats) => {
    if (quant !== undefined) expect(formats.get('model.layers.0.block_sparse_moe.experts.3.w2.weight')?.kind).toBe(quant.slice(0, 4));
    const weights = storedWeights(c, formats);
    const check = async (said: typeof items, what: string): Promise<void> => expect(distance(referenceLogits(c, said, weights), await session.logits()), what).toBeLessThan(1e-4);
    await session.prefill(items);
    await check(items, 'prefill');
    session.decode(9);
    await check([...items, 9], 'decode');
    await session.prefill(again);
    await check(again, 'another prompt');
  });
  opened.check();
});
