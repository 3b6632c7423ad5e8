import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import { checkActivation } from '../activations.ts';
import { positive, readFields, share, size } from './fields.ts';

/** A vision tower with every size resolved. Names are Hugging Face's. */
export interface VisionConfig {
  readonly model_type: keyof typeof defaults;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_channels: number;
  /** Side of the square picture, and of a patch, in pixels. */
  readonly image_size: number;
  readonly patch_size: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
  /** Patches of a picture, and rows of the tower: CLIP has a class token besides. */
  readonly num_patches: number;
  readonly num_positions: number;
  /** SigLIP: whether the checkpoint holds the attention-pooling head. */
  readonly vision_use_head: boolean;
}

/** What the library's configuration classes say where a config says nothing (transformers 4.46.3). */
const defaults = {
  clip_vision_model: { hidden_size: 768, num_attention_heads: 12, patch_size: 32, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 },
  siglip_vision_model: { hidden_size: 768, num_attention_heads: 12, patch_size: 16, hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6 },
  idefics2: { hidden_size: 768, num_attention_heads: 12, patch_size: 32, hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6 },
  idefics3_vision: { hidden_size: 1152, num_attention_heads: 16, patch_size: 32, hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6 },
} as const;
export const visionModelTypes: readonly string[] = ['clip_vision_model', 'siglip_vision_model'];

const schema = (d: (typeof defaults)[keyof typeof defaults]) => v.object({
  hidden_size: v.nullish(size, d.hidden_size),
  intermediate_size: v.nullish(size, 3072),
  num_hidden_layers: v.nullish(size, 12),
  num_attention_heads: v.nullish(size, d.num_attention_heads),
  num_channels: v.nullish(size, 3),
  image_size: v.nullish(size, 224),
  patch_size: v.nullish(size, d.patch_size),
  hidden_act: v.nullish(v.string(), d.hidden_act),
  layer_norm_eps: v.nullish(positive, d.layer_norm_eps),
  vision_use_head: v.nullish(v.boolean(), true),
});

/** Reads the config of a tower by itself: `clip_vision_model` or `siglip_vision_model`. Throws a UserError for what is contradictory. */
export function visionConfig(json: JsonObject, where = 'config.json'): VisionConfig {
  const type = json['model_type'] ?? 'clip_vision_model';
  if (!(typeof type === 'string' && visionModelTypes.includes(type))) throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}, a vision tower that is not known here. Known are: ${visionModelTypes.join(', ')}.`);
  return towerConfig(type as VisionConfig['model_type'], json, where);
}

/** Reads the config of CLIP's tower with its projection. Throws a UserError for what is contradictory. */
export function clipProjectionConfig(json: JsonObject, where = 'config.json'): VisionConfig & { readonly projection_dim: number } {
  return { ...towerConfig('clip_vision_model', json, where), ...readFields(v.object({ projection_dim: v.nullish(size, 512) }), json, where) };
}

/** Reads the config of a tower of a given family, whatever type it names. Throws a UserError for what is contradictory. */
export function towerConfig(family: VisionConfig['model_type'], json: JsonObject, where: string): VisionConfig {
  const f = readFields(schema(defaults[family]), json, where);
  share(f.hidden_size, f.num_attention_heads, ['hidden_size', 'num_attention_heads'], where);
  if (f.patch_size > f.image_size) throw new UserError(`In ${where}, patches of ${f.patch_size} px (patch_size) do not fit into pictures of ${f.image_size} px (image_size).`);
  const num_patches = Math.floor(f.image_size / f.patch_size) ** 2, clip = family === 'clip_vision_model';
  return {
    ...f, model_type: family, hidden_act: checkActivation(f.hidden_act, 'hidden_act', where),
    num_patches, num_positions: clip ? num_patches + 1 : num_patches, vision_use_head: family === 'siglip_vision_model' && f.vision_use_head,
  };
}
