import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import type { AnyResolutionRule } from '../../runtime/tiling/any-resolution.ts';
import { readFields, size } from './fields.ts';
import type { LlavaConfig, LlavaDefaults } from './llava.ts';
import { readLlava } from './llava.ts';

/** A LLaVA that sees a picture as an overview and as tiles of the tower's size ("AnyRes"). */
export interface AnyResolutionConfig extends LlavaConfig, AnyResolutionRule {}

const schema = (d: readonly (readonly number[])[]) => v.object({
  image_grid_pinpoints: v.nullish(v.array(v.tuple([size, size])), d as [number, number][]),
});

/** Reads what the configs of any-resolution LLaVAs have in common. Throws a UserError for what is missing or contradictory. */
export function readAnyResolution(json: JsonObject, where: string, defaults: LlavaDefaults & { readonly image_grid_pinpoints: readonly (readonly number[])[] }): AnyResolutionConfig {
  const config = readLlava(json, where, defaults), { vision_config: { image_size, patch_size, num_patches, model_type } } = config;
  if (config.num_visual_tokens !== num_patches)
    throw new UserError(`'vision_feature_select_strategy' of ${where} is 'full', which keeps the class token of a ${model_type}, but rows of tiles are laid out in a grid, where it has no place. Expected 'default'.`);
  const { image_grid_pinpoints } = readFields(schema(defaults.image_grid_pinpoints), json, where);
  if (!image_grid_pinpoints.length) throw new UserError(`'image_grid_pinpoints' of ${where} is an empty list, but every picture is brought to one of its sizes. Expected pairs [height, width] of multiples of ${image_size} pixels.`);
  const odd = image_grid_pinpoints.find((point) => point.some((side) => side % image_size !== 0));
  if (odd) throw new UserError(`'image_grid_pinpoints' of ${where} lists the size [${odd.join(', ')}], which is no whole number of tiles: its tower sees pictures of ${image_size} px. Expected multiples of ${image_size}.`);
  // The processor counts an image's tokens by its own list, the model its rows by the config's.
  const { image_grid_pinpoints: own } = readFields(schema(image_grid_pinpoints), json['preprocessor_config'] ?? {}, `'preprocessor_config' of ${where}`);
  if (JSON.stringify(own) !== JSON.stringify(image_grid_pinpoints))
    throw new UserError(`'image_grid_pinpoints' of ${where} lists ${image_grid_pinpoints.length} sizes and that of its preprocessor_config.json ${own.length} other ones. A picture would have other tiles than the model reads: the two files belong to different checkpoints.`);
  return { ...config, image_grid_pinpoints, tile_size: image_size, patches_per_side: Math.floor(image_size / patch_size) };
}
