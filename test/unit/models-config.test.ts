/** Hugging Face configs: what they leave out has the library's default, and what is wrong in them is said in a sentence. */
import { readFileSync } from 'node:fs';
import { UserError } from 'eemllm';
import { familyOf, llamaConfig, llavaConfig, visionConfig } from 'eemllm/models';
import { describe, expect, test } from 'vitest';

type Json = Record<string, unknown>;
const read = (path: string): Json => JSON.parse(readFileSync(`test/fixtures/${path}`, 'utf8')) as Json;
/** The keys of `of` that both have. */
const common = (a: object, of: Json): [Json, Json] => {
  const keys = Object.keys(a).filter((k) => k in of), pick = (x: Json): Json => Object.fromEntries(keys.map((k) => [k, x[k]]));
  return [pick(a as Json), pick(of)];
};

describe('resolves as the library does', () => {
  test.each(['llava-clip-llama-a', 'llava-siglip-qwen2-a'])('%s', (folder) => {
    const config = llavaConfig(read(`${folder}/config.json`)), resolved = read(`${folder}/golden.json`)['config_resolved'] as Record<string, Json>;
    for (const [mine, theirs] of [[config.text_config, resolved['text_config']!], [config.vision_config, resolved['vision_config']!]] as const) {
      const [a, b] = common({ ...mine, rope_scaling: (mine as unknown as Json)['rope_scaling'] ?? null }, theirs);
      if ('sliding_window' in b) b['sliding_window'] ??= undefined;
      expect(a).toEqual(b);
    }
    const { vision_config: _v, text_config: _t, ...rest } = config;
    const [a, b] = common(rest, resolved as Json);
    expect(a).toEqual(b);
  });
  test('llama-gqa-odd-a', () => {
    const config = llamaConfig(read('llama-gqa-odd-a/config.json'));
    expect(config).toMatchObject({ head_dim: 14, q_size: 84, kv_size: 28, rope_scaling: { type: 'llama3', factor: 8, original_max_position_embeddings: 64 } });
  });
  test('nothing but the family', () => {
    expect(llavaConfig({ model_type: 'llava' })).toMatchObject({ vision_hidden_size: 1024, hidden_size: 4096, num_visual_tokens: 576, vision_feature_layer: -2 });
    expect(llamaConfig({ model_type: 'mistral' })).toMatchObject({ num_key_value_heads: 8, intermediate_size: 14336, sliding_window: 4096 });
    expect(llamaConfig({ model_type: 'qwen2' })).toMatchObject({ vocab_size: 151936, qkv_bias: true, o_bias: false });
    expect(llamaConfig({ model_type: 'qwen2' }).sliding_window).toBeUndefined();
  });
  test('the newer spellings', () => {
    expect(llamaConfig({ model_type: 'llama', rope_parameters: { rope_theta: 5e5, rope_type: 'default' } })).toMatchObject({ rope_theta: 500000 });
    expect(llamaConfig({ model_type: 'llama', rope_scaling: { type: 'linear', factor: 2 } }).rope_scaling).toEqual({ type: 'linear', factor: 2 });
    expect(llavaConfig({ model_type: 'llava', image_token_id: 7 }).image_token_index).toBe(7);
  });
  test('a sliding window, only where one is configured and can bind', () => {
    expect(llamaConfig({ model_type: 'mistral', sliding_window: null }).sliding_window).toBeUndefined();
    expect(llamaConfig({ model_type: 'llama', sliding_window: 128 }).sliding_window).toBeUndefined();
    expect(llamaConfig({ model_type: 'mistral', sliding_window: 4096, max_position_embeddings: 4096 }).sliding_window).toBeUndefined();
    expect(llamaConfig({ model_type: 'qwen2', use_sliding_window: true, sliding_window: 64, max_window_layers: 3 })).toMatchObject({ sliding_window: 64, window_from_layer: 3 });
  });
});

