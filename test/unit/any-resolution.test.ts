/** LLaVA-NeXT and LLaVA-OneVision: configs, tensors, masks and row rules, and what the interpreter computes of tiles. */
import type { JsonObject, PictureSize } from 'eemllm';
import { UserError, createModel, parameters } from 'eemllm';
import { LlavaNext, LlavaOneVision, applyVariant, builtinConfig, composite, familyOf, layoutOf, llavaNextConfig, llavaOneVisionConfig, published, resolveTensorName, tilePicture, uncut, visualRows } from 'eemllm/models';
import type { AnyResolutionConfig } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { work } from '../../compiler/cost/work.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph, Layout, Node, Segment } from '../../compiler/ir/index.ts';
import { Session, interpret } from '../../compiler/ir/index.ts';
import { roomForPictures, tilingOf } from '../../compiler/tiling.ts';
import { byTile } from '../../passes/by-tile.ts';
import { flops } from '../../passes/flops.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { packImageFeatures } from '../support/pack-image-features.ts';
import { generator } from '../support/random-graphs.ts';
import { distance } from '../support/run-case.ts';

const text = { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 40 };
const tower = { hidden_size: 12, intermediate_size: 20, num_hidden_layers: 3, num_attention_heads: 2, image_size: 12, patch_size: 4 };
const pinpoints = [[12, 24], [24, 12], [24, 24], [36, 12]];
const small: Readonly<Record<string, JsonObject>> = {
  llava_next: { model_type: 'llava_next', image_grid_pinpoints: pinpoints, text_config: { model_type: 'mistral', sliding_window: null, ...text }, vision_config: { model_type: 'clip_vision_model', ...tower } },
  llava_onevision: { model_type: 'llava_onevision', image_grid_pinpoints: pinpoints, vision_aspect_ratio: 'anyres_max_2', text_config: { model_type: 'qwen2', ...text }, vision_config: { model_type: 'siglip_vision_model', vision_use_head: false, ...tower } },
};
const make = (family: string) => createModel(familyOf(small[family]!), small[family]!);

describe('configs', () => {
  test('what is not said has the library\'s default', () => {
    expect(llavaNextConfig({ model_type: 'llava_next' })).toMatchObject({ patches_per_side: 24, num_visual_tokens: 576, vision_feature_layer: -2, image_token_index: 32000, image_grid_pinpoints: [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]] });
    expect(llavaNextConfig({ model_type: 'llava_next' }).max_tiles).toBeUndefined();
    const { vision_config } = published['llava-onevision-7b'], one = llavaOneVisionConfig({ model_type: 'llava_onevision', vision_config, text_config: { hidden_size: 896, num_attention_heads: 14, num_key_value_heads: 2 } });
    expect(one).toMatchObject({ max_tiles: 9, patches_per_side: 27, num_visual_tokens: 729, vision_feature_layer: -1, vision_feature_select_strategy: 'full', image_token_index: 151646, text_config: { model_type: 'qwen2', qkv_bias: true } });
    expect(one.image_grid_pinpoints).toHaveLength(36);
    expect(llavaOneVisionConfig({ ...small['llava_onevision'], vision_config: { ...tower } }).vision_config.model_type).toBe('siglip_vision_model');
  });
  test.each<[string, () => unknown, RegExp]>([
    ['another family', () => llavaNextConfig({ model_type: 'llava' }), /^'model_type' of config\.json is "llava"; expected 'llava_next'\.$/],
    ['sizes that are no whole tiles', () => llavaNextConfig({ ...small['llava_next'], image_grid_pinpoints: [[12, 24], [24, 20]] }), /^'image_grid_pinpoints' of config\.json lists the size \[24, 20\], which is no whole number of tiles: its tower sees pictures of 12 px\. Expected multiples of 12\.$/],
    ['sizes that are none', () => llavaNextConfig({ ...small['llava_next'], image_grid_pinpoints: [[12, 0]] }), /'image_grid_pinpoints\.0\.1' of config\.json is 0; expected at least 1/],
    ['no sizes', () => llavaNextConfig({ ...small['llava_next'], image_grid_pinpoints: [] }), /'image_grid_pinpoints' of config\.json is an empty list, but every picture is brought to one of its sizes/],
    ['a class token in the grid', () => llavaNextConfig({ ...small['llava_next'], vision_feature_select_strategy: 'full' }), /is 'full', which keeps the class token of a clip_vision_model, but rows of tiles are laid out in a grid, where it has no place\. Expected 'default'\.$/],
    ['another way with large pictures', () => llavaOneVisionConfig({ ...small['llava_onevision'], vision_aspect_ratio: 'pad' }), /^'vision_aspect_ratio' of config\.json is "pad", which is not known here\. Expected 'anyres_max_N'/],
  ])('%s is a clear error', (_name, run, message) => {
    let error: unknown;
    try { run(); } catch (e) { error = e; }
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toMatch(message);
  });
});

