/** A small SmolVLM, compiled with its pixel shuffle, answers on a device as its definition does on the interpreter. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isImage } from '../../runtime/context.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { itemsOf, referenceLogits, withSession } from '../support/random-bundle.ts';
import { distance } from '../support/run-case.ts';
import { tinyIdefics3 } from '../support/tiny-idefics3.ts';

let found: FoundAdapter, opened: OpenDevice;
beforeAll(async () => { found = await findAdapter(); opened = await found.open(); });
afterAll(() => opened.close());

test.each(['self', 'composite', 'ee-mllm-f:layers=1+shortv:layers=2'])('%s: tiles between text, a decoded token, other text around the same tiles', async (variant) => {
  const c = tinyIdefics3(variant, [3, 2, 1, 4]), items = itemsOf(c), again = [5, ...items.filter(isImage).slice(1), 7, 1];
  await withSession(c, opened.device, { device: 'software', dtype: 'f32', features: opened.features, maxVisual: 12, maxText: 12 }, async (session) => {
    const check = async (prompt: typeof items, what: string): Promise<void> => expect(distance(referenceLogits(c, prompt), await session.logits()), what).toBeLessThan(1e-4);
    await session.prefill(items);
    await check(items, 'prefill');
    session.decode(9);
    await check([...items, 9], 'decode');
    await session.prefill(again);
    await check(again, 'second prompt');
  });
  opened.check();
});
