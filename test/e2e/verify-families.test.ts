/**
 * `verify` on folders of Idefics2 and Mixtral, whose golden files are what the published code gives in plain loops
 * (hf-idefics2.ts, hf-decoder.ts): pictures padded to one size and masked, greedy tokens, values in between.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { causal, composite, idefics2Config, llamaConfig } from 'eemllm/models';
import { afterAll, expect, test } from 'vitest';
import { findModel, openCheckpoint } from '../../compiler/cli/model.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { verify } from '../../compiler/verify/verify.ts';
import { parsePreprocessor } from '../../runtime/image.ts';
import { nativePictures } from '../../runtime/native-pictures.ts';
import { Tokenizer } from '../../runtime/tokenizer.ts';
import type { DecoderSizes } from '../support/hf-decoder.ts';
import { decode, embed, linear } from '../support/hf-decoder.ts';
import type { Idefics2Sizes } from '../support/hf-idefics2.ts';
import { idefics2Logits, padBatch, pictureRows, tower } from '../support/hf-idefics2.ts';
import { weightsOf } from '../support/tiled-reference.ts';
import type { TinyFamily } from '../support/tiny-folders.ts';
import { tinyFamilies, tinyPicture, writeTinyFolder } from '../support/tiny-folders.ts';
import { writeGolden } from '../support/write-golden.ts';

if (process.platform === 'linux' && process.arch === 'x64') process.env['EEMLLM_ADAPTER'] ??= 'swiftshader';

const parent = mkdtempSync(join(tmpdir(), 'eemllm-families-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));

async function folderOf(family: TinyFamily) {
  const folder = await writeTinyFolder(join(parent, family), family), source = await findModel(folder), model = source.create('self'), checkpoint = await openCheckpoint(folder, trace(model).parameters), weights = await weightsOf(model, checkpoint);
  await checkpoint.files.close();
  const read = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
  return { folder, config: source.config, w: (name: string) => weights.get(name)!, tokenizer: new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json')) };
}

/** Greedy tokens after a prompt, and the logits before each. */
function greedy(prompt: readonly number[], logitsOf: (prompt: readonly number[]) => Float32Array, steps = 2): { generated: number[]; logits: Float32Array[] } {
  const generated: number[] = [], logits: Float32Array[] = [];
  for (let i = 0; i < steps; i++) {
    const row = logitsOf([...prompt, ...generated]);
    logits.push(row);
    generated.push(row.indexOf(Math.max(...row)));
  }
  return { generated, logits };
}
const flat = (rows: readonly ArrayLike<number>[]): Float32Array => Float32Array.from(rows.flatMap((r) => Array.from(r)));

async function expectVerified(folder: string, tensors: readonly string[], variants: number): Promise<void> {
  for (const backend of ['interpreter', 'gpu'] as const) {
    const report = await verify(folder, { dtype: 'f32', backend });
    expect(report.tensors.filter((t) => !t.ok)).toEqual([]);
    expect(new Set(report.tensors.map((t) => t.tensor))).toEqual(new Set(tensors));
    expect(report.tokens.map((t) => t.equal)).toEqual(Array.from({ length: variants }, () => true));
  }
}

test('idefics2', async () => {
  const { folder, config, w, tokenizer } = await folderOf('idefics2'), c = idefics2Config(config), sizes = { ...c, text_config: c.text_config } as unknown as Idefics2Sizes;
  const pictures = [tinyPicture(40, 21), tinyPicture(12, 26, 7)], preprocessor = parsePreprocessor(tinyFamilies.idefics2.preprocessor), made = pictures.flatMap((p) => nativePictures({ ...p, channels: 3 }, c.pictures, preprocessor)), batch = padBatch(made);
  // Quarters and the whole of each, marks between them.
  const marked = `<fake_token_around_image>${'<image><fake_token_around_image>'.repeat(5)}`, ids = tokenizer.encode(`look: ${marked} and ${marked} differ ?`);
  let n = 0;
  const prompt = ids.map((id) => (id === 334 ? -1 - n++ : id));
  const answer = (mask: typeof causal) => greedy(prompt, (p) => idefics2Logits(p, batch, w, sizes, (rows) => (q, k) => mask({ ...rows[q]!, pos: q, index: 0 }, { ...rows[k]!, pos: k, index: 0 })));
  const self = answer(causal), own = answer(composite), shape = [1, batch.count, 3, batch.height, batch.width], rows = flat(made.flatMap((_, i) => pictureRows(batch, i, w, sizes)));
  const features = Float32Array.from(made.flatMap((_, i) => tower(batch, i, w, sizes).rows.flat()));
  await writeGolden(folder, 334, {
    name: 'two', prompt: 'look: <image> and <image> differ ?', images: [0, 1], positions: ids.length + 10 * 2, visual: 30,
    variants: { baseline: { generated: self.generated }, ee_mllm: { generated: own.generated } },
    tensors: [
      // Of every picture all patches of the frame, those of padding too.
      { name: 'vision.features', shape: [batch.count, features.length / batch.count / 12, 12], values: features },
      { name: 'pixel_values', shape, values: batch.pixels }, { name: 'pixel_attention_mask', shape: [1, batch.count, batch.height, batch.width], values: batch.mask }, { name: 'projector.output', shape: [batch.count, 3, 16], values: rows },
      { name: 'baseline.decode_logits', shape: [2, 380], values: flat(self.logits) }, { name: 'ee_mllm.decode_logits', shape: [2, 380], values: flat(own.logits) },
    ],
  }, pictures);
  await expectVerified(folder, ['two.pixel_values', 'two.vision.features', 'two.pixel_attention_mask', 'two.projector.output', 'two.baseline.decode_logits', 'two.ee_mllm.decode_logits'], 2);
});

test('mixtral', async () => {
  const { folder, config, w, tokenizer } = await folderOf('mixtral'), c = llamaConfig(config), sizes = { ...c, ...c.experts } as unknown as DecoderSizes, text = 'what is the colour of this ?', ids = tokenizer.encode(text);
  const self = greedy(ids, (p) => Float32Array.from(linear([decode(embed(p, w('model.embed_tokens.weight'), 16), w, 'model', sizes, (q, k) => k <= q).at(-1)!], w('lm_head.weight'))[0]!), 4);
  const norm = decode(embed(ids, w('model.embed_tokens.weight'), 16), w, 'model', sizes, (q, k) => k <= q);
  await writeGolden(folder, 334, {
    name: 'plain', prompt: text, images: [], positions: ids.length, visual: 0, variants: { baseline: { generated: self.generated } },
    tensors: [{ name: 'input_ids', shape: [ids.length], values: Int32Array.from(ids) }, { name: 'baseline.final_norm', shape: [ids.length, 16], values: flat(norm) }, { name: 'baseline.decode_logits', shape: [4, 380], values: flat(self.logits) }],
  }, []);
  await expectVerified(folder, ['plain.input_ids', 'plain.baseline.final_norm', 'plain.baseline.decode_logits'], 1);
});
