/** The visual memory of pictures in a file: answers are the same, nothing of the pictures is computed, other files are refused. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import type { ImageInput, LoadedModel } from '../../runtime/node.ts';
import { readMemory } from '../../runtime/memory-file.ts';
import { decodeImage, loadModel, newCounters, openBundleFolder } from '../../runtime/node.ts';
import { Safetensors } from '../../runtime/safetensors.ts';
import { bytesSource } from '../../runtime/sources.ts';
import { BundleFolder, cli } from '../support/shapes.ts';
import { shapesFolder, shapesLines } from '../support/shapes-lines.ts';
import { tinyPicture, writeTinyFolder } from '../support/tiny-folders.ts';

const prefer = process.platform === 'linux' && process.arch === 'x64' ? 'swiftshader' : 'auto';
const bundles = new BundleFolder(), open: LoadedModel[] = [], lines = shapesLines();
afterAll(() => { open.forEach((m) => m.close()); bundles.remove(); });

const load = async (bundle: string): Promise<LoadedModel['model']> => { open.push(await loadModel(bundle, { adapter: { prefer } })); return open.at(-1)!.model; };
/** The model that saves, and another, as another run has it: its visual memory holds nothing. */
const models = new Map<string, Promise<LoadedModel['model']>>();
function shapes(kv?: 'int8', which = 'saves'): Promise<LoadedModel['model']> {
  const name = `${kv ?? 'f32'} ${which}`, old = models.get(name) ?? bundles.shapes('composite', 'f32', undefined, undefined, kv).then(load);
  models.set(name, old);
  return old;
}
/** What a bundle says of a file, without a device. */
async function told(file: Uint8Array, bundle: string): Promise<unknown> {
  const { manifest } = await openBundleFolder(bundle);
  return readMemory(bytesSource(file, 'cat.memory'), manifest, manifest.targets.find((t) => t.device === 'software')!);
}
const pictureOf = async (model: LoadedModel['model'], file: string): Promise<ImageInput> => model.image(await decodeImage(join(shapesFolder, file)), file);
async function answer(model: LoadedModel['model'], images: readonly ImageInput[], question: string): Promise<string> {
  let text = '';
  for await (const piece of model.generate({ messages: [{ role: 'user', content: [...images.map(() => ({ type: 'image' as const })), { type: 'text', text: question }] }], images, maxTokens: 24 })) text += piece.text;
  return text;
}
/** Rows of images and of towers computed since the last call. */
function seen(model: LoadedModel['model']): number {
  const { text: _, ...rows } = model.session.counters.rows;
  model.session.counters = newCounters();
  return Object.values(rows).reduce((a, b) => a + b, 0);
}

test.each([undefined, 'int8'] as const)('answers from files, keys and values in %s', async (kv) => {
  const model = await shapes(kv), files = [...new Set(lines.map((l) => l.image))].slice(0, 3), saved = new Map<string, Uint8Array>();
  for (const file of files) saved.set(file, await model.saveMemory(await pictureOf(model, file)));
  const [both] = [await model.saveMemory(await Promise.all(files.slice(0, 2).map((f) => pictureOf(model, f))))], asked = 'which picture shows more objects ?';
  const wanted = await answer(model, await Promise.all(files.slice(0, 2).map((f) => pictureOf(model, f))), asked);
  const other = await shapes(kv, 'loads');
  seen(other);
  for (const line of lines.filter((l) => files.includes(l.image))) {
    const [image] = await other.loadMemory(saved.get(line.image)!, [await pictureOf(other, line.image)]);
    expect(await answer(other, [image!], line.question), line.question).toBe(line.composite.text);
  }
  expect(await answer(other, await other.loadMemory(both), asked)).toBe(wanted);
  expect(seen(other)).toBe(0);
  // A file holds the rows as the states do, for any tool that reads safetensors.
  const file = await Safetensors.open(bytesSource(saved.get(files[0]!)!)), rows = [...file.tensors.values()].filter((t) => t.name.startsWith('0.'));
  expect(new Set(rows.map((t) => `${t.dtype} ${t.shape.join()}`))).toEqual(new Set([kv ? 'U32 64,17' : 'F32 64,64']));
  expect(rows).toHaveLength(10);
});

test('a picture that a prompt saw is not seen again to be saved, and makes room for others when it must', async () => {
  const model = await shapes(), image = await pictureOf(model, lines[0]!.image);
  await answer(model, [image], lines[0]!.question);
  seen(model);
  const [loaded] = await model.loadMemory(await model.saveMemory(image));
  expect(seen(model)).toBe(0);
  // Room for 4 pictures of 64 rows: the fifth begins the memory anew, and the loaded one comes back from its bytes.
  for (const file of [...new Set(lines.map((l) => l.image))].slice(1, 6)) await model.saveMemory(await pictureOf(model, file));
  seen(model);
  expect(await answer(model, [loaded!], lines[0]!.question)).toBe(lines[0]!.composite.text);
  expect(seen(model)).toBe(0);
});

