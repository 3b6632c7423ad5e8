/** The pixels of a picture in tiles, in the order and the arithmetic of Hugging Face's image processors; `tiling/` says where they lie. */
import type { Pixels } from './resize.ts';
import { crop, resize } from './resize.ts';
import type { AnyResolutionRule } from './tiling/any-resolution.ts';
import { placeInside, tilePicture } from './tiling/any-resolution.ts';
import type { TileGridRule } from './tiling/tile-grid.ts';
import { gridPicture } from './tiling/tile-grid.ts';

/** The overview, then the tiles row by row (`get_image_patches` of LlavaNextImageProcessor and LlavaOnevisionImageProcessor). */
export function anyResolutionTiles(image: Pixels, rule: AnyResolutionRule, resample: number): Pixels[] {
  const picture = tilePicture(rule, image), place = placeInside(image, picture);
  const canvas = filled(picture.brought.width, picture.brought.height, [0, 0, 0]);
  paste(canvas, resize(image, place.width, place.height, resample), place.left, place.top);
  return [resize(image, rule.tile_size, rule.tile_size, resample), ...tilesOf(canvas, rule.tile_size)];
}

/** Rows of a padded picture that are resized at once: a square around a long strip would take too much memory. */
const bandRows = 256;

/**
 * The whole picture in one tile, made square before by bands in the mean's colour, cut off to whole levels (`pad_to_square`). The
 * columns are resized band by band of rows, and then the rows, as one resize of the square does it.
 */
export function squareOverview(image: Pixels, size: number, resample: number, mean: readonly number[]): Pixels {
  const side = Math.max(image.width, image.height), colour = mean.map((m) => Math.trunc(m * 255));
  if (image.width === image.height) return resize(image, size, size, resample);
  const left = Math.floor((side - image.width) / 2), top = Math.floor((side - image.height) / 2), narrow = filled(size, side, colour);
  for (let from = 0; from < image.height; from += bandRows) {
    const rows = Math.min(bandRows, image.height - from), band = filled(side, rows, colour);
    paste(band, crop(image, { left: 0, top: from, width: image.width, height: rows }), left, 0);
    paste(narrow, resize(band, size, rows, resample), 0, top + from);
  }
  return resize(narrow, size, size, resample);
}

/** The tiles row by row, then the whole picture in one; that alone where it is not cut (`preprocess` of Idefics3ImageProcessor). */
export function gridTiles(image: Pixels, rule: TileGridRule, resample: number): Pixels[] {
  const { resized, whole, rows } = gridPicture(rule, image), { tile_size } = rule;
  const once = resize(image, resized.width, resized.height, resample), twice = resize(once, whole.width, whole.height, resample);
  return rows ? [...tilesOf(twice, tile_size), resize(twice, tile_size, tile_size, resample)] : [twice];
}

function tilesOf(image: Pixels, size: number): Pixels[] {
  const columns = image.width / size;
  return Array.from({ length: columns * (image.height / size) }, (_, i) => crop(image, { left: (i % columns) * size, top: Math.floor(i / columns) * size, width: size, height: size }));
}

interface Canvas extends Pixels { readonly data: Uint8Array }
function filled(width: number, height: number, colour: readonly number[]): Canvas {
  const data = new Uint8Array(width * height * 3);
  if (colour.some((c) => c !== 0)) for (let i = 0; i < data.length; i++) data[i] = colour[i % 3]!;
  return { width, height, channels: 3, data };
}
function paste(canvas: Canvas, image: Pixels, left: number, top: number): void {
  const row = image.width * 3;
  for (let y = 0; y < image.height; y++) canvas.data.set(image.data.subarray(y * row, (y + 1) * row), ((top + y) * canvas.width + left) * 3);
}
