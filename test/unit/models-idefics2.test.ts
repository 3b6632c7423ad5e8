/** Idefics2: sizes and names as published, pictures as the library prepares them, and the definition beside the published code. */
import type { JsonObject } from 'eemllm';
import { UserError, countParameters, createModel, parameters } from 'eemllm';
import { builtinConfig, familyOf, idefics2Config } from 'eemllm/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { parseGraph, printGraph } from '../../compiler/ir/index.ts';
import { promptSizes } from '../../compiler/cli/image-size.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { optimise } from '../../passes/pipeline.ts';
import { nativePictures, patchRows } from '../../runtime/native-pictures.ts';
import { parsePreprocessor } from '../../runtime/image.ts';
import { markedPictures, mostPatches, nativeCrops, nativeSize, patchGrid, patchPositions, positionBuckets } from '../../runtime/tiling/native-resolution.ts';
import { buckets } from '../support/hf-idefics2.ts';
import { distance } from '../support/run-case.ts';
import { tiledLogits } from '../support/tiled-reference.ts';
import { idefics2Model, idefics2Reference, nativeInput, noise, tinyIdefics2 } from '../support/tiny-idefics2.ts';

describe('as published', () => {
  const config = builtinConfig('idefics2-8b')!, model = createModel(familyOf(config), config);

  // As the hub counts the checkpoint's tensors.
  test('Idefics2-8B has 8,402,768,112 parameters', () => { expect(countParameters(model)).toBe(8_402_768_112); });

  test('parts add up by hand: tower, projection, resampler, decoder', () => {
    const of = (prefix: string): number => parameters(model).filter((p) => p.name.startsWith(prefix)).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0), h = 4096, w = 1152;
    expect(of('model.vision_model.')).toBe(27 * (4 * (w * w + w) + 2 * w * 4304 + 4304 + w + 4 * w) + (588 * w + w) + 4900 * w + 2 * w);
    expect(of('model.connector.modality_projection.')).toBe(2 * w * 14336 + 14336 * h);
    expect(of('model.connector.perceiver_resampler.')).toBe(64 * h + 3 * (2 * h * 1536 + 2 * h * 384 + 3 * 4 * h * h + 3 * h) + h);
    expect(of('model.text_model.') + of('lm_head.')).toBe(7_241_732_096 + 2 * 3 * h);
  });

  test("names are the checkpoint's", () => {
    const shapes = new Map(parameters(model).map((p) => [p.name, p.shape.join()]));
    for (const [name, shape] of Object.entries({
      'model.vision_model.embeddings.patch_embedding.weight': '1152,3,14,14', 'model.vision_model.embeddings.position_embedding.weight': '4900,1152', 'model.vision_model.encoder.layers.26.self_attn.out_proj.bias': '1152', 'model.vision_model.post_layernorm.weight': '1152',
      'model.connector.modality_projection.down_proj.weight': '4096,14336', 'model.connector.perceiver_resampler.latents': '64,4096', 'model.connector.perceiver_resampler.layers.2.self_attn.k_proj.weight': '384,4096',
      'model.connector.perceiver_resampler.layers.0.input_context_norm.weight': '4096', 'model.connector.perceiver_resampler.layers.0.mlp.up_proj.weight': '16384,4096', 'model.connector.perceiver_resampler.norm.weight': '4096',
      'model.text_model.layers.31.self_attn.k_proj.weight': '1024,4096', 'lm_head.weight': '32003,4096',
    })) expect([name, shapes.get(name)]).toEqual([name, shape]);
  });

  test('a decoder of another width than the resampler says takes its eps with it', () => {
    const eps = (perceiver_config: JsonObject, text_config: JsonObject): number => idefics2Config({ model_type: 'idefics2', perceiver_config, text_config }).perceiver_config.rms_norm_eps;
    expect([eps({}, { rms_norm_eps: 1e-3 }), eps({}, { hidden_size: 64, rms_norm_eps: 1e-3 }), eps({ hidden_size: 64, rms_norm_eps: 1e-4 }, { hidden_size: 64 })]).toEqual([1e-6, 1e-3, 1e-4]);
    expect(() => idefics2Config({ model_type: 'idefics2', perceiver_config: { resampler_n_heads: 5, num_key_value_heads: 2 } })).toThrow(UserError);
  });
});

