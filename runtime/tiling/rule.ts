/** The ways to cut pictures of any size, as a model's definition says them and a bundle carries them. */
import type { AnyResolutionRule } from './any-resolution.ts';
import type { NativeMarks, NativeResolutionRule } from './native-resolution.ts';
import type { TileGridRule, TileMarks } from './tile-grid.ts';

export type TilingRule =
  /** An overview and tiles, whose rows are gathered to the rows of one image. `alone`: cut only where it is the prompt's one image. */
  | ({ readonly rule: 'any_resolution'; readonly alone: boolean } & AnyResolutionRule)
  /** A grid of tiles and the whole picture in one, each an image of its own with marks in the text before it. */
  | ({ readonly rule: 'tile_grid' } & TileGridRule & TileMarks)
  /** A picture in its own shape, of as many patches as it has; or its quarters and the whole, each an image of its own between marks. */
  | ({ readonly rule: 'native_resolution' } & NativeResolutionRule & NativeMarks);