const llama = { model_type: 'llama', hidden_size: 64, num_attention_heads: 4 };
describe('says what is wrong', () => {
  test.each<[string, () => unknown, RegExp | string]>([
    ['an unknown family', () => familyOf({ model_type: 'lava' }), /^'model_type' of config\.json is "lava", which is not known here\. Did you mean 'llava'\? Known are: llava, llava_next, .*, llama, /],
    ['no family', () => familyOf({}), /^config\.json has no 'model_type'/],
    ['an unknown decoder', () => llavaConfig({ model_type: 'llava', text_config: { model_type: 'rwkv' } }), /^'model_type' of 'text_config' of config\.json is "rwkv", a decoder that is not known here\. Known are: llama, mistral, mixtral, qwen2\.$/],
    ['an unknown tower', () => visionConfig({ model_type: 'dinov2' }), /a vision tower that is not known here/],
    ['heads that do not share the width', () => llamaConfig({ ...llama, num_attention_heads: 5 }), 'In config.json, hidden_size (64) is not divisible by num_attention_heads (5). One of the two is wrong.'],
    ['key heads that do not share the heads', () => llamaConfig({ ...llama, num_key_value_heads: 3 }), /num_attention_heads \(4\) is not divisible by num_key_value_heads \(3\)/],
    ['odd heads', () => llamaConfig({ ...llama, head_dim: 15 }), /heads are 15 wide/],
    ['an unknown activation', () => llamaConfig({ ...llama, hidden_act: 'swiglu' }), /^'hidden_act' of config\.json is 'swiglu', which is no activation known here\. Known are: gelu, /],
    ['a size that is text', () => llamaConfig({ ...llama, vocab_size: '32000' }), "'vocab_size' of config.json is \"32000\"; expected a number."],
    ['a size that is no whole number', () => llamaConfig({ ...llama, intermediate_size: 1.5 }), "'intermediate_size' of config.json is 1.5; expected a whole number."],
    ['a negative size', () => llamaConfig({ ...llama, num_hidden_layers: -1 }), "'num_hidden_layers' of config.json is -1; expected at least 1."],
    ['an unknown rope scaling', () => llamaConfig({ ...llama, rope_scaling: { rope_type: 'yarn', factor: 4 } }), /'rope_scaling' of config\.json is of type "yarn", which is not known here\. Known are: default, linear, llama3\./],
    ['a rope scaling without its numbers', () => llamaConfig({ ...llama, rope_scaling: { rope_type: 'llama3', factor: 8 } }), /'low_freq_factor' of 'rope_scaling' of config\.json is missing/],
    ['a feature layer outside the tower', () => llavaConfig({ model_type: 'llava', vision_feature_layer: -26 }), /is -26, but its tower has 24 layers: expected -25 to 24/],
    ['several feature layers', () => llavaConfig({ model_type: 'llava', vision_feature_layer: [-2, -5] }), /is a list/],
    ['a class token that the tower lacks', () => llavaConfig({ model_type: 'llava', vision_config: { model_type: 'siglip_vision_model' } }), /leaves out the class token, but a siglip_vision_model has none\. Expected 'full'/],
    ['patches larger than the picture', () => visionConfig({ image_size: 16, patch_size: 32 }), /patches of 32 px \(patch_size\) do not fit into pictures of 16 px/],
    ['a part that is no object', () => llavaConfig({ model_type: 'llava', text_config: 3 }), /'text_config' of config\.json is 3; expected an object/],
    ['two wrong fields at once', () => llamaConfig({ ...llama, vocab_size: 0, rms_norm_eps: -1 }), /'vocab_size' .* 'rms_norm_eps' /],
  ])('%s', (_name, run, message) => {
    let error: unknown;
    try { run(); } catch (e) { error = e; }
    expect(error).toBeInstanceOf(UserError);
    if (typeof message === 'string') expect((error as UserError).message).toBe(message); else expect((error as UserError).message).toMatch(message);
  });
});
