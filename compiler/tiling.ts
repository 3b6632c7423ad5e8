/** What a bundle has room for where pictures of any size are cut into tiles: by default, the largest picture that the rule makes. */
import type { Tiling } from '../runtime/manifest.ts';
import { mostPatches } from '../runtime/tiling/native-resolution.ts';
import type { TilingRule } from '../runtime/tiling/rule.ts';
import type { Model, ModelClass, PictureSize } from './dsl/index.ts';
import { UserError } from './ir/errors.ts';

/** Visual rows of a conversation where nobody asks for more, and no picture takes more. */
const usualVisual = 2048;

/** The model's tiling as the manifest has it. Throws a UserError where a number of tiles is asked for that nothing is cut into. */
export function tilingOf(model: Model, maxTiles?: number): Tiling | undefined {
  const rule = ruleOf(model);
  if (maxTiles !== undefined && rule?.rule !== 'any_resolution')
    throw new UserError(`--max-tiles limits the tiles of one image, but ${model.constructor.name} ${rule ? 'takes each tile as an image of its own. Limit its visual rows instead (--max-visual)' : 'does not cut pictures into tiles. Leave it out'}.`);
  if (rule?.rule === 'native_resolution') return { ...rule, most: mostPatches(rule) };
  if (rule?.rule !== 'any_resolution') return rule;
  const { image_grid_pinpoints: sizes, tile_size, max_tiles, ...rest } = rule;
  const most = maxTiles ?? 1 + Math.max(...sizes.map(([height, width]) => (height * width) / tile_size ** 2));
  return { ...rest, tile_size, image_grid_pinpoints: sizes.map(([height, width]): [number, number] => [height, width]), ...(max_tiles === undefined ? {} : { max_tiles }), most };
}

/** Visual rows to have room for: usually enough, and enough for the largest picture. */
export function roomForPictures(model: Model): number {
  const rule = ruleOf(model), { imageLayout } = model.constructor as ModelClass;
  if (!rule || !imageLayout) return usualVisual;
  return largest(rule).reduce((most, size) => Math.max(most, imageLayout(model.cfg as never, size, 1).visual), usualVisual);
}

/** Pictures of which one takes the most rows: a square makes the most tiles of a grid; else any that leaves out lines of padding may, where larger ones are scaled down. */
function largest(rule: TilingRule): PictureSize[] {
  if (rule.rule !== 'any_resolution') return [{ width: 1, height: 1 }];
  const patch = rule.tile_size / rule.patches_per_side, lines = (side: number): number[] => Array.from({ length: Math.round(side / patch) }, (_, i) => Math.round((i + 1) * patch));
  return rule.image_grid_pinpoints.flatMap(([height, width]) => [...lines(height).map((h) => ({ width, height: h })), ...lines(width).map((w) => ({ width: w, height }))]);
}

const ruleOf = (model: Model): TilingRule | undefined => (model.constructor as ModelClass).tiling?.(model.cfg as never);