test('every tensor has a name in the newer layout, and the newline stands at the root of both', () => {
  const newer = (name: string): string => (name.startsWith('language_model.lm_head.') ? name.slice('language_model.'.length) : `model.${name.replace('language_model.model.', 'language_model.')}`);
  const names = parameters(make('llava_next')).map((p) => p.name), files = new Set(names.map(newer));
  expect(names).toContain('image_newline');
  expect(files).toContain('model.image_newline');
  for (const name of names) expect(resolveTensorName(files, name)).toBe(newer(name));
});

describe.each(['llava_next', 'llava_onevision'])('%s', (family) => {
  const attentions = (g: Graph): Node[] => g.nodes.filter((n) => n.op === 'attention' && n.path.startsWith('language_model'));
  test('masks and row rules are those of every model', () => {
    const model = make(family);
    applyVariant(model, 'ee-mllm-f:layers=1+shortv:layers=0');
    const { graph, values } = trace(model);
    expect(attentions(graph).map((n) => n.attrs['mask'])).toEqual(['causal', 'composite']);
    // Layer 0 leaves visual rows as they came.
    expect(values.get('language_model.model.layers.0')!.inputs[0]!.op).toBe('gather_rows');
    expect(trace(new (class extends LlavaNext { override mask = composite; })(llavaNextConfig(small['llava_next']!))).graph.masks.has('composite')).toBe(true);
  });
  test('composite attention prunes visual queries, and the tower costs as many tiles as there are', () => {
    const { graph } = trace(make(family)), pruned = make(family);
    applyVariant(pruned, 'composite');
    const layout = layoutOf(pruned.cfg as AnyResolutionConfig, tilePicture(pruned.cfg as AnyResolutionConfig, { width: 24, height: 20 }));
    const sizes = { visual: layout.visual, text: 5, tiles: layout.tiles }, self = flops(graph, sizes), less = flops(trace(pruned).graph, sizes);
    expect(less.parts.vision).toBe(self.parts.vision);
    expect(less.decoder.visual < self.decoder.visual && less.decoder.scores < self.decoder.scores).toBe(true);
    const one = flops(graph, { ...sizes, tiles: 1 }).parts;
    expect([self.parts.vision, self.parts.projector]).toEqual([BigInt(layout.tiles) * one.vision, BigInt(layout.tiles) * one.projector]);
  });
});

/** A prompt of pictures, each between words, on one model: what the interpreter needs of it. */
function prompt(g: Graph, cfg: AnyResolutionConfig, pictures: readonly PictureSize[], cut = true) {
  const random = generator(7), normal = (n: number): Float32Array => Float32Array.from({ length: n }, random.normal), side = cfg.patches_per_side;
  const images = pictures.map((size) => { const tiled = cut ? tilePicture(cfg, size) : uncut; return { size, tiled, ...layoutOf(cfg, tiled) }; });
  const firsts = images.map((_, i) => images.slice(0, i).reduce((n, x) => n + x.tiles, 0));
  const weights = new Map([...g.weights].map(([name, n]) => [name, normal(n.type.dims.reduce((a, b) => a * b, 1)).map((x) => x / Math.sqrt(n.type.dims.at(-1)!))]));
  const pixels = images.map((x) => normal(x.tiles * 3 * cfg.vision_config.image_size ** 2));
  // Tiles are numbered apart from images.
  const tower = (i: number): Layout => {
    const tiles = Array.from({ length: images[i]!.tiles }, (_, t) => 100 * (i + 1) + t), kinds = [...g.sequences.get('patches')!.kinds];
    return { pictures: tiles.map((image): Segment => ({ kind: 'tile', image, length: 1 })), patches: tiles.flatMap((image) => kinds.map((k): Segment => ({ kind: k.name, image, length: k.count.at({}) }))) };
  };
  const visual = (i: number): Segment => ({ kind: 'visual', image: i, length: images[i]!.visual });
  const tokens = [...images.flatMap((_, i): Segment[] => [{ kind: 'text', length: 2 }, visual(i)]), { kind: 'text', length: 3 }];
  const map = (i: number, first = 0) => { const { sources, weights } = visualRows(cfg, images[i]!.tiled, first); return { visual_rows: [...sources], ...(weights && { visual_rows_weights: [...weights] }) }; };
  const ids = Int32Array.from({ length: 2 * images.length + 3 }, (_, i) => (7 * i + 3) % text.vocab_size);
  const maps = images.map((_, i) => map(i, firsts[i]! * side ** 2));
  const join = (key: 'visual_rows' | 'visual_rows_weights') => (maps[0] && key in maps[0] ? { [key]: maps.flatMap((m) => m[key] ?? []) } : {});
  const all = { pixels: Float32Array.from(pixels.flatMap((p) => [...p])), ids, ...join('visual_rows'), ...join('visual_rows_weights') };
  const towers = images.map((_, i) => tower(i));
  const layout: Layout = { tokens, pictures: towers.flatMap((l) => l['pictures']!), patches: towers.flatMap((l) => l['patches']!) };
  return { images, weights, pixels, ids, layout, inputs: all, tower, visual, map };
}

