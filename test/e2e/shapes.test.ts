/** The trained model of examples/shapes, compiled and asked: criteria 2 and 6, chat, sampling and limits. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GenerateOptions, ImageInput, LoadedModel } from '../../runtime/node.ts';
import { decodeImage, findAdapter, loadModel } from '../../runtime/node.ts';
import { newCounters } from '../../runtime/program.ts';
import { findManifests } from '../../runtime/node-vulkan.ts';
import { BundleFolder, answerShapes } from '../support/shapes.ts';
import { shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const lines = shapesLines(), bundles = new BundleFolder();
const linux = process.platform === 'linux';
/** Without a software adapter that we know: whatever this system has. */
const adapters = [...(linux && process.arch === 'x64' ? ['swiftshader'] : []), ...(linux && findManifests().lavapipe.length ? ['lavapipe'] : []), ...(linux ? [] : ['auto'])];
afterAll(() => bundles.remove());

describe.each(adapters)('on %s', (adapter) => {
  for (const variant of ['self', 'composite'] as const) {
    const wrong = (answers: readonly number[][]): string[] => lines.flatMap((l, i) => (l[variant].tokens.join() === answers[i]!.join() ? [] : [`${l.image} ${l.question} wants ${l[variant].tokens.join()}, not ${answers[i]!.join()}`]));

    test(`${variant} in f32 answers every line token for token`, async () => {
      const { answers } = await answerShapes(await bundles.shapes(variant), adapter);
      expect(wrong(answers)).toEqual([]);
    });

    test(`${variant} in f16 and packed f16 answers at least 99 % of the lines`, async () => {
      const bundle = await bundles.shapes(variant, 'f16');
      const native = await answerShapes(bundle, adapter);
      // An adapter without shader-f16 has run the packed program already.
      const runs = /-packed(@|$)/.test(native.target) ? [native] : [native, await answerShapes(bundle, adapter, 'none')];
      expect(runs.at(-1)!.target).toMatch(/f16-packed(@|$)/);
      for (const { answers, target } of runs) expect(wrong(answers).length, `${target}: ${wrong(answers).join('; ')}`).toBeLessThanOrEqual(lines.length * 0.01);
    });
  }
});

const user = (text: string, images = 1) => ({ role: 'user', content: [...Array.from({ length: images }, () => ({ type: 'image' as const })), { type: 'text' as const, text }] });
const said = (text: string) => ({ role: 'assistant', content: [{ type: 'text' as const, text }] });

async function ask({ model }: LoadedModel, options: GenerateOptions): Promise<{ tokens: number[]; text: string }> {
  const tokens: number[] = [];
  let text = '';
  for await (const piece of model.generate(options)) { if (piece.token >= 0) tokens.push(piece.token); text += piece.text; }
  return { tokens, text };
}

