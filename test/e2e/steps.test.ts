/** Steps of a session: decode that runs ahead, draws on the device, long steps in slices. Results must not depend on any of it. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countersSince } from '../../runtime/counters.ts';
import type { GenerateOptions, ImageInput, LoadedModel, Session } from '../../runtime/node.ts';
import { decodeImage, loadModel } from '../../runtime/node.ts';
import { Session as AnySession } from '../../runtime/session.ts';
import { BundleFolder } from '../support/shapes.ts';
import { shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const bundles = new BundleFolder(), [line] = shapesLines() as [ReturnType<typeof shapesLines>[number]];
const asked = (images: ImageInput[], text = line.question): GenerateOptions => ({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text }] }], images });

let loaded: LoadedModel, image: ImageInput;
beforeAll(async () => {
  loaded = await loadModel(await bundles.shapes('composite', 'f32', { maxVisual: 128, maxText: 48 }), { adapter: { prefer: 'swiftshader' } });
  image = await loaded.model.image(await decodeImage(join(shapesFolder, line.image)), line.image);
});
afterAll(() => { loaded?.close(); bundles.remove(); });

/** The tokens of an answer, what the context holds afterwards, and what ran for it besides what was taken back. */
async function answer(options: GenerateOptions, leave = Infinity) {
  const { model } = loaded, { session } = model, tokens: number[] = [], before = structuredClone(session.counters);
  session.reset();
  for await (const { token } of model.generate(options)) {
    if (token >= 0) tokens.push(token);
    if (tokens.length >= leave) break;
  }
  const { discarded, ...ran } = countersSince(session.counters, before);
  return { tokens, held: session.length, steps: ran.steps - discarded.steps, flops: ran.flops - discarded.flops, discarded: discarded.steps };
}

describe('decode runs ahead', () => {
  test.each([['likeliest', {}], ['drawn', { temperature: 1.5, topK: 30, topP: 0.95, seed: 5 }]] as const)('%s tokens, context and work are those of one step after the other', async (_name, sampling) => {
    const options = { ...asked([image]), ...sampling, maxTokens: 9 }, one = await answer({ ...options, ahead: 0 });
    expect(one.discarded).toBe(0);
    await answer(options); // the picture has been seen
    const again = await answer({ ...options, ahead: 0 });
    for (const ahead of [1, 2, 5, 9]) {
      const { discarded, ...run } = await answer({ ...options, ahead }), { discarded: none, ...wanted } = again;
      expect(run, `ahead ${ahead}`).toEqual(wanted);
      expect(none).toBe(0);
      expect(discarded).toBeLessThanOrEqual(ahead);
    }
  });

  test('what ran beyond an end token, a left loop or an abort is taken back, and the conversation goes on', async () => {
    const whole = await answer({ ...asked([image]), ahead: 5 });
    expect(whole.tokens).toEqual(line.composite.tokens);
    expect(whole.discarded).toBeGreaterThan(0);
    for (const leave of [1, 2]) {
      const left = await answer({ ...asked([image]), ahead: 4 }, leave), careful = await answer({ ...asked([image]), ahead: 0 }, leave);
      expect([left.tokens, left.held]).toEqual([whole.tokens.slice(0, leave), careful.held]);
    }
    const stop = new AbortController(), some: number[] = [];
    for await (const { token } of loaded.model.generate({ ...asked([image]), ahead: 4, signal: stop.signal })) if (some.push(token) === 2) stop.abort();
    expect(some).toEqual(whole.tokens.slice(0, 2));
    // The cached rows of the prompt serve the next answer, which is right.
    expect((await answer({ ...asked([image]), ahead: 5 })).tokens).toEqual(whole.tokens);
    const { model } = loaded, turns = { messages: [...asked([image]).messages!, { role: 'assistant', content: line.composite.text }, { role: 'user', content: 'is there a red circle ?' }], images: [image], maxTokens: 4 };
    const fresh = await answer({ ...turns, ahead: 0 });
    await answer({ ...asked([image]), ahead: 5 });
    const continued: number[] = [];
    for await (const { token } of model.generate({ ...turns, ahead: 5 })) if (token >= 0) continued.push(token);
    expect(continued).toEqual(fresh.tokens);
  });

  test('the context fills up to its last row and no further', async () => {
    const prompt = 'is there a red circle ? '.repeat(6), full = { prompt: `USER: <image> ${prompt}ASSISTANT:`, images: [image], maxTokens: 100, temperature: 9, seed: 1 };
    const far = await answer({ ...full, ahead: 6 }), near = await answer({ ...full, ahead: 0 });
    expect([far.tokens, far.held]).toEqual([near.tokens, near.held]);
  });

  test('a number of steps that cannot run ahead is told', async () => {
    for (const ahead of [-1, 0.5, 10]) await expect(answer({ ...asked([image]), ahead })).rejects.toThrow(/ahead is .* and a number of steps from 0 to 9/);
  });
});

