/** A small Idefics2 with random weights and pictures of several sizes, and what the published code makes of them. */
import { createModel } from 'eemllm';
import type { Model } from 'eemllm';
import { Idefics2, applyVariant, causal, composite } from 'eemllm/models';
import { trace } from '../../compiler/frontend/trace.ts';
import { patchRows } from '../../runtime/native-pictures.ts';
import type { ImageInput } from '../../runtime/context.ts';
import type { NativePicture } from '../../runtime/native-pictures.ts';
import { patchPositions } from '../../runtime/tiling/native-resolution.ts';
import type { Idefics2Sizes } from './hf-idefics2.ts';
import { idefics2Logits, padBatch } from './hf-idefics2.ts';
import { generator } from './random-graphs.ts';
import type { Weights } from './tiled-reference.ts';

/** 5 × 5 learned positions; three latents; widths that no vector divides, grouped heads. */
export const tinyIdefics2 = {
  model_type: 'idefics2', image_token_id: 21,
  vision_config: { hidden_size: 10, intermediate_size: 14, num_hidden_layers: 2, num_attention_heads: 2, image_size: 20, patch_size: 4, layer_norm_eps: 1e-6 },
  perceiver_config: { hidden_size: 18, resampler_n_latents: 3, resampler_depth: 2, resampler_n_heads: 3, resampler_head_dim: 4, num_key_value_heads: 1, rms_norm_eps: 1e-5 },
  text_config: { model_type: 'mistral', hidden_size: 18, intermediate_size: 22, num_hidden_layers: 2, num_attention_heads: 3, num_key_value_heads: 1, head_dim: 6, vocab_size: 23, rms_norm_eps: 1e-6, rope_theta: 10000, sliding_window: null },
  preprocessor_config: { size: { shortest_edge: 9, longest_edge: 30 } },
} as const;
const rule = { patch_size: 4, patches_per_side: 5 } as Parameters<typeof patchPositions>[0];

export function idefics2Model(variant: string): { model: Model; weights: Weights } {
  const model = createModel(Idefics2, tinyIdefics2), random = generator(9);
  applyVariant(model, variant);
  const { graph } = trace(model);
  return { model, weights: new Map([...graph.weights].map(([name, n]) => [name, Float32Array.from({ length: n.type.dims.reduce((a, b) => a * b, 1) }, () => random.normal() * (n.type.dims.length > 1 ? 0.35 : 0.5))] as const)) };
}

/** Noise, normalised already. */
export function noise(width: number, height: number, seed: number): NativePicture {
  const random = generator(seed);
  return { width, height, data: Float32Array.from({ length: 3 * width * height }, random.normal) };
}
/** A picture as a session takes it. */
export const nativeInput = (picture: NativePicture, key: string): ImageInput =>
  ({ key, data: patchRows(picture.data, 3, picture, rule), rows: tinyIdefics2.perceiver_config.resampler_n_latents, positions: patchPositions(rule, picture) });

/** Logits of the last row: token ids, and −1 − n for the n-th picture. */
export function idefics2Reference(prompt: readonly number[], pictures: readonly NativePicture[], weights: Weights, variant: 'self' | 'composite'): Float32Array {
  const mask = variant === 'self' ? causal : composite;
  return idefics2Logits(prompt, padBatch(pictures), (name) => weights.get(name)!, tinyIdefics2 as unknown as Idefics2Sizes,
    (rows) => (q, k) => mask({ ...rows[q]!, pos: q, index: 0 }, { ...rows[k]!, pos: k, index: 0 }));
}