describe('pictures', () => {
  const rule = idefics2Config(builtinConfig('idefics2-8b')!).pictures;
  const sizes = (width: number, height: number): number[][] => nativeCrops(rule, { width, height }).map((c) => { const s = nativeSize(rule, c); return [s.width, s.height]; });

  // By hand from get_resize_output_image_size: the longer side at most 980, then no side under 378.
  test.each([
    [640, 480, [[378, 378], [378, 378], [378, 378], [378, 378], [640, 480]]],
    [2000, 1000, [[980, 490], [980, 490], [980, 490], [980, 490], [980, 490]]],
    [1001, 500, [[500, 378], [501, 378], [500, 378], [501, 378], [980, 489]]],
    [300, 5000, [[378, 980], [378, 980], [378, 980], [378, 980], [378, 980]]],
    [1, 9, [[378, 378]]],
  ] as const)('%i × %i', (width, height, want) => { expect(sizes(width, height)).toEqual(want); });

  test('no picture has more patches than there is room for', () => {
    expect(mostPatches(rule)).toBe(4900);
    fc.assert(fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 5000 }), (width, height) => {
      for (const c of nativeCrops(rule, { width, height })) { const { rows, columns } = patchGrid(rule, nativeSize(rule, c)); expect(rows * columns).toBeLessThanOrEqual(4900); }
    }));
  });

  test('positions are the buckets of torch', () => {
    for (let n = 1; n <= 70; n++) for (let count = 1; count <= 75; count += n % 3 + 1) expect([n, count, ...positionBuckets(count, n)]).toEqual([n, count, ...buckets(count, n)]);
    expect([...patchPositions({ ...rule, patches_per_side: 5 }, { width: 3 * 14 + 5, height: 2 * 14 })]).toEqual([0, 1, 3, 10, 11, 13]);
  });

  test('patches lie row by row, channel by channel, and leave out what is no whole patch', () => {
    const width = 5, height = 4, data = Float32Array.from({ length: 2 * width * height }, (_, i) => i);
    expect([...patchRows(data, 2, { width, height }, { patch_size: 2 }).subarray(0, 16)]).toEqual([0, 1, 5, 6, 20, 21, 25, 26, 2, 3, 7, 8, 22, 23, 27, 28]);
    expect(patchRows(data, 2, { width, height }, { patch_size: 2 })).toHaveLength(32);
    // The same picture in a wider frame.
    expect([...patchRows(data, 2, { width: 2, height: 2 }, { patch_size: 2 }, { width, height })]).toEqual([0, 1, 5, 6, 20, 21, 25, 26]);
  });

  test('quarters and the whole, resized one by one', () => {
    const image = { width: 7, height: 5, channels: 3 as const, data: Uint8Array.from({ length: 105 }, (_, i) => i * 2) };
    const preprocessor = parsePreprocessor({ image_processor_type: 'Idefics2ImageProcessor', do_image_splitting: true, do_pad: true, size: { shortest_edge: 4, longest_edge: 6 } });
    const made = nativePictures(image, { ...rule, patch_size: 2, shortest_edge: 4, longest_edge: 6 }, preprocessor);
    expect(made.map((p) => [p.width, p.height, p.data.length])).toEqual([[4, 4, 48], [4, 4, 48], [4, 4, 48], [4, 4, 48], [6, 4, 72]]);
    expect(markedPictures(2, { fake_image_token: 'F' })).toEqual(['F', 0, 'F', 1, 'F']);
  });
});

test.each(['self', 'composite'] as const)('%s: the definition computes what the published code computes of a padded batch', (variant) => {
  const { model, weights } = idefics2Model(variant), pictures = [noise(22, 9, 3), noise(13, 27, 4)];
  const items = [3, 4, nativeInput(pictures[0]!, 'a'), 5, nativeInput(pictures[1]!, 'b'), 6, 7, 2], prompt = [3, 4, -1, 5, -2, 6, 7, 2];
  expect(distance(idefics2Reference(prompt, pictures, weights, variant), tiledLogits(model, items, weights))).toBeLessThan(1e-5);
});

test('work is counted for the patches that each picture has', () => {
  const model = createModel(familyOf(builtinConfig('idefics2-8b')!), builtinConfig('idefics2-8b')!), { graph } = trace(model), formula = costFormula(graph, conventionNamed('exact'));
  const vision = (width: number, height: number): bigint => {
    const { visual, text, images, tiles, tower } = promptSizes({ model, graph }, { image: [{ width, height }], text: 0 }, 0);
    return formula.at({ dims: { V: visual, T: text, ...tower }, images, tiles }).parts.vision;
  };
  // 2·P(4w² + 2wf) + 4P²w a layer, 2·P·588·w for the patches; pictures of P patches.
  const tower = (P: bigint): bigint => 27n * (2n * P * (4n * 1152n ** 2n + 2n * 1152n * 4304n) + 4n * P ** 2n * 1152n) + 2n * P * 588n * 1152n;
  expect(vision(980, 980)).toBe(4n * tower(35n ** 2n) + tower(70n ** 2n));
  expect(vision(1960, 500)).toBe(4n * tower(70n * 27n) + tower(70n * 27n));
  expect(vision(640, 480)).toBe(4n * tower(27n ** 2n) + tower(45n * 34n));
  // Where nobody says the size of a picture, it fills the tower.
  const { tower: full } = promptSizes({ model, graph }, { visual: 128, images: 2, text: 0 }, 0);
  expect(full).toEqual({ P: 4900, 'P*tiles': 9800, 'P^2*tiles': 2 * 4900 ** 2 });
});

test('its graph prints and parses, rows of pictures counted by a dim', () => {
  const best = optimise(trace(createModel(familyOf(tinyIdefics2), tinyIdefics2)).graph), printed = printGraph(best);
  expect(printed).toMatch(/sequence patches\(media patch: P\)/);
  expect(printed).toMatch(/sequence resampling\(media feature: P, media latent: 3\)/);
  expect(printGraph(parseGraph(printed))).toBe(printed);
});
