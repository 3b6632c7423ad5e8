/**
 * Published hyper-parameters by name, as Hugging Face configs: what a file leaves out has the library's default.
 * Vocabularies are the published models'; the `llava-hf` conversions pad LLaVA-1.5's 32,000 entries to 32,064.
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
const llava = (text_config: JsonObject): JsonObject => ({ model_type: 'llava', text_config, vision_config: clipL14(336) });

export const published = {
  'llava-1.5-7b': llava(vicuna7b),
  'llava-1.5-13b': llava(vicuna13b),
  'vicuna-7b': vicuna7b,
  'vicuna-13b': vicuna13b,
  'llama-3-8b': {
    model_type: 'llama', vocab_size: 128256, intermediate_size: 14336, num_key_value_heads: 8, rms_norm_eps: 1e-5, rope_theta: 500000,
    max_position_embeddings: 8192,
  },
  'mistral-7b': { model_type: 'mistral', rms_norm_eps: 1e-5, max_position_embeddings: 32768 },
  'qwen2-0.5b': {
    model_type: 'qwen2', hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2,
    rope_theta: 1000000, max_position_embeddings: 131072, tie_word_embeddings: true,
  },
  'tinyllama-1.1b': {
    model_type: 'llama', hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22, num_key_value_heads: 4, rms_norm_eps: 1e-5,
  },
  'clip-vit-l-14': clipL14(224),
  'clip-vit-l-14-336': clipL14(336),
  'siglip-so400m-14-384': siglipSo400m,
} as const satisfies Readonly<Record<string, JsonObject>>;
