import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import type { NativeMarks, NativeResolutionRule } from '../../runtime/tiling/native-resolution.ts';
import { checkActivation } from '../activations.ts';
import { object, positive, readFields, share, size } from './fields.ts';
import type { LlamaConfig } from './text.ts';
import { llamaConfig } from './text.ts';
import type { VisionConfig } from './vision.ts';
import { towerConfig } from './vision.ts';

/** The resampler: latents that read a picture's rows, and each other, through a few layers. */
export interface PerceiverConfig {
  /** The decoder's. */
  readonly hidden_size: number;
  /** Of its feed-forward parts: four times as wide. */
  readonly intermediate_size: number;
  readonly hidden_act: string;
  readonly rms_norm_eps: number;
  readonly resampler_n_latents: number;
  readonly resampler_depth: number;
  readonly resampler_n_heads: number;
  readonly num_key_value_heads: number;
  readonly q_size: number;
  readonly kv_size: number;
}

/** The gated feed-forward part that brings the tower's rows to the decoder's width. */
export interface ModalityProjectionConfig {
  readonly vision_hidden_size: number;
  readonly intermediate_size: number;
  readonly hidden_size: number;
  readonly hidden_act: string;
}

/** Idefics2: a tower for pictures of any size, projection, resampler, decoder. */
export interface Idefics2Config {
  readonly model_type: 'idefics2';
  readonly vision_config: VisionConfig & { readonly patch_values: number };
  readonly projection: ModalityProjectionConfig;
  readonly perceiver_config: PerceiverConfig;
  readonly text_config: LlamaConfig;
  readonly image_token_id: number;
  readonly pictures: NativeResolutionRule & NativeMarks;
  /** Text tokens that the mark around pictures is. */
  readonly fake_image_tokens: number;
}

const index = v.pipe(v.number(), v.integer(), v.minValue(0));
const schema = v.object({ image_token_id: v.nullish(index, 32001), tie_word_embeddings: v.nullish(v.boolean()) });

/** Idefics2PerceiverConfig of transformers 4.46.3. */
const perceiverSchema = v.object({
  hidden_size: v.nullish(size, 4096), hidden_act: v.nullish(v.string(), 'silu'), rms_norm_eps: v.nullish(positive, 1e-6),
  resampler_n_latents: v.nullish(size, 64), resampler_depth: v.nullish(size, 3), resampler_n_heads: v.nullish(size, 16), resampler_head_dim: v.nullish(size, 96), num_key_value_heads: v.nullish(size, 4),
});

/** `preprocessor_config.json`, as it stands in a config under `preprocessor_config` (Idefics2ImageProcessor). */
const preprocessorSchema = v.object({
  do_resize: v.nullish(v.boolean(), true), do_image_splitting: v.nullish(v.boolean(), false),
  size: v.nullish(v.object({ shortest_edge: v.nullish(size, 378), longest_edge: v.nullish(size, 980) }), {}),
});
/** Idefics2's tokenizers have the mark as a token of their own; no key of the library's, which asks the tokenizer. */
const markSchema = v.object({ fake_image: v.nullish(size, 1) });

/** Reads the config of an Idefics2. Throws a UserError for what is missing or contradictory. */
export function idefics2Config(json: JsonObject, where = 'config.json'): Idefics2Config {
  const type = json['model_type'] ?? 'idefics2', part = (name: string): JsonObject => (json[name] ? object(json[name], `'${name}' of ${where}`) : {});
  if (type !== 'idefics2') throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}; expected 'idefics2'.`);
  const f = readFields(schema, json, where), tower = towerConfig('idefics2', part('vision_config'), `'vision_config' of ${where}`);
  const text = json['text_config'] ? { model_type: 'mistral', ...part('text_config') } : { model_type: 'mistral', max_position_embeddings: 32768, rms_norm_eps: 1e-5 };
  const text_config = llamaConfig({ ...text, tie_word_embeddings: f.tie_word_embeddings ?? (text as JsonObject)['tie_word_embeddings'] }, `'text_config' of ${where}`);
  return {
    model_type: 'idefics2', vision_config: { ...tower, patch_values: tower.num_channels * tower.patch_size ** 2 }, text_config, image_token_id: f.image_token_id,
    projection: { vision_hidden_size: tower.hidden_size, intermediate_size: text_config.intermediate_size, hidden_size: text_config.hidden_size, hidden_act: text_config.hidden_act },
    perceiver_config: perceiverConfig(part('perceiver_config'), text_config, `'perceiver_config' of ${where}`),
    ...picturesOf(part('preprocessor_config'), part('mark_tokens'), tower, where),
  };
}

function perceiverConfig(json: JsonObject, { hidden_size, rms_norm_eps }: LlamaConfig, where: string): PerceiverConfig {
  const { hidden_size: own, rms_norm_eps: eps, resampler_head_dim: head, ...f } = readFields(perceiverSchema, json, where);
  share(f.resampler_n_heads, f.num_key_value_heads, ['resampler_n_heads', 'num_key_value_heads'], where);
  return {
    ...f, hidden_act: checkActivation(f.hidden_act, 'hidden_act', where), hidden_size, intermediate_size: 4 * hidden_size,
    // Where the widths differ the library takes the decoder's, and its norms' eps with it.
    rms_norm_eps: own === hidden_size ? eps : rms_norm_eps, q_size: f.resampler_n_heads * head, kv_size: f.num_key_value_heads * head,
  };
}

function picturesOf(preprocessor: JsonObject, marks: JsonObject, { image_size, patch_size }: VisionConfig, where: string): Pick<Idefics2Config, 'pictures' | 'fake_image_tokens'> {
  const f = readFields(preprocessorSchema, preprocessor, `'preprocessor_config' of ${where}`), { shortest_edge = 378, longest_edge = 980 } = f.size as { shortest_edge?: number; longest_edge?: number };
  if (shortest_edge < patch_size) throw new UserError(`'preprocessor_config' of ${where} lets a side of a picture be ${shortest_edge} px (size.shortest_edge), which holds no patch of ${patch_size} px (patch_size). One of the two belongs to another checkpoint.`);
  return {
    pictures: { patch_size, patches_per_side: Math.floor(image_size / patch_size), do_resize: f.do_resize, shortest_edge, longest_edge, do_image_splitting: f.do_image_splitting, fake_image_token: '<fake_token_around_image>' },
    fake_image_tokens: readFields(markSchema, marks, `'mark_tokens' of ${where}`).fake_image,
  };
}
