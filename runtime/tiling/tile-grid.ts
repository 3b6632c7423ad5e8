/**
 * How a picture of any size enters Idefics3 and SmolVLM, as image_processing_idefics3.py and processing_idefics3.py of
 * transformers have it: resized to whole tiles, the tiles row by row, and last the whole picture in one tile. Marks in the prompt
 * say where each tile belongs.
 */
import type { PictureSize } from './any-resolution.ts';

/** What decides how pictures are cut. Names are Hugging Face's where it has them. */
export interface TileGridRule {
  /** Side of a tile in pixels: the tower's `image_size` (`max_image_size` of the processor). */
  readonly tile_size: number;
  /** Whether a picture is resized, to a longest side of `longest_edge` px (`size`), before it is cut. */
  readonly do_resize: boolean;
  readonly longest_edge: number;
  /** Whether a picture is cut into tiles at all. */
  readonly do_image_splitting: boolean;
}

/** Rows and columns of tiles; 0 × 0 for a picture that enters whole. */
export interface TileGrid { readonly rows: number; readonly columns: number }

/** A picture cut into tiles: it is resized twice, as the library does, and its filters' rounding counts both times. */
export interface GriddedPicture extends TileGrid {
  /** By `longest_edge`; the picture's own size where it is not resized. */
  readonly resized: PictureSize;
  /** To whole tiles. */
  readonly whole: PictureSize;
}

/** No side of a resized picture is longer, whatever `longest_edge` says (MAX_IMAGE_SIZE). */
const longestSide = 4096;

/**
 * The sides of a picture whose longer side becomes `to`: the other one keeps the aspect ratio, cut off to a whole number, which
 * `fit` adapts. Rounding is that of the library's floats.
 */
function resize({ width, height }: PictureSize, to: (longer: number) => number, fit: (shorter: number) => number): PictureSize {
  const aspect = width / height;
  if (width >= height) return { width: to(width), height: fit(Math.trunc(to(width) / aspect)) };
  return { width: fit(Math.trunc(to(height) * aspect)), height: to(height) };
}

/** Cuts a picture. Small pictures are enlarged: what counts is the aspect ratio. */
export function gridPicture({ do_resize, longest_edge, do_image_splitting, tile_size }: TileGridRule, size: PictureSize): GriddedPicture {
  const even = (n: number): number => Math.max(1, n + (n % 2)), wholeTiles = (n: number): number => Math.ceil(n / tile_size) * tile_size;
  let resized = do_resize ? resize(size, () => longest_edge, even) : size;
  if (do_resize && longest_edge > longestSide) resized = resize(resized, () => longestSide, (n) => Math.max(1, n));
  if (!do_image_splitting) return { resized, whole: { width: tile_size, height: tile_size }, rows: 0, columns: 0 };
  // A side that the aspect ratio cuts off to nothing is one tile here, where the library would ask Pillow for none.
  const whole = resize(resized, wholeTiles, (n) => wholeTiles(Math.max(1, n))), rows = whole.height / tile_size, columns = whole.width / tile_size;
  return { resized, whole, ...(rows > 1 || columns > 1 ? { rows, columns } : { rows: 0, columns: 0 }) };
}

/** The tiles that a picture is cut into. */
export function tileGrid(rule: TileGridRule, size: PictureSize): TileGrid {
  const { rows, columns } = gridPicture(rule, size);
  return { rows, columns };
}

/** Texts of the marks around tiles, as the checkpoint's tokenizer has them. */
export interface TileMarks { readonly fake_image_token: string; readonly global_image_token: string }

/**
 * What stands in the prompt for a picture, as `get_image_prompt_string` writes it: text, and tiles by their number (row by row,
 * the whole picture last).
 *
 * ```
 * <fake_token_around_image><row_1_col_1>…<fake_token_around_image><row_1_col_2>…\n      a line for each row of tiles
 * \n<fake_token_around_image><global-img>…<fake_token_around_image>
 * ```
 */
export function markedTiles({ rows, columns }: TileGrid, { fake_image_token: fake, global_image_token: whole }: TileMarks): (string | number)[] {
  const pieces: (string | number)[] = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) pieces.push(`${fake}<row_${row + 1}_col_${column + 1}>`, row * columns + column);
    pieces.push('\n');
  }
  return [...pieces, `${rows ? '\n' : ''}${fake}${whole}`, rows * columns, fake];
}