describe.each(['composite', 'self'] as const)('a session with %s', (variant) => {
  let loaded: LoadedModel, pictures: ImageInput[];
  const first = lines[0]!, sameImage = lines.filter((l) => l.image === first.image), other = lines.find((l) => l.image !== first.image)!;
  beforeAll(async () => {
    loaded = await loadModel(await bundles.shapes(variant), { adapter: { prefer: (await findAdapter()).kind as 'auto' } });
    pictures = await Promise.all([first, other].map(async (l) => loaded.model.image(await decodeImage(join(shapesFolder, l.image)), l.image)));
  });
  afterAll(() => loaded?.close());
  const counted = async (options: GenerateOptions) => {
    loaded.model.session.counters = newCounters();
    return { ...(await ask(loaded, options)), rows: loaded.model.session.counters.rows };
  };
  const answered = (text: string): GenerateOptions => ({ messages: [user(text)], images: [pictures[0]!] });

  test('a second question about an image does no work on its rows', async () => {
    const once = await counted(answered(sameImage[0]!.question));
    expect(once.tokens).toEqual(sameImage[0]![variant].tokens);
    expect(once.rows['patch']).toBeGreaterThan(0);
    expect(once.rows['visual']).toBeGreaterThan(0);
    const again = await counted(answered(sameImage[1]!.question));
    expect(again.tokens).toEqual(sameImage[1]![variant].tokens);
    const touched = Object.keys(again.rows).filter((kind) => again.rows[kind]! > 0);
    // The baseline's image stands at the same place behind the same text, so its cached rows serve too.
    expect(touched).toEqual(['text']);
  });

  test('also when the text before the image differs, or an earlier turn is new', async () => {
    const question = sameImage[1]!.question;
    await counted(answered(sameImage[0]!.question));
    const raw = await counted({ prompt: `${question} ${question} USER: <image> ${question} ASSISTANT:`, images: [pictures[0]!], maxTokens: 4 });
    const turn = await counted({ messages: [{ role: 'user', content: [{ type: 'text', text: question }] }, said('yes'), user(question)], images: [pictures[0]!], maxTokens: 4 });
    for (const { rows } of [raw, turn]) {
      expect(rows['text']).toBeGreaterThan(0);
      for (const kind of ['class', 'patch', 'tile']) expect(rows[kind] ?? 0).toBe(0);
      if (variant === 'composite') expect(rows['visual'] ?? 0).toBe(0);
      else expect(rows['visual']).toBeGreaterThan(0); // what each row of the baseline holds depends on the text before it
    }
  });

  test('a conversation continues in the cache and answers as if it were read anew', async () => {
    const [one, two] = sameImage as [typeof first, typeof first];
    const turns = [user(one.question), said(one[variant].text), { role: 'user', content: two.question }];
    const whole = await ask(loaded, { messages: turns, images: [pictures[0]!], maxTokens: 8 });
    loaded.model.session.reset();
    await ask(loaded, answered(one.question));
    const held = loaded.model.session.length, continued = await counted({ messages: turns, images: [pictures[0]!], maxTokens: 8 });
    expect(continued.tokens).toEqual(whole.tokens);
    expect(held).toBeGreaterThan(0);
    expect(Object.entries(continued.rows).filter(([kind, n]) => kind !== 'text' && n > 0)).toEqual([]);
  });

  test('several images, asked in either order, are told apart', async () => {
    const both = async (images: ImageInput[]) => (await ask(loaded, { messages: [user(first.question, 2)], images, maxTokens: 12 })).tokens;
    const [a, b] = pictures as [ImageInput, ImageInput];
    const ab = await both([a, b]), ba = await both([b, a]);
    expect(await both([a, b])).toEqual(ab);
    loaded.model.session.reset();
    expect(await both([b, a])).toEqual(ba);
    expect((await ask(loaded, answered(first.question))).tokens).toEqual(first[variant].tokens);
  });

  test('draws with a seed are repeatable, and follow temperature and the cuts', async () => {
    const draw = (seed: number, o: Partial<GenerateOptions> = {}) => ask(loaded, { ...answered(first.question), maxTokens: 12, temperature: 8, seed, ...o }).then((x) => x.tokens.join());
    expect(await draw(3)).toBe(await draw(3));
    expect(new Set([await draw(1), await draw(2), await draw(4)]).size).toBeGreaterThan(1);
    expect(await draw(5, { topK: 1 })).toBe(first[variant].tokens.join());
    expect(await draw(6, { topP: 1e-6 })).toBe(first[variant].tokens.join());
  });

  test('no more tokens than asked for, and none after an abort', async () => {
    expect((await ask(loaded, { ...answered(first.question), maxTokens: 3 })).tokens).toEqual(first[variant].tokens.slice(0, 3));
    const stop = new AbortController(), tokens: number[] = [];
    for await (const { token } of loaded.model.generate({ ...answered(first.question), signal: stop.signal })) {
      if (token >= 0) tokens.push(token);
      if (tokens.length === 2) stop.abort();
    }
    expect(tokens.length).toBeLessThanOrEqual(3);
    expect(tokens.length).toBeGreaterThanOrEqual(2);
    for await (const _ of loaded.model.generate(answered(first.question))) break; // leaving the loop frees the model
    expect((await ask(loaded, answered(first.question))).tokens).toEqual(first[variant].tokens);
  });

  test('a prompt that is too long is refused, and the next one answered', async () => {
    await expect(ask(loaded, answered('what color is the cross ? '.repeat(60)))).rejects.toMatchObject({ code: 'limit', exitCode: 1, message: expect.stringMatching(/^The conversation needs \d+ text tokens, but this bundle was compiled for at most 256\..*--max-text \d+ or more\.$/) });
    await expect(ask(loaded, { messages: [user('what color ?', 5)], images: Array.from({ length: 5 }, () => pictures[0]!) }))[variant === 'self' ? 'rejects' : 'resolves'][variant === 'self' ? 'toMatchObject' : 'toBeDefined']({ code: 'limit' } as never);
    expect((await ask(loaded, answered(first.question))).tokens).toEqual(first[variant].tokens);
  });
});

test('an answer does not depend on where its picture lies in the visual memory, also where its rows read each other', async () => {
  const bundle = await bundles.shapes('image-islands:window=32'), adapter = { prefer: (await findAdapter()).kind as 'auto' };
  const names = [...new Set(lines.map((l) => l.image))].slice(0, 2);
  /** Logits of the last of the pictures, asked about one after the other. */
  const lastOf = async (asked: readonly string[]): Promise<Float32Array> => {
    const { model, close } = await loadModel(bundle, { adapter });
    try {
      for (const name of asked) await model.session.prefill(model.items({ messages: [user(lines[0]!.question)], images: [await model.image(await decodeImage(join(shapesFolder, name)), name)] }));
      return await model.session.logits();
    } finally {
      close();
    }
  };
  const alone = await lastOf(names.slice(1)), second = await lastOf(names);
  expect(Math.max(...alone.map((x, i) => Math.abs(x - second[i]!)))).toBeLessThan(1e-4);
});