test('tokens drawn on the device are those that the host draws', async () => {
  for (const [seed, sampling] of [[1, { temperature: 1 }], [2, { temperature: 3, topK: 12 }], [3, { temperature: 2, topP: 0.9 }], [4, { temperature: 4, topK: 40, topP: 0.8 }]] as const) {
    const options = { ...asked([image], 'describe the image .'), ...sampling, seed, maxTokens: 12 };
    expect((await answer(options)).tokens, JSON.stringify(sampling)).toEqual((await answer({ ...options, drawOn: 'host' })).tokens);
  }
});

describe('long steps in slices', () => {
  /** A session of its own, whose slices are of single dispatches or, with 0, whole steps. */
  const withSlices = async <T>(slice: number, use: (s: Session) => Promise<T>): Promise<T> => {
    const { model } = loaded, session = new AnySession(model.program, model.bundle.manifest, { slice });
    try { return await use(session); } finally { session.destroy(); }
  };
  const prompt = () => loaded.model.items(asked([image]));

  test('give the same bits and the same counts', async () => {
    const run = (slice: number) => withSlices(slice, async (s) => { await s.prefill(prompt()); return { logits: await s.logits(), counters: s.counters }; });
    const [whole, cut] = [await run(0), await run(1e-9)];
    expect(cut.logits).toEqual(whole.logits);
    expect(cut.counters).toEqual(whole.counters);
  });

  test('an abort takes effect between them, and the next prompt is read rightly', async () => {
    const wanted = await withSlices(0, async (s) => { await s.prefill(prompt()); return s.logits(); });
    await withSlices(1e-9, async (s) => {
      for (const after of [0, 3, 12, 30]) {
        const stop = new AbortController(), { queue } = s.program.device, submit = queue.submit.bind(queue);
        let submitted = 0;
        queue.submit = (list) => { submit(list); if (++submitted === after) stop.abort(); return undefined; };
        if (after === 0) stop.abort();
        await expect(s.prefill(prompt(), { signal: stop.signal })).rejects.toThrow(/abort/i);
        queue.submit = submit;
        expect(submitted).toBe(after);
        expect(s.length).toBe(0);
      }
      await s.prefill(prompt());
      expect(await s.logits()).toEqual(wanted);
    });
  });

  test('nothing else runs while a prompt is read', async () => {
    await withSlices(1e-9, async (s) => {
      const reading = s.prefill(prompt());
      expect(() => s.decode(5)).toThrow(/still reading a prompt/);
      await expect(s.prefill(prompt())).rejects.toThrow(/still reading a prompt/);
      await reading;
      s.decode(5);
      expect(await s.next()).toBeGreaterThanOrEqual(0);
    });
  });

  test('an answer that is aborted while its prompt is read ends without a token', async () => {
    const stop = new AbortController();
    stop.abort();
    expect((await answer({ ...asked([image]), signal: stop.signal })).tokens).toEqual([]);
    expect((await answer(asked([image]))).tokens).toEqual(line.composite.tokens);
  });
});
