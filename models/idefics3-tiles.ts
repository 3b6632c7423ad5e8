/** What a picture costs in Idefics3 and SmolVLM; how it is cut is the runtime's to say (runtime/tiling/tile-grid.ts). */
import type { ImageLayout, PictureSize } from 'eemllm';
import { tileGrid } from '../runtime/tiling/tile-grid.ts';
import type { Idefics3Config } from './config/idefics3.ts';

/**
 * The layout of a picture (`static imageLayout`). Each tile is an image by itself to the masks, as text stands between them. Of
 * that text (`markedTiles`), a line break is one token.
 */
export function idefics3Layout({ tiles, num_visual_tokens }: Pick<Idefics3Config, 'tiles' | 'num_visual_tokens'>, size: PictureSize): ImageLayout {
  const { rows, columns } = tileGrid(tiles, size), cut = rows * columns;
  return { tiles: cut + 1, images: cut + 1, visual: (cut + 1) * num_visual_tokens, text: cut * (1 + tiles.row_col_tokens) + (rows && rows - 1 + tiles.blank_line_tokens) + 2 + tiles.global_img_tokens };
}