describe('files that are refused', () => {
  test('damaged ones', async () => {
    const model = await shapes(), good = await model.saveMemory(await pictureOf(model, lines[0]!.image)), damaged = good.slice();
    damaged[good.length - 1000]! ^= 1;
    await expect(model.loadMemory(good.subarray(0, good.length - 5))).rejects.toThrow(/cut short|hold/);
    await expect(model.loadMemory(new Uint8Array(0))).rejects.toThrow(/0 bytes/);
    await expect(model.loadMemory(new TextEncoder().encode('a picture of a cat'))).rejects.toThrow(/is not a sound safetensors file/);
    await expect(model.loadMemory(damaged)).rejects.toThrow(/damaged: its rows are not those that were saved/);
    await expect(model.loadMemory(new Uint8Array(readFileSync(join(shapesFolder, 'checkpoint/model.safetensors'))))).rejects.toThrow(/holds no visual memory/);
  });
  test('those of another picture, mask, model or format, each named', async () => {
    const model = await shapes(), first = await pictureOf(model, lines[0]!.image), second = await pictureOf(model, lines.find((l) => l.image !== lines[0]!.image)!.image), file = await model.saveMemory(first);
    await expect(model.loadMemory(file, [second])).rejects.toThrow(/another picture/);
    await expect(model.loadMemory(file, [first, second])).rejects.toThrow(/1 were saved, 2 are given/);
    await expect(told(file, await bundles.shapes('composite'))).resolves.toHaveLength(1);
    await expect(told(file, await bundles.shapes('composite', 'f32', undefined, undefined, 'f16'))).rejects.toThrow(/cat\.memory is of another compilation.*--kv/);
    await expect(told(file, await bundles.shapes('ee-mllm-f:layers=0'))).rejects.toThrow(/another mask: it was saved under the variant 'composite'.*'ee-mllm-f:layers=0'/);
    await expect(told(file, await bundles.shapes('composite', 'f16'))).rejects.toThrow(/another model: .*weights are not those/);
  });
  test('a mask under which images leave nothing for a later prompt', async () => {
    const model = await load(await bundles.shapes('self'));
    await expect(model.saveMemory(await pictureOf(model, lines[0]!.image))).rejects.toThrow(/'self' rows of images are computed with each prompt.*--mask composite/);
  });
});

test.each(['llava_onevision', 'smolvlm'] as const)('pictures in tiles: %s', async (family) => {
  const folder = await writeTinyFolder(bundles.folder('checkpoint'), family, {}), output = bundles.fresh('bundle');
  await compileModel(await findModel(folder), { mask: 'composite', dtype: 'f32', maxText: 400, output });
  const model = await load(output), image = await model.image(tinyPicture(70, 31)), prompt = 'look: <image> what is it ?';
  const logits = async (images: readonly ImageInput[]): Promise<Float32Array> => { model.session.reset(); await model.session.prefill(model.items({ prompt, images })); return model.session.logits(); };
  const wanted = await logits([image]), file = await model.saveMemory(image), other = await load(output);
  const images = await other.loadMemory(file, [image]);
  await other.session.prefill(other.items({ prompt, images }));
  expect(await other.session.logits()).toEqual(wanted);
  expect(seen(other)).toBe(0);
  if (family === 'llava_onevision') expect(() => other.items({ prompt: `${prompt} ${prompt}`, images: [images[0]!, images[0]!] })).toThrow(/saved for a prompt with 1 picture/);
});

test('on the command line: made where it is missing, then read; with a picture or without', async () => {
  const bundle = await bundles.shapes('composite'), memory = bundles.fresh('one.memory'), line = lines[0]!, picture = join(shapesFolder, line.image);
  const ask = (...args: string[]) => cli(['run', bundle, '--adapter', prefer, '--memory', memory, line.question, '--json', ...args]);
  expect((await ask()).stderr).toMatch(/is not there yet, and no picture is given/);
  const rows: (Record<string, number> | undefined)[] = [];
  for (const args of [['--image', picture], []]) {
    const { code, stdout, stderr } = await ask(...args);
    expect([code, stderr]).toEqual([0, '']);
    const { answers, work } = JSON.parse(stdout) as { answers: { text: string }[]; work: { rows: Record<string, number> } };
    expect(answers[0]!.text).toBe(line.composite.text);
    rows.push(work.rows);
  }
  expect(rows.map((r) => [r!['patch'] ?? 0, r!['visual'] ?? 0].map((n) => n > 0))).toEqual([[true, true], [false, false]]);
  expect(readdirSync(dirname(memory))).toEqual(['one.memory']);
  writeFileSync(memory, readFileSync(memory).subarray(0, 5000));
  const cut = await ask();
  expect([cut.code, cut.stderr]).toEqual([1, expect.stringMatching(/^error: .*one\.memory is not a sound safetensors file/)]);
  expect(existsSync(memory)).toBe(true);
});
