/** A model whose vision tower is built for pictures of another size, as authors do who train at a higher resolution. */
import type { JsonObject } from '../dsl/index.ts';
import { UserError } from '../ir/errors.ts';
import type { ModelSource } from './model.ts';

/** Side in pixels of the square pictures that the config's tower is made for; undefined for a model that reads no pictures. */
export function resolutionOf({ config }: Pick<ModelSource, 'config'>): number | undefined {
  const { image_size: size } = towerOf(config);
  return typeof size === 'number' ? size : undefined;
}

/**
 * The model with a tower for square pictures of `pixels` px: more patches, so more visual tokens, and nothing else is other.
 * Throws a UserError for a model without a tower, or one that brings pictures of any size to its own tiles.
 */
export function atResolution(source: ModelSource, pixels: number): ModelSource {
  if (source.model.imageLayout) throw new UserError(`${source.name} cuts pictures into tiles of one size, so its tower has no other resolution. Give the picture's size instead (image=${pixels}).`);
  if (resolutionOf(source) === undefined) throw new UserError(`The config of ${source.name} names no 'image_size' of a vision tower, so there is no resolution to change. Sweep or give the number of visual tokens (visual).`);
  const { config } = source, tower = { ...towerOf(config), image_size: pixels };
  return { ...source, ...source.withConfig('vision_config' in config ? { ...config, vision_config: tower } : tower) };
}

const towerOf = (config: JsonObject): JsonObject => (config['vision_config'] ?? config) as JsonObject;
