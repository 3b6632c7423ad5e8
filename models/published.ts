/**
 * Published hyper-parameters by name, as Hugging Face configs: what a file leaves out has the library's default.
 * Vocabularies are the published models'; the `llava-hf` conversions pad Llama's 32,000 entries to 32,064, and Qwen2's by 64.
 */
import type { JsonObject } from 'eemllm';

const clipL14 = (image_size: number): JsonObject => ({
  model_type: 'clip_vision_model', hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16,
  image_size, patch_size: 14, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5,
});
const siglipSo400m: JsonObject = {
  model_type: 'siglip_vision_model', hidden_size: 1152, intermediate_size: 4304, num_hidden_layers: 27, num_attention_heads: 16,
  image_size: 384, patch_size: 14,
};
const vicuna7b: JsonObject = { model_type: 'llama', rms_norm_eps: 1e-5, max_position_embeddings: 4096 };
const vicuna13b: JsonObject = { ...vicuna7b, hidden_size: 5120, intermediate_size: 13824, num_hidden_layers: 40, num_attention_heads: 40 };
const qwen2: JsonObject = { model_type: 'qwen2', rope_theta: 1000000, max_position_embeddings: 32768 };
const qwen2Half: JsonObject = {
  ...qwen2, hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2, tie_word_embeddings: true,
};
const qwen2Seven: JsonObject = {
  ...qwen2, vocab_size: 152064, hidden_size: 3584, intermediate_size: 18944, num_hidden_layers: 28, num_attention_heads: 28, num_key_value_heads: 4,
};
/** SmolLM2 (arXiv 2502.02737), as a decoder of its own; SmolVLM has more tokens, and a head beside the embeddings. */
const smolLm2 = (sizes: JsonObject): JsonObject => ({
  model_type: 'llama', vocab_size: 49152, rms_norm_eps: 1e-5, rope_theta: 100000, max_position_embeddings: 8192, tie_word_embeddings: true, ...sizes,
});
const smolLm2_135m = smolLm2({ hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3 });
const smolLm2_360m = smolLm2({ hidden_size: 960, intermediate_size: 2560, num_hidden_layers: 32, num_attention_heads: 15, num_key_value_heads: 5 });
const smolLm2_1_7b = smolLm2({ hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 24, num_attention_heads: 32, rope_theta: 273768, max_position_embeddings: 16384 });

/** A picture's longest side is brought to four tiles (`preprocessor_config.json` of each model). */
const fourTiles = (tile: number): JsonObject => ({ size: { longest_edge: 4 * tile }, max_image_size: { longest_edge: tile } });
const smolVlm = (text: JsonObject, vision_config: JsonObject & { readonly image_size: number }, scale_factor: number, model_type = 'idefics3'): JsonObject => ({
  model_type, scale_factor, image_token_id: 49190, tie_word_embeddings: false, text_config: { ...text, vocab_size: 49280, tie_word_embeddings: false }, vision_config,
  preprocessor_config: fourTiles(vision_config.image_size),
});
const siglipB512 = { hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12, image_size: 512, patch_size: 16 };
const so400m = (image_size: number) => ({ ...siglipSo400m, model_type: 'idefics3_vision', image_size });
const llava = (text_config: JsonObject): JsonObject => ({ model_type: 'llava', text_config, vision_config: clipL14(336) });
const llavaNext = (text_config: JsonObject): JsonObject => ({
  ...llava(text_config), model_type: 'llava_next', image_grid_pinpoints: [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
});
/** The tower is SigLIP so400m without its last layer and its head, which LLaVA-OneVision does not read (convert_llava_onevision_weights_to_hf.py). */
const llavaOneVision = (text_config: JsonObject): JsonObject => ({
  model_type: 'llava_onevision', text_config, vision_config: { ...siglipSo400m, num_hidden_layers: 26, vision_use_head: false },
  vision_feature_layer: -1, vision_feature_select_strategy: 'full', vision_aspect_ratio: 'anyres_max_9',
});

export const published = {
  'llava-1.5-7b': llava(vicuna7b),
  'llava-1.5-13b': llava(vicuna13b),
  'llava-next-7b': llavaNext(vicuna7b),
  'llava-next-13b': llavaNext(vicuna13b),
  'llava-next-mistral-7b': llavaNext({ model_type: 'mistral', rms_norm_eps: 1e-5, rope_theta: 1000000, max_position_embeddings: 32768, sliding_window: null }),
  'llava-onevision-0.5b': llavaOneVision(qwen2Half),
  'llava-onevision-7b': llavaOneVision(qwen2Seven),
  'vicuna-7b': vicuna7b,
  'vicuna-13b': vicuna13b,
  'llama-3-8b': {
    model_type: 'llama', vocab_size: 128256, intermediate_size: 14336, num_key_value_heads: 8, rms_norm_eps: 1e-5, rope_theta: 500000,
    max_position_embeddings: 8192,
  },
  'mistral-7b': { model_type: 'mistral', rms_norm_eps: 1e-5, max_position_embeddings: 32768 },
  'mixtral-8x7b': { model_type: 'mixtral', max_position_embeddings: 32768 },
  'qwen2-0.5b': { ...qwen2Half, max_position_embeddings: 131072 },
  'qwen2-7b': { ...qwen2Seven, max_position_embeddings: 131072 },
  'tinyllama-1.1b': {
    model_type: 'llama', hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22, num_key_value_heads: 4, rms_norm_eps: 1e-5,
  },
  'phi-2': {
    model_type: 'phi', hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 32, num_attention_heads: 32, partial_rotary_factor: 0.4,
  },
  'smollm2-135m': smolLm2_135m,
  'smolvlm-256m': smolVlm(smolLm2_135m, siglipB512, 4),
  'smolvlm-500m': smolVlm(smolLm2_360m, siglipB512, 4),
  // SmolVLM2-2.2B, whose tokenizer has the smaller models' marks; that of the first SmolVLM-Instruct ends at 49,155 entries.
  'smolvlm-2.2b': smolVlm(smolLm2_1_7b, so400m(384), 3, 'smolvlm'),
  'idefics3-8b': {
    model_type: 'idefics3', scale_factor: 2, image_token_id: 128257, tie_word_embeddings: false, vision_config: so400m(364), preprocessor_config: fourTiles(364),
    text_config: {
      model_type: 'llama', vocab_size: 128259, intermediate_size: 14336, num_key_value_heads: 8, rms_norm_eps: 1e-5, rope_theta: 500000, max_position_embeddings: 131072,
      rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
    },
    // Llama 3's tokenizer: < row _ 1 _col _ 1 >, and < global -img >.
    mark_tokens: { row_col: 8, global_img: 4 },
  },
  'idefics2-8b': {
    model_type: 'idefics2', image_token_id: 32001, tie_word_embeddings: false, vision_config: { ...siglipSo400m, model_type: 'idefics2', image_size: 980 },
    perceiver_config: { hidden_act: 'silu', resampler_n_latents: 64, resampler_depth: 3, resampler_n_heads: 16, resampler_head_dim: 96, num_key_value_heads: 4 },
    text_config: { model_type: 'mistral', vocab_size: 32003, rms_norm_eps: 1e-5, max_position_embeddings: 32768, sliding_window: 4096 },
    preprocessor_config: { do_image_splitting: true, size: { shortest_edge: 378, longest_edge: 980 } },
  },
  'clip-vit-l-14': clipL14(224),
  'clip-vit-l-14-336': clipL14(336),
  'siglip-so400m-14-384': siglipSo400m,
} as const satisfies Readonly<Record<string, JsonObject>>;
