/** Whatever a step needs is made at load: a device that counts what is asked of it. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { decodeImage, loadModel } from '../../runtime/node.ts';
import { BundleFolder } from '../support/shapes.ts';
import { shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const bundles = new BundleFolder();
afterAll(() => bundles.remove());

/** How often each method of the device that makes something was called since `clear`. */
function watchMaking(device: GPUDevice): Map<string, number> {
  const calls = new Map<string, number>(), names = new Set<string>();
  for (let o: object = device; o !== Object.prototype; o = Object.getPrototypeOf(o) as object) for (const name of Object.getOwnPropertyNames(o)) if (/^(create|import)/.test(name)) names.add(name);
  expect([...names]).toEqual(expect.arrayContaining(['createBuffer', 'createBindGroup', 'createComputePipelineAsync']));
  for (const name of names) {
    const method = (device as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
    Object.defineProperty(device, name, { value: (...args: unknown[]) => { calls.set(name, (calls.get(name) ?? 0) + 1); return method.apply(device, args); } });
  }
  return calls;
}

describe.each(['composite', 'self'])('with %s', (variant) => {
  test('vision, prefill, decode and several questions make no buffer, bind group or pipeline, and submit one command buffer a step', async () => {
    const loaded = await loadModel(await bundles.shapes(variant), { adapter: { prefer: 'swiftshader' }, slice: 0 }), { model, device: { device } } = loaded, { session } = model;
    try {
      const images = await Promise.all([...new Set(shapesLines().map((l) => l.image))].slice(0, 2).map(async (name) => model.image(await decodeImage(join(shapesFolder, name)), name)));
      await model.program.prepareSampling();
      const calls = watchMaking(device), submit = device.queue.submit.bind(device.queue);
      let submitted = 0;
      device.queue.submit = (list) => { const all = [...list]; submitted += all.length; submit(all); return undefined; };
      for (const [text, image, options] of [['what ?', 0, {}], ['and now ?', 0, {}], ['is there a cross ?', 1, { temperature: 1, topP: 0.9, seed: 1 }], ['describe the image .', 0, { temperature: 1, seed: 2 }]] as const) {
        const messages = [{ role: 'user', content: [{ type: 'image' as const }, { type: 'text' as const, text }] }];
        for await (const _ of model.generate({ messages, images: [images[image]!], maxTokens: 6, ...options }));
      }
      expect([...calls.keys()]).toEqual(['createCommandEncoder']);
      expect(session.counters.steps).toBeGreaterThan(10);
      expect(submitted).toBe(session.counters.steps);
      // Logits for the host come through a staging buffer that is there, too.
      calls.clear();
      await session.logits();
      expect([...calls.keys()]).toEqual(['createCommandEncoder']);
    } finally {
      loaded.close();
    }
  });
});