const sizes: Readonly<Record<string, readonly PictureSize[]>> = {
  'a wide picture': [{ width: 70, height: 31 }], 'a square': [{ width: 24, height: 24 }], 'a line and a column': [{ width: 50, height: 1 }, { width: 1, height: 90 }],
  'two pictures': [{ width: 24, height: 24 }, { width: 13, height: 11 }],
};
describe.each(['llava_next', 'llava_onevision'])('%s in the interpreter', (family) => {
  const model = make(family), cfg = model.cfg as AnyResolutionConfig, { graph } = trace(model);
  test.each(Object.entries(sizes))('%s: visual rows are what the library packs', (_name, pictures) => {
    const p = prompt(graph, cfg, pictures), side = cfg.patches_per_side, width = cfg.hidden_size;
    let projected = new Float32Array(), visual = new Float32Array();
    interpret(graph, { layout: p.layout, inputs: p.inputs, weights: p.weights, watch: (n, v) => {
      if (n.path === 'multi_modal_projector.linear_2') projected = v.data as Float32Array<ArrayBuffer>;
      if (n.op === 'gather_rows') visual = v.data as Float32Array<ArrayBuffer>;
    } });
    const rows = Array.from({ length: projected.length / width }, (_, r) => projected.subarray(r * width, (r + 1) * width));
    let at = 0;
    const packed = p.images.flatMap(({ size, tiles }) => {
      const own = Array.from({ length: tiles }, () => rows.slice(at, at += side ** 2));
      return packImageFeatures(own, size, p.weights.get('image_newline')!, { image_grid_pinpoints: cfg.image_grid_pinpoints, image_size: cfg.vision_config.image_size, side, ...(cfg.max_tiles !== undefined && { max: cfg.max_tiles }) });
    });
    expect(at).toBe(rows.length);
    expect(distance(Float32Array.from(packed.flatMap((r) => [...r])), visual)).toBeLessThan(1e-6);
  });
  test('image after image and then the prompt, as at once; polynomials count what is computed', () => {
    for (const variant of ['self', 'composite']) {
      const made = make(family);
      applyVariant(made, variant);
      const { graph: whole } = trace(made), p = prompt(whole, cfg, sizes['two pictures']!), counted = new Map<Node, number>();
      const { outputs } = interpret(whole, { layout: p.layout, inputs: p.inputs, weights: p.weights, watch: (n, v) => counted.set(n, v.data.length) });
      const dims = { V: p.images.reduce((n, x) => n + x.visual, 0), T: p.ids.length, tiles: p.images.reduce((n, x) => n + x.tiles, 0) };
      for (const { node, counts } of work(whole)) if (node.op === 'linear') expect(Number(counts.matmul!.evaluate(dims))).toBe(counted.get(node)! * node.inputs[0]!.type.dims[0]!);

      const { graphs } = stageProgram(optimise(whole)), session = new Session(p.weights), vision = graphs.get('vision')!, prefill = graphs.get('prefill')!;
      expect([...vision.inputs.keys()].sort()).toEqual([...whole.inputs.keys()].filter((n) => n !== 'ids').sort());
      expect([...prefill.inputs.keys()]).toEqual(['ids']);
      p.images.forEach((_, i) => session.image(vision, { layout: { ...p.tower(i), tokens: [p.visual(i)] }, inputs: { pixels: p.pixels[i]!, ...p.map(i) } }));
      const staged = session.extend(prefill, { layout: { tokens: p.layout['tokens']! }, inputs: { ids: p.ids } });
      expect(distance(Float32Array.from(outputs.get('logits')!.data), Float32Array.from(staged.outputs.get('logits')!.data))).toBeLessThan(1e-5);
    }
  });
});

test('pictures of a OneVision prompt with several of them are not cut', () => {
  const model = make('llava_onevision'), cfg = model.cfg as AnyResolutionConfig, { graph } = trace(model), p = prompt(graph, cfg, sizes['two pictures']!, false);
  expect(p.images.map(({ tiles, visual }) => [tiles, visual])).toEqual(sizes['two pictures']!.map((size) => { const { tiles, visual } = LlavaOneVision.imageLayout(cfg as never, size, 2); return [tiles, visual]; }));
  expect(interpret(graph, { layout: p.layout, inputs: p.inputs, weights: p.weights, guard: true }).outputs.get('logits')!.data).toHaveLength(text.vocab_size);
});

