/** SmolVLM and Idefics3: sizes and names as published, tiles as the library cuts them, and the model on the interpreter. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { JsonObject } from 'eemllm';
import { UserError, countParameters, createModel, parameters } from 'eemllm';
import { Idefics3, builtinConfig, causal, composite as compositeMask, familyOf, idefics3Config, idefics3Layout, tileGrid } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import type { Cost } from '../../compiler/cost/formula.ts';
import { partOf } from '../../compiler/cost/parts.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Node } from '../../compiler/ir/index.ts';
import { interpret } from '../../compiler/ir/index.ts';
import { openModel } from '../../compiler/load-model.ts';
import { imageLayout } from '../../compiler/dsl/image-layout.ts';
import { flops } from '../../passes/flops.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { hfPixelShuffle } from '../support/hf-pixel-shuffle.ts';
import { StagedRun } from '../support/run-program.ts';
import { tinyConfig, tinyIdefics3 } from '../support/tiny-idefics3.ts';

const builtin = (name: string) => createModel(familyOf(builtinConfig(name)!), builtinConfig(name)!, name);
const published = (name: string) => idefics3Config(builtinConfig(name)!, name);

describe('as published', () => {
  // 256M and SmolLM2 counted from the published configs; 500M, 2.2B (SmolVLM2) and 8B as the hub states them: 507 M, 2,246,784,880, 8.46 B.
  test.each([
    ['smollm2-135m', 134_515_008],
    ['smolvlm-256m', 256_484_928],
    ['smolvlm-500m', 507_482_304],
    ['smolvlm-2.2b', 2_246_784_880],
    ['idefics3-8b', 8_462_086_384],
  ])('%s has %i parameters', (name, count) => { expect(countParameters(builtin(name))).toBe(count); });

  test("SmolVLM-256M's checkpoint: 197 tensors of the tower, 1 of the connector, 273 of the decoder", () => {
    const shapes = new Map(parameters(builtin('smolvlm-256m')).map((p) => [p.name, p.shape.join()])), names = [...shapes.keys()];
    const under = (prefix: string): number => names.filter((n) => n.startsWith(prefix)).length;
    expect([under('model.vision_model.'), under('model.connector.'), under('model.text_model.') + under('lm_head.'), names.length]).toEqual([197, 1, 273, 471]);
    expect(Object.fromEntries([
      'model.vision_model.embeddings.patch_embedding.weight', 'model.vision_model.embeddings.patch_embedding.bias', 'model.vision_model.embeddings.position_embedding.weight',
      'model.vision_model.encoder.layers.11.self_attn.out_proj.bias', 'model.vision_model.encoder.layers.0.layer_norm2.weight', 'model.vision_model.encoder.layers.0.mlp.fc1.weight', 'model.vision_model.post_layernorm.bias',
      'model.connector.modality_projection.proj.weight', 'model.text_model.embed_tokens.weight', 'model.text_model.layers.29.self_attn.k_proj.weight', 'model.text_model.norm.weight', 'lm_head.weight',
    ].map((n) => [n, shapes.get(n)]))).toEqual({
      'model.vision_model.embeddings.patch_embedding.weight': '768,3,16,16', 'model.vision_model.embeddings.patch_embedding.bias': '768', 'model.vision_model.embeddings.position_embedding.weight': '1024,768',
      'model.vision_model.encoder.layers.11.self_attn.out_proj.bias': '768', 'model.vision_model.encoder.layers.0.layer_norm2.weight': '768', 'model.vision_model.encoder.layers.0.mlp.fc1.weight': '3072,768', 'model.vision_model.post_layernorm.bias': '768',
      'model.connector.modality_projection.proj.weight': '576,12288', 'model.text_model.embed_tokens.weight': '49280,576', 'model.text_model.layers.29.self_attn.k_proj.weight': '192,576', 'model.text_model.norm.weight': '576', 'lm_head.weight': '49280,576',
    });
  });

  test.each([['smolvlm-256m', 64], ['smolvlm-500m', 64], ['smolvlm-2.2b', 81], ['idefics3-8b', 169]])('%s has %i visual tokens a tile', (name, count) => {
    expect(published(name).num_visual_tokens).toBe(count);
  });

  // What the published files say; the tower's other sizes are the class's defaults.
  test("SmolVLM's own sparse config resolves to the built-in one", () => {
    const vision_config = { hidden_size: 768, image_size: 512, max_image_size: { longest_edge: 512 }, model_type: 'smolvlm_vision', num_attention_heads: 12, patch_size: 16, size: { longest_edge: 2048 }, tie_word_embeddings: false, use_base_siglip: false };
    const text_config = { architectures: ['VLlama3ForCausalLM'], head_dim: 64, hidden_size: 960, intermediate_size: 2560, max_position_embeddings: 8192, model_type: 'llama', num_attention_heads: 15, num_hidden_layers: 32, num_key_value_heads: 5, pixel_shuffle_factor: 4, rms_norm_eps: 1e-5, rope_theta: 100000, vocab_size: 49280 };
    const sparse = idefics3Config({ model_type: 'smolvlm', image_token_id: 49190, scale_factor: 4, tie_word_embeddings: false, vision_config, text_config });
    expect({ ...sparse, model_type: 'idefics3' }).toEqual(published('smolvlm-500m'));
  });
});

describe('tiles', () => {
  const grid = (name: string, width: number, height: number) => { const { rows, columns } = tileGrid(published(name).tiles, { width, height }); return [rows, columns]; };
  // 400 × 300: transformers' test_processing_smolvlm.py; 800 × 300 and 512 × 512: measured with the library's processor.
  test.each([
    ['smolvlm-256m', 400, 300, 3, 4], ['smolvlm-256m', 300, 400, 4, 3], ['smolvlm-256m', 800, 300, 2, 4], ['smolvlm-256m', 512, 512, 4, 4], ['smolvlm-256m', 887, 790, 4, 4], ['smolvlm-256m', 995, 657, 3, 4],
    ['smolvlm-2.2b', 1920, 1080, 3, 4], ['idefics3-8b', 640, 480, 3, 4],
    // A line of pixels, one pixel, and pictures beyond every limit.
    ['smolvlm-256m', 1, 5000, 4, 1], ['smolvlm-256m', 5000, 1, 1, 4], ['smolvlm-256m', 1, 1, 4, 4], ['smolvlm-2.2b', 3, 2, 3, 4], ['smolvlm-256m', 20000, 10000, 2, 4],
  ])('%s cuts %i × %i px into %i rows of %i', (name, width, height, rows, columns) => { expect(grid(name, width, height)).toEqual([rows, columns]); });

  test('a shorter side is cut off to a whole number, then made even, before it is rounded up to tiles', () => {
    // 2048 · 1537 / 2049 = 1536.25: even 1536 is three tiles. At 1538 it is 1537.25, 1537, even 1538: four.
    expect([grid('smolvlm-256m', 2049, 1537), grid('smolvlm-256m', 2049, 1538)]).toEqual([[3, 4], [4, 4]]);
  });

  const at = (preprocessor_config: object) => idefics3Config({ ...builtinConfig('smolvlm-256m')!, preprocessor_config });
  test('a picture that fills one tile is not cut, nor one that is not to be', () => {
    const one = at({ size: { longest_edge: 512 } });
    expect(idefics3Layout(one, { width: 640, height: 480 })).toEqual({ tiles: 1, images: 1, visual: 64, text: 3 });
    expect(idefics3Layout(at({ do_image_splitting: false }), { width: 4000, height: 100 })).toEqual({ tiles: 1, images: 1, visual: 64, text: 3 });
  });
  test('pictures that are not resized are cut as they are', () => {
    const config = at({ do_resize: false });
    expect([[512, 512], [512, 513], [513, 400], [10, 512], [11, 513]].map(([width, height]) => tileGrid(config.tiles, { width: width!, height: height! }))).toEqual([
      { rows: 0, columns: 0 }, { rows: 2, columns: 2 }, { rows: 2, columns: 2 }, { rows: 0, columns: 0 }, { rows: 2, columns: 1 },
    ]);
  });
  test('no side is longer than 4,096 px', () => {
    expect(tileGrid(at({ size: { longest_edge: 8192 } }).tiles, { width: 300, height: 150 })).toEqual({ rows: 4, columns: 8 });
  });

  /** `get_image_prompt_string`, with the tile's visual tokens as one `v`, cut into tokens as SmolVLM's tokenizer does. */
  const marks = (rows: number, columns: number): string[] => {
    let text = '';
    for (let r = 1; r <= rows; r++) { for (let c = 1; c <= columns; c++) text += `<fake_token_around_image><row_${r}_col_${c}>v`; text += '\n'; }
    return `${text}${rows ? '\n' : ''}<fake_token_around_image><global-img>v<fake_token_around_image>`.match(/<[^>]*>|\n+|v/g)!;
  };
  test.each([[512, 512], [400, 300], [300, 900], [5000, 1]])('the marks of %i × %i px are counted as they are written', (width, height) => {
    const config = published('smolvlm-256m'), { rows, columns } = tileGrid(config.tiles, { width, height }), written = marks(rows, columns), tiles = written.filter((t) => t === 'v').length;
    expect(idefics3Layout(config, { width, height })).toEqual({ tiles, images: tiles, visual: 64 * tiles, text: written.length - tiles });
  });
  test('of a square picture, by model', () => {
    const of = (name: string) => imageLayout(builtin(name), trace(builtin(name)).graph, { width: 640, height: 640 });
    // 1,127 tokens: with <|im_start|>User: before and a question of 12 after it the processor gives 1,142.
    expect(of('smolvlm-256m')).toEqual({ tiles: 17, images: 17, visual: 1088, text: 39 });
    expect(of('smolvlm-2.2b')).toEqual({ tiles: 17, images: 17, visual: 1377, text: 39 });
    // <row_1_col_1> is 8 tokens of Llama 3's, <global-img> 4.
    expect(of('idefics3-8b')).toEqual({ tiles: 17, images: 17, visual: 2873, text: 16 * 9 + 4 + 6 });
  });
});

