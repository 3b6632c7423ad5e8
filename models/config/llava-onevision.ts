import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import type { AnyResolutionConfig } from './any-resolution.ts';
import { readAnyResolution } from './any-resolution.ts';
import { readFields } from './fields.ts';

/** A LLaVA-OneVision always has a limit of tiles. */
export interface LlavaOneVisionConfig extends AnyResolutionConfig { readonly max_tiles: number }

/** Every grid of 1 to 6 by 1 to 6 tiles of 384 px, row by row. */
const sides = [1, 2, 3, 4, 5, 6].map((n) => n * 384), pinpoints = sides.flatMap((height) => sides.map((width) => [height, width]));

const defaults = {
  model_type: 'llava_onevision', image_grid_pinpoints: pinpoints, text_config: { model_type: 'qwen2' }, image_token_index: 151646,
  vision_feature_layer: -1, vision_feature_select_strategy: 'full',
  vision_config: { model_type: 'siglip_vision_model', hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, image_size: 336, patch_size: 14 },
} as const;

/** Reads the config of a LLaVA-OneVision. Throws a UserError for what is missing or contradictory. */
export function llavaOneVisionConfig(json: JsonObject, where = 'config.json'): LlavaOneVisionConfig {
  const { vision_aspect_ratio: ratio } = readFields(v.object({ vision_aspect_ratio: v.nullish(v.string(), 'anyres_max_9') }), json, where);
  const [, tiles] = /^anyres_max_([1-9]\d{0,5})$/.exec(ratio) ?? [];
  if (tiles === undefined) throw new UserError(`'vision_aspect_ratio' of ${where} is ${JSON.stringify(ratio)}, which is not known here. Expected 'anyres_max_N' with a number of tiles, such as 'anyres_max_9'.`);
  return { ...readAnyResolution(json, where, defaults), max_tiles: Number(tiles) };
}
