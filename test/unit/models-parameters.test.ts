/** Parameters of the definitions: as many as published, and named and shaped as in the checkpoints. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { countParameters, createModel, parameters } from 'eemllm';
import { builtinConfig, builtinNames, familyOf, isComputedTensor, resolveTensorName } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { openModel } from '../../compiler/load-model.ts';
import { rowElements } from '../../compiler/ir/types.ts';

const builtin = (name: string) => createModel(familyOf(builtinConfig(name)!), builtinConfig(name)!, name);

/** Names and shapes in a safetensors file, from its header alone. */
function headerOf(file: string): Record<string, number[]> {
  const fd = openSync(file, 'r'), size = Buffer.alloc(8);
  readSync(fd, size, 0, 8, 0);
  const json = Buffer.alloc(Number(size.readBigUInt64LE(0)));
  readSync(fd, json, 0, json.length, 8);
  closeSync(fd);
  const { __metadata__: _, ...entries } = JSON.parse(json.toString()) as Record<string, { shape: number[] }>;
  return Object.fromEntries(Object.entries(entries).map(([name, e]) => [name, e.shape]));
}

// Counted by instantiating the published config.json files; towers without CLIP's output projection.
test.each([
  ['llava-1.5-7b', 7_062_902_784],
  ['llava-1.5-13b', 13_015_864_320 + 303_507_456 + 31_467_520],
  // Added up by hand from the configs: decoder, tower, projector, newline.
  ['llava-next-7b', 6_738_415_616 + 303_507_456 + 20_979_712 + 4096],
  ['llava-next-13b', 13_015_864_320 + 303_507_456 + 31_467_520 + 5120],
  ['llava-next-mistral-7b', 7_241_732_096 + 303_507_456 + 20_979_712 + 4096],
  // The tower has one layer of SigLIP so400m less (15,239,504): 893,618,208 and 8,030,348,832.
  ['llava-onevision-0.5b', 494_032_768 + 412_987_248 - 15_239_504 + (1153 * 896 + 897 * 896) + 896],
  ['llava-onevision-7b', 7_615_616_512 + 412_987_248 - 15_239_504 + (1153 * 3584 + 3585 * 3584) + 3584],
  ['vicuna-7b', 6_738_415_616],
  ['vicuna-13b', 13_015_864_320],
  ['llama-3-8b', 8_030_261_248],
  ['mistral-7b', 7_241_732_096],
  ['qwen2-0.5b', 494_032_768],
  ['qwen2-7b', 7_615_616_512],
  ['tinyllama-1.1b', 1_100_048_384],
  ['phi-2', 2_779_683_840],
  ['clip-vit-l-14-336', 303_507_456],
  ['siglip-so400m-14-384', 428_225_600],
])('%s has %i parameters', (name, count) => { expect(countParameters(builtin(name))).toBe(count); });

test('the towers and the projector of LLaVA have as many as published', () => {
  const of = (prefix: string): number => parameters(builtin('llava-1.5-7b')).filter((p) => p.name.startsWith(prefix)).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
  expect(of('vision_tower.')).toBe(303_507_456);
  expect(of('multi_modal_projector.')).toBe(20_979_712);
  expect(of('language_model.')).toBe(6_738_415_616);
  const siglip = parameters(createModel(familyOf({ model_type: 'siglip_vision_model' }), { ...builtinConfig('siglip-so400m-14-384'), vision_use_head: false }));
  expect(siglip.reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0)).toBe(412_987_248);
});

test('a 7B model is traced in well under two seconds, and its graph holds every parameter', () => {
  const model = builtin('llava-1.5-7b'), start = process.cpuUsage();
  const { graph } = trace(model), { user, system } = process.cpuUsage(start);
  expect((user + system) / 1e6).toBeLessThan(2);
  expect([...graph.weights.values()].reduce((n, w) => n + rowElements(w.type), 0)).toBe(7_062_902_784);
});

test.each(builtinNames)('%s is traced as it is and under its masks', (name) => {
  const model = builtin(name), { graph } = trace(model);
  expect([...graph.outputs.keys()]).toEqual([name.startsWith('clip') || name.startsWith('siglip') ? 'features' : 'logits']);
});

const folders = ['test/fixtures/llava-clip-llama-a', 'test/fixtures/llava-siglip-qwen2-a', 'test/fixtures/llama-gqa-odd-a', 'examples/shapes/checkpoint'];
describe.each(folders)('%s', (folder) => {
  test.skipIf(!existsSync(folder))('holds the tensors of the definition and no others', async () => {
    const model = (await openModel(folder)).create();
    expect(Object.fromEntries(parameters(model).map((p) => [p.name, [...p.shape]]))).toEqual(headerOf(`${folder}/model.safetensors`));
  });
});

describe('the newer layout of names', () => {
  const newer = new Set(['lm_head.weight', 'model.language_model.layers.0.self_attn.q_proj.weight', 'model.language_model.embed_tokens.weight', 'model.vision_tower.vision_model.pre_layrnorm.weight', 'model.multi_modal_projector.linear_1.bias', 'model.image_newline']);
  test.each([
    ['language_model.lm_head.weight', 'lm_head.weight'],
    ['language_model.model.layers.0.self_attn.q_proj.weight', 'model.language_model.layers.0.self_attn.q_proj.weight'],
    ['language_model.model.embed_tokens.weight', 'model.language_model.embed_tokens.weight'],
    ['vision_tower.vision_model.pre_layrnorm.weight', 'model.vision_tower.vision_model.pre_layrnorm.weight'],
    ['multi_modal_projector.linear_1.bias', 'model.multi_modal_projector.linear_1.bias'],
    ['image_newline', 'model.image_newline'],
    ['language_model.model.norm.weight', undefined],
  ])('%s is %s', (older, name) => { expect(resolveTensorName(newer, older)).toBe(name); });
  test('the older names come first, and tensors that are computed are no parameters', () => {
    expect(resolveTensorName(new Set(['language_model.lm_head.weight']), 'language_model.lm_head.weight')).toBe('language_model.lm_head.weight');
    expect(isComputedTensor('vision_tower.vision_model.embeddings.position_ids')).toBe(true);
    expect(isComputedTensor('model.layers.0.self_attn.rotary_emb.inv_freq')).toBe(true);
    expect(isComputedTensor('vision_tower.vision_model.embeddings.position_embedding.weight')).toBe(false);
  });
});