test('how pictures are cut stands in the folder of a checkpoint, beside its config', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'eemllm-')), write = (name: string, text: string): void => writeFileSync(path.join(folder, name), text);
  try {
    write('config.json', JSON.stringify(tinyConfig));
    const tiles = async (spec: string): Promise<number> => { const { model, config } = await openModel(spec); return model.imageLayout!(model.readConfig!(config) as never, { width: 90, height: 60 }, 1).tiles; };
    expect(await tiles(folder)).toBe(13);
    write('preprocessor_config.json', JSON.stringify({ size: { longest_edge: 48 }, max_image_size: { longest_edge: 24 }, do_image_splitting: true }));
    expect([await tiles(folder), await tiles(path.join(folder, 'config.json'))]).toEqual([5, 5]);
    write('preprocessor_config.json', '[1]');
    await expect(openModel(folder)).rejects.toThrow(/preprocessor_config\.json holds no object; a preprocessor_config\.json is one\./);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('says what is wrong', () => {
  test.each<[string, object, string]>([
    ['patches that blocks do not divide', { scale_factor: 4 }, 'In config.json, the number of patches along a side (6) is not divisible by scale_factor (4). One of the two is wrong.'],
    ['another family', { model_type: 'idefics2' }, `'model_type' of config.json is "idefics2"; expected 'idefics3' or 'smolvlm'.`],
    ['tiles of another size than the tower reads', { preprocessor_config: { max_image_size: { longest_edge: 32 } } }, "'preprocessor_config' of config.json cuts pictures into tiles of 32 px (max_image_size), but the tower sees pictures of 24 px (image_size). Expected the same."],
    ['a longest edge that is no size', { preprocessor_config: { size: { longest_edge: 0 } } }, "'size.longest_edge' of 'preprocessor_config' of config.json is 0; expected at least 1."],
    ['a factor that is no number', { scale_factor: '3' }, "'scale_factor' of config.json is \"3\"; expected a number."],
    ['a tower that is no object', { vision_config: 7 }, "'vision_config' of config.json is 7; expected an object."],
  ])('%s', (_name, change, message) => { expect(() => idefics3Config({ ...tinyConfig, ...change })).toThrow(new UserError(message)); });
});

test('a tied head is the embeddings, as the model or else its decoder says', () => {
  const has = (json: object): boolean => parameters(createModel(Idefics3, { ...tinyConfig, ...json })).some((p) => p.name === 'lm_head.weight');
  const tied = { text_config: { ...tinyConfig.text_config, tie_word_embeddings: true } };
  expect([has({}), has({ tie_word_embeddings: true }), has(tied), has({ ...tied, tie_word_embeddings: false })]).toEqual([true, false, false, true]);
});

describe('positions', () => {
  /** `torch.arange(start, end, step)` in f32. */
  const arange = (start: number, end: number, step: number): number[] => Array.from({ length: Math.ceil((end - start) / step) }, (_, i) => Math.fround(start + i * step));
  /** `torch.bucketize(arange(0, 1 - 1e-6, 1 / n), arange(1 / n, 1, 1 / n), right=True)`: places of patches by fraction. */
  const buckets = (n: number): number[] => { const edges = arange(1 / n, 1, 1 / n); return arange(0, 1 - 1e-6, Math.fround(1 / n)).map((x) => edges.filter((e) => e <= x).length); };
  test.each([['smolvlm-256m', 32], ['smolvlm-2.2b', 27], ['idefics3-8b', 26]])('of the %s are the patches themselves: %i buckets a side', (name, side) => {
    expect(published(name).vision_config.num_patches).toBe(side ** 2);
    expect(buckets(side)).toEqual(Array.from({ length: side }, (_, i) => i));
  });
});

describe('a small one on the interpreter', () => {
  test('norm, blocks and projection of each tile stand at its visual tokens', () => {
    const c = tinyIdefics3('self', [2, 1, 3]), { values, arguments: given } = c.traced;
    const outputs: [string, Node][] = [['encoded', given.get('model.vision_model.post_layernorm')![0]!], ['visual', values.get('model.connector')!], ['decoder', given.get('model.text_model')![0]!]];
    const result = interpret({ ...c.graph, outputs: new Map(outputs) }, { layout: c.layout, inputs: c.inputs, weights: c.weights });
    const [encoded, visual, decoder] = outputs.map(([name]) => [...result.outputs.get(name)!.data]) as [number[], number[], number[]], weight = (name: string) => c.weights.get(name)!;
    const [gain, bias, proj] = [weight('model.vision_model.post_layernorm.weight'), weight('model.vision_model.post_layernorm.bias'), weight('model.connector.modality_projection.proj.weight')];
    const normed = encoded.map((x, i) => {
      const row = encoded.slice(i - (i % 10), i - (i % 10) + 10), mean = row.reduce((a, b) => a + b) / 10, variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / 10;
      return ((x - mean) / Math.sqrt(variance + 1e-6)) * gain[i % 10]! + bias[i % 10]!;
    });
    const blocks = [0, 1].flatMap((tile) => hfPixelShuffle(normed.slice(tile * 360, (tile + 1) * 360), 36, 10, 3));
    const want = Array.from({ length: 8 * 18 }, (_, i) => Array.from({ length: 90 }, (_, k) => blocks[Math.floor(i / 18) * 90 + k]! * proj[(i % 18) * 90 + k]!).reduce((a, b) => a + b));
    expect(Math.max(...visual.map((x, i) => Math.abs(x - want[i]!)))).toBeLessThan(1e-5);
    expect(decoder.slice(0, 8 * 18)).toEqual(visual);
  });

  test.each(['self', 'composite', 'ee-mllm-f:layers=0', 'shortv:layers=1-2', 'image-islands:window=3', 'composite+shortv:layers=2'])('%s: three tiles between text, two turns, decoding, the same again', (variant) => {
    const c = tinyIdefics3(variant, [3, 2, 1, 4]), program = stageProgram(optimise(c.graph)), run = new StagedRun(c.graph, program, c);
    run.say(c, [9, 20]);
    expect(run.worst).toBeLessThan(1e-4);
    run.begin();
    run.say(c, [20]);
    expect(run.worst).toBeLessThan(1e-4);
  });
});

describe('costs', () => {
  test('tower, connector, decoder and head are parts', () => {
    const { graph } = trace(builtin('smolvlm-256m')), by = new Map<string, Set<string>>();
    for (const n of graph.nodes) { const part = partOf(n); by.set(part, (by.get(part) ?? new Set()).add(n.path.split('.').slice(0, 2).join('.'))); }
    expect(Object.fromEntries([...by].map(([part, paths]) => [part, [...paths].sort()]))).toMatchObject({ vision: ['model.vision_model'], projector: ['model.connector'], head: ['lm_head'] });
  });
  test.each(['exact', 'llm-viewer', 'dense', 'flopcounter'])('the decoder and its head cost what they cost alone, convention %s', (convention) => {
    const config = builtinConfig('smolvlm-256m')!['text_config'] as JsonObject, sizes = { visual: 128, text: 30, tiles: 2, convention };
    const [whole, alone] = [builtin('smolvlm-256m'), createModel(familyOf(config), config)].map((m) => flops(trace(m).graph, sizes)) as [Cost<bigint>, Cost<bigint>];
    expect([whole.parts.decoder, whole.parts.head]).toEqual([alone.parts.decoder, alone.parts.head]);
  });
  test('of the projection, by hand; the tower by tiles; composite saves in the decoder alone', () => {
    const [self, composite] = [causal, compositeMask].map((mask) => flops(trace(Object.assign(builtin('smolvlm-256m'), { mask })).graph, { visual: 17 * 64, text: 60, tiles: 17 })) as [Cost<bigint>, Cost<bigint>];
    expect(self.parts.projector).toBe(2n * 1088n * 12288n * 576n);
    // 12 layers of ViT over 1024 rows, and the patch convolution.
    expect(self.parts.vision).toBe(17n * (12n * (2n * 1024n * (4n * 768n ** 2n + 2n * 768n * 3072n) + 4n * 1024n ** 2n * 768n) + 2n * 1024n * 768n ** 2n));
    expect([composite.parts.vision, composite.parts.projector, composite.parts.head]).toEqual([self.parts.vision, self.parts.projector, self.parts.head]);
    expect(composite.parts.decoder).toBeLessThan(self.parts.decoder);
  });
});