describe('tile by tile', () => {
  test.each(['self', 'composite'])('%s: a step for each tile and one for the image, as at once', (variant) => {
    for (const family of ['llava_next', 'llava_onevision']) {
      const made = make(family), cfg = made.cfg as AnyResolutionConfig;
      applyVariant(made, variant);
      const { graph: whole } = trace(made), p = prompt(whole, cfg, sizes['two pictures']!), { graphs } = byTile(stageProgram(optimise(whole)));
      expect([...graphs.keys()]).toEqual(['tile', 'vision', 'prefill', 'decode']);
      const tile = graphs.get('tile')!, vision = graphs.get('vision')!, pixels = 3 * cfg.tile_size ** 2;
      expect([[...tile.inputs.keys()], [...tile.states.keys()]]).toEqual([['pixels'], ['multi_modal_projector.linear_2.tiles']]);
      expect(vision.inputs.has('pixels')).toBe(false);
      expect(vision.nodes.some((n) => n.path.startsWith('vision_tower'))).toBe(false);
      const { outputs } = interpret(whole, { layout: p.layout, inputs: p.inputs, weights: p.weights }), session = new Session(p.weights);
      p.images.forEach((image, i) => {
        const towers = p.tower(i), of = (name: string, t: number): Segment[] => towers[name]!.filter((s) => s.image === 100 * (i + 1) + t);
        for (let t = 0; t < image.tiles; t++) session.image(tile, { layout: { pictures: of('pictures', t), patches: of('patches', t) }, inputs: { pixels: p.pixels[i]!.subarray(t * pixels, (t + 1) * pixels) } });
        session.image(vision, { layout: { ...towers, tokens: [p.visual(i)] }, inputs: p.map(i) });
      });
      const staged = session.extend(graphs.get('prefill')!, { layout: { tokens: p.layout['tokens']! }, inputs: { ids: p.ids } });
      expect(distance(Float32Array.from(outputs.get('logits')!.data), Float32Array.from(staged.outputs.get('logits')!.data))).toBeLessThan(1e-5);
    }
  });
  test('a program without tiles stays as it is', () => {
    const json = builtinConfig('smolvlm-256m')!, staged = stageProgram(optimise(trace(createModel(familyOf(json), { ...json, text_config: { ...json['text_config'] as JsonObject, num_hidden_layers: 1 } })).graph));
    expect(byTile(staged)).toBe(staged);
  });
});

describe('room in a bundle', () => {
  test('is for the largest picture, unless it is said', () => {
    const next = make('llava_next');
    expect(tilingOf(next)).toEqual({ rule: 'any_resolution', alone: false, tile_size: 12, patches_per_side: 3, image_grid_pinpoints: pinpoints, most: 5 });
    expect(tilingOf(make('llava_onevision'), 3)).toMatchObject({ alone: true, max_tiles: 2, most: 3 });
    const of = (name: string): number => { const json = builtinConfig(name)!; return roomForPictures(createModel(familyOf(json), json)); };
    expect(['llava-1.5-7b', 'llava-next-7b', 'llava-onevision-7b', 'smolvlm-256m', 'idefics3-8b'].map(of)).toEqual([2048, 576 + 48 * 49, 729 + 98 * 82, 2048, 17 * 169]);
  });
  test('of a number of tiles for a model without them is an error', () => {
    const json = builtinConfig('smolvlm-256m')!, llava = builtinConfig('llava-1.5-7b')!;
    expect(() => tilingOf(createModel(familyOf(json), json), 4)).toThrow('--max-tiles limits the tiles of one image, but Idefics3 takes each tile as an image of its own. Limit its visual rows instead (--max-visual).');
    expect(() => tilingOf(createModel(familyOf(llava), llava), 4)).toThrow('--max-tiles limits the tiles of one image, but Llava does not cut pictures into tiles. Leave it out.');
  });
  test('sizes of the preprocessor are those of the model', () => {
    expect(() => llavaNextConfig({ ...small['llava_next'], preprocessor_config: { image_grid_pinpoints: [[12, 24]] } })).toThrow(/^'image_grid_pinpoints' of config\.json lists 4 sizes and that of its preprocessor_config\.json 1 other ones\./);
    expect(llavaNextConfig({ ...small['llava_next'], preprocessor_config: { image_grid_pinpoints: pinpoints } }).tile_size).toBe(12);
  });
});
