/**
 * Checkpoint folders of models that see a picture as several tiles (LLaVA-NeXT, LLaVA-OneVision, SmolVLM), compiled as a user
 * compiles them and asked about pictures of any size: the device answers as the definition does on the interpreter.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel, openCheckpoint } from '../../compiler/cli/model.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';
import { verify } from '../../compiler/verify/verify.ts';
import { findAdapter, loadModel } from '../../runtime/node.ts';
import { newCounters } from '../../runtime/program.ts';
import { imageLayout } from '../../compiler/dsl/image-layout.ts';
import { distance } from '../support/run-case.ts';
import { cli } from '../support/shapes.ts';
import { tiledLogits, weightsOf } from '../support/tiled-reference.ts';
import type { FolderOptions, TinyFamily } from '../support/tiny-folders.ts';
import { tinyPicture, writeTinyFolder } from '../support/tiny-folders.ts';

// Every model here has kernels of its own, used once: lavapipe takes several times as long to compile them.
if (process.platform === 'linux' && process.arch === 'x64') process.env['EEMLLM_ADAPTER'] ??= 'swiftshader';

const parent = mkdtempSync(join(tmpdir(), 'eemllm-tiled-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));

/** A folder, its bundle on a device, and the definition beside it. */
async function open(family: TinyFamily, variant: string, options: FolderOptions = {}) {
  const folder = await writeTinyFolder(mkdtempSync(join(parent, 'checkpoint-')), family, options), output = join(mkdtempSync(join(parent, 'bundle-')), 'bundle');
  const source = await findModel(folder);
  await compileModel(source, { mask: variant, dtype: 'f32', maxText: 400, output });
  const model = source.create(variant), checkpoint = await openCheckpoint(folder, trace(model).parameters), weights = await weightsOf(model, checkpoint);
  await checkpoint.files.close();
  const loaded = await loadModel(output, { adapter: { prefer: (await findAdapter()).kind as 'auto' } });
  return { ...loaded, folder, definition: model, reference: (items: readonly PromptItem[]) => tiledLogits(model, items, weights) };
}

const mark = (text: string): string => text.replaceAll('#', '<image>');
const sizes = { square: [24, 24], wide: [70, 31], tall: [13, 64], tiny: [1, 1], 'a line': [50, 1] } as const;

describe.each<[TinyFamily, FolderOptions]>([['llava_next', {}], ['llava_onevision', { layout: 'newer' }], ['smolvlm', {}], ['idefics2', {}]])('%s', (family, options) => {
  test.each(['self', 'composite'])('%s answers as its definition', async (variant) => {
    const { model, reference, close } = await open(family, variant, options);
    try {
      const rows = (): number => { const n = model.session.counters.rows; model.session.counters = newCounters(); return (n['visual'] ?? 0) + (n['patch'] ?? 0); };
      const ask = async (prompt: string, images: Parameters<typeof model.items>[0]['images'], what: string): Promise<readonly PromptItem[]> => {
        const items = model.items({ prompt: mark(prompt), images: images! });
        await model.session.prefill(items);
        expect(distance(reference(items), await model.session.logits()), what).toBeLessThan(1e-4);
        return items;
      };
      for (const [name, [width, height]] of Object.entries(sizes)) {
        const image = await model.image(tinyPicture(width, height));
        await ask('look: # what is it ?', [image], name);
        rows();
        const items = await ask('now # and ?', [image], `${name}, other words around it`);
        // Another question about the same picture computes no row of it where the mask lets its rows depend on it alone.
        if (variant === 'composite') expect(rows(), name).toBe(0);
        model.session.decode(7);
        expect(distance(reference([...items, 7]), await model.session.logits()), `${name}, decoded`).toBeLessThan(1e-4);
      }
      const [first, second] = [await model.image(tinyPicture(30, 20, 5)), await model.image(tinyPicture(20, 45, 9))];
      const two = await ask('one # two # how do they differ ?', [first, second], 'two pictures');
      expect(two.filter(isImage).length).toBeGreaterThanOrEqual(2);
      await ask('# the same twice # ?', [second, second], 'one picture twice');
    } finally {
      close();
    }
  });
});

