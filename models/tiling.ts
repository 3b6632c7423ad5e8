/** What a picture in tiles costs, and the rule by which a bundle cuts it; how it is cut is the runtime's to say (runtime/tiling/any-resolution.ts). */
import type { ImageLayout } from 'eemllm';
import type { AnyResolutionRule, TiledPicture } from '../runtime/tiling/any-resolution.ts';
import { tilesOf, visualRowsOf } from '../runtime/tiling/any-resolution.ts';
import type { TilingRule } from '../runtime/tiling/rule.ts';

/** The tiles with the overview, and the visual rows with the newlines. */
export const layoutOf = (rule: AnyResolutionRule, picture: TiledPicture): ImageLayout => ({ tiles: tilesOf(picture), visual: visualRowsOf(rule, picture), text: 0 });

/** The rule of a config. `alone`: a picture is cut only where it is the prompt's one image. */
export const tilingOf = ({ tile_size, patches_per_side, image_grid_pinpoints, max_tiles }: AnyResolutionRule, alone: boolean): TilingRule =>
  ({ rule: 'any_resolution', alone, tile_size, patches_per_side, image_grid_pinpoints, ...(max_tiles !== undefined && { max_tiles }) });
