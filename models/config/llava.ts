import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import { checkActivation } from '../activations.ts';
import { object, readFields } from './fields.ts';
import type { LlamaConfig } from './text.ts';
import { llamaConfig } from './text.ts';
import type { VisionConfig } from './vision.ts';
import { visionConfig } from './vision.ts';

/** Which hidden state of the tower becomes the visual tokens, and which of its rows. */
export interface FeatureChoice {
  /** 0 is the encoder's input, i the output of layer i - 1, -1 the last layer's. */
  readonly vision_feature_layer: number;
  /** `default` leaves the class token out. */
  readonly vision_feature_select_strategy: 'default' | 'full';
}

/** LLaVA and its kin: tower, projector, decoder. */
export interface LlavaConfig extends FeatureChoice {
  readonly model_type: 'llava' | 'llava_next' | 'llava_onevision';
  readonly vision_config: VisionConfig;
  readonly text_config: LlamaConfig;
  /** The widths that the projector joins: the tower's and the decoder's `hidden_size`. */
  readonly vision_hidden_size: number;
  readonly hidden_size: number;
  readonly projector_hidden_act: string;
  readonly multimodal_projector_bias: boolean;
  /** The id that stands in a prompt for each visual token. */
  readonly image_token_index: number;
  /** Rows of the tower that one of its pictures gives. */
  readonly num_visual_tokens: number;
}

/** What a family's configuration class says where a config says nothing (transformers 4.46.3). */
export interface LlavaDefaults extends FeatureChoice {
  readonly model_type: LlavaConfig['model_type'];
  /** The tower where a config names none; a tower without a type is of this one's. */
  readonly vision_config: JsonObject;
  /** The decoder likewise. */
  readonly text_config: JsonObject;
  readonly image_token_index: number;
}

/** CLIP ViT-L/14 at 336 px, with `vision_feature_layer` and `vision_feature_select_strategy` as LLaVA-1.5 has them. */
export const clipDefaults = {
  vision_config: { model_type: 'clip_vision_model', hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, image_size: 336, patch_size: 14 },
  vision_feature_layer: -2, vision_feature_select_strategy: 'default',
  text_config: { model_type: 'llama' }, image_token_index: 32000,
} as const;

const schema = (d: LlavaDefaults) => v.object({
  projector_hidden_act: v.nullish(v.string(), 'gelu'),
  multimodal_projector_bias: v.nullish(v.boolean(), true),
  vision_feature_layer: v.nullish(v.pipe(v.number(), v.integer()), d.vision_feature_layer),
  vision_feature_select_strategy: v.nullish(v.picklist(['default', 'full']), d.vision_feature_select_strategy),
  image_token_index: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0))),
  image_token_id: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0))),
});

/** Reads the config of a LLaVA. Throws a UserError for what is missing or contradictory. */
export const llavaConfig = (json: JsonObject, where = 'config.json'): LlavaConfig => readLlava(json, where, { model_type: 'llava', ...clipDefaults });

/** Reads what the configs of LLaVA and its kin have in common. Throws a UserError for what is missing or contradictory. */
export function readLlava(json: JsonObject, where: string, defaults: LlavaDefaults): LlavaConfig {
  const type = json['model_type'] ?? defaults.model_type;
  if (type !== defaults.model_type) throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}; expected '${defaults.model_type}'.`);
  if (Array.isArray(json['vision_feature_layer'])) throw new UserError(`'vision_feature_layer' of ${where} is a list; features of several layers side by side are not known here. Expected one layer's number.`);
  const f = readFields(schema(defaults), json, where);
  const part = (name: 'vision_config' | 'text_config'): JsonObject => (json[name] ? { model_type: defaults[name]['model_type'], ...object(json[name], `'${name}' of ${where}`) } : defaults[name]);
  const vision_config = visionConfig(part('vision_config'), `'vision_config' of ${where}`), text_config = llamaConfig(part('text_config'), `'text_config' of ${where}`);
  const { vision_feature_layer, vision_feature_select_strategy } = f, layers = vision_config.num_hidden_layers;
  if (vision_feature_layer < -layers - 1 || vision_feature_layer > layers)
    throw new UserError(`'vision_feature_layer' of ${where} is ${vision_feature_layer}, but its tower has ${layers} layers: expected ${-layers - 1} to ${layers}, where 0 is the first layer's input and -1 the last layer's output.`);
  const hasClassToken = vision_config.num_positions > vision_config.num_patches;
  if (vision_feature_select_strategy === 'default' && !hasClassToken)
    throw new UserError(`'vision_feature_select_strategy' of ${where} is 'default', which leaves out the class token, but a ${vision_config.model_type} has none. Expected 'full'.`);
  return {
    model_type: defaults.model_type, vision_config, text_config, vision_hidden_size: vision_config.hidden_size, hidden_size: text_config.hidden_size,
    projector_hidden_act: checkActivation(f.projector_hidden_act, 'projector_hidden_act', where), multimodal_projector_bias: f.multimodal_projector_bias,
    vision_feature_layer, vision_feature_select_strategy, image_token_index: f.image_token_index ?? f.image_token_id ?? defaults.image_token_index,
    num_visual_tokens: vision_feature_select_strategy === 'default' ? vision_config.num_patches : vision_config.num_positions,
  };
}