test('cost counts the tiles, rows and tokens that the runtime makes of a picture', async () => {
  for (const family of ['llava_next', 'llava_onevision', 'smolvlm', 'idefics2'] as const) {
    const { model, close, definition } = await open(family, 'composite');
    try {
      for (const [width, height] of Object.values(sizes)) {
        const image = await model.image(tinyPicture(width, height)), items = model.items({ prompt: 'a <image> b', images: [image] }), plain = model.items({ prompt: 'a  b' }), seen = items.filter(isImage);
        const layout = imageLayout(definition, trace(definition).graph, { width, height });
        expect({ tiles: layout.tiles, images: layout.images ?? 1, visual: layout.visual }).toEqual({ tiles: seen.reduce((n, i) => n + (i.tiles ?? 1), 0), images: seen.length, visual: seen.reduce((n, i) => n + i.rows, 0) });
        if (family === 'smolvlm' || family === 'idefics2') expect(items.length - seen.length - plain.length, `${width} x ${height}`).toBe(layout.text);
      }
    } finally {
      close();
    }
  }
});

test('the command line compiles a folder and answers about a file', async () => {
  const folder = await writeTinyFolder(join(parent, 'cli'), 'llava_next', { layout: 'newer' }), bundle = join(parent, 'cli.bundle'), picture = join(parent, 'wide.png');
  await sharp(tinyPicture(70, 31).data, { raw: { width: 70, height: 31, channels: 3 } }).png().toFile(picture);
  const compiled = await cli(['compile', folder, '--mask', 'composite', '-o', bundle, '--json']);
  expect(compiled.stderr + compiled.stdout).toMatch(/"tile": \d+/);
  const shown = await cli(['inspect', bundle, '--visual', '30', '--text', '5']);
  expect(shown).toMatchObject({ code: 0, stdout: expect.stringMatching(/tile .*vision .*prefill .*decode/s) as unknown });
  const asked = await cli(['run', bundle, '--image', picture, '--image', picture, '--prompt', 'what is it ?', '--prompt', 'and now ?', '--json']);
  expect(asked.code, asked.stderr).toBe(0);
  expect((JSON.parse(asked.stdout) as { answers: unknown[] }).answers).toHaveLength(2);

  const small = join(parent, 'small.bundle');
  expect((await cli(['compile', folder, '--max-tiles', '2', '-o', small])).code).toBe(0);
  const refused = await cli(['run', small, '--image', picture, '--prompt', 'what is it ?']);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/wide\.png is cut into 3 tiles, but this bundle was compiled for at most 2\. Shrink the picture, or compile with --max-tiles 3 or more\./) as unknown });
  expect(await cli(['compile', 'smolvlm-256m', '--max-tiles', '2', '-o', join(parent, 'none.bundle')])).toMatchObject({ code: 1, stderr: expect.stringMatching(/takes each tile as an image of its own/) as unknown });
});

test('verify runs golden files of such folders, tile by tile, on interpreter and device', async () => {
  for (const family of ['llava_next', 'smolvlm'] as const) {
    const { model, reference, close, folder } = await open(family, 'self');
    try {
      const raw = tinyPicture(40, 21), prompt = mark('look: # what is it ?'), image = await model.image(raw), items = [...model.items({ prompt, images: [image] })], tiles = image.tiles!, side = model.bundle.manifest.media!.input.shape[1]!;
      const rows = items.reduce<number>((n, i) => n + (isImage(i) ? i.rows : 0), 0), text = items.filter((i) => !isImage(i)).length, generated: number[] = [], logits: number[] = [];
      for (let i = 0; i < 2; i++) {
        const row = reference(items);
        logits.push(...row);
        generated.push(row.indexOf(Math.max(...row)));
        items.push(generated.at(-1)!);
      }
      const f32 = (name: string, shape: number[], values: ArrayLike<number>) => ({ name, dtype: 'F32' as const, shape, data: () => new Uint8Array(Float32Array.from(values).buffer) });
      const tensors = [
        { name: 'images.0.rgb', dtype: 'U8' as const, shape: [21, 40, 3], data: () => raw.data },
        f32('wide.pixel_values', [1, tiles, 3, side, side], image.data), f32('wide.baseline.decode_logits', [2, logits.length / 2], logits),
      ];
      await writeSafetensors(folder, tensors, { prefix: 'golden' });
      writeFileSync(join(folder, 'golden.json'), JSON.stringify({
        image_token_id: 334,
        cases: [{ name: 'wide', prompt, images: [0], num_positions: rows + text, num_visual: rows, tensors: [['pixel_values', [1, tiles, 3, side, side]]], variants: { baseline: { generated } } }],
      }));
      for (const backend of ['interpreter', 'gpu'] as const) {
        const report = await verify(folder, { dtype: 'f32', backend });
        expect(report.tensors.map((t) => [t.tensor, t.ok])).toEqual([['wide.pixel_values', true], ['wide.baseline.decode_logits', true]]);
        expect(report.tokens.map((t) => t.equal)).toEqual([true]);
      }
    } finally {
      close();
    }
  }
});
