/**
 * How a picture of any size becomes tiles: "AnyRes" of LLaVA-NeXT (blog of 2024-01-30) and LLaVA-OneVision (arXiv 2408.03326),
 * as Hugging Face computes it.
 *
 * The picture is brought to the best of a list of sizes, with its aspect ratio kept and bands of padding on two sides, and cut
 * into tiles. The tower sees the whole picture in one tile (the overview), then these tiles. Of the tiles' rows, put together
 * to one grid, those of the padding are left out; each line of the grid ends with a learned row, the newline.
 */

/** Size of a picture in pixels, as its file holds it (turned by its EXIF orientation): before any resizing. */
export interface PictureSize { readonly width: number; readonly height: number }

/** What decides how pictures are cut. Names are Hugging Face's where it has them. */
export interface AnyResolutionRule {
  /** Side of a tile in pixels: the tower's `image_size`. */
  readonly tile_size: number;
  /** Patches along a side of a tile. */
  readonly patches_per_side: number;
  /** Sizes in pixels, one of which a picture is brought to; whole tiles. */
  readonly image_grid_pinpoints: readonly (readonly [height: number, width: number])[];
  /** A picture whose rows are more than those of so many tiles (by a fifth) is scaled down to as many; absent if it never is. */
  readonly max_tiles?: number | undefined;
}

/** A rectangle of rows in the grid of all tiles' rows. */
export interface Region { readonly top: number; readonly left: number; readonly height: number; readonly width: number }

/** A picture in tiles. */
export interface TiledPicture {
  /** The size of the list that it is brought to, in pixels; all 0 if the picture is not cut. */
  readonly brought: PictureSize;
  /** Tiles across and down, without the overview; both 0 if the picture is not cut. */
  readonly columns: number;
  readonly rows: number;
  /** The rows that are no padding. */
  readonly kept: Region;
  /** Lines of visual rows after the overview's, and rows in each, without the newline. Less than `kept` if it is scaled down. */
  readonly height: number;
  readonly width: number;
}

/**
 * The size of the list on which most of the picture's pixels can be shown, and then the one that wastes least; the first of
 * equals (`select_best_resolution`, transformers/image_processing_utils.py). Rounding is that of its floats.
 */
export function bestResolution({ width, height }: PictureSize, sizes: AnyResolutionRule['image_grid_pinpoints']): readonly [height: number, width: number] {
  let best = sizes[0]!, most = 0, least = Infinity;
  for (const size of sizes) {
    const scale = Math.min(size[1] / width, size[0] / height);
    const shown = Math.min(Math.floor(width * scale) * Math.floor(height * scale), width * height), wasted = size[0] * size[1] - shown;
    if (shown > most || (shown === most && wasted < least)) [best, most, least] = [size, shown, wasted];
  }
  return best;
}

/**
 * The rows of a grid that are not padding (`unpad_image`). Padding is as much at either end, so with an odd number of rows to
 * spare one of them stays. The picture's side in rows, `int(round(x, 7))` of floats there, is the quotient's whole part.
 */
export function unpad(rows: number, columns: number, { width, height }: PictureSize): Region {
  if (width / height > columns / rows) {
    const top = Math.floor((rows - Math.floor((height * columns) / width)) / 2);
    return { top, left: 0, height: rows - 2 * top, width: columns };
  }
  const left = Math.floor((columns - Math.floor((width * rows) / height)) / 2);
  return { top: 0, left, height: rows, width: columns - 2 * left };
}

/** Python's `a // b` for floats of one sign: the exact quotient's whole part, where `Math.floor(a / b)` floors a rounded one. */
const floorDivide = (a: number, b: number): number => Math.round((a - (a % b)) / b);

/** Cuts a picture into tiles. */
export function tilePicture({ image_grid_pinpoints, patches_per_side: side, max_tiles, tile_size }: AnyResolutionRule, size: PictureSize): TiledPicture {
  const [h, w] = bestResolution(size, image_grid_pinpoints), rows = h / tile_size, columns = w / tile_size;
  const kept = unpad(rows * side, columns * side, size);
  // `ratio > 1.1`: the rows outnumber those of `max_tiles` tiles by 21 %.
  const ratio = max_tiles === undefined ? 0 : Math.sqrt((kept.height * kept.width) / (max_tiles * side ** 2));
  const scaled = (n: number): number => (ratio > 1.1 ? floorDivide(n, ratio) : n);
  return { brought: { width: w, height: h }, columns, rows, kept, height: scaled(kept.height), width: scaled(kept.width) };
}

/** A picture that is not cut: its overview alone, and one newline after it. */
export const uncut: TiledPicture = { brought: { width: 0, height: 0 }, columns: 0, rows: 0, kept: { top: 0, left: 0, height: 1, width: 0 }, height: 1, width: 0 };

/** Pictures that the tower sees: the overview and the tiles. */
export const tilesOf = ({ columns, rows }: TiledPicture): number => 1 + columns * rows;

/** Visual rows, the newlines among them. */
export const visualRowsOf = ({ patches_per_side: side }: AnyResolutionRule, { height, width }: TiledPicture): number => side ** 2 + height * (width + 1);

/**
 * The size that a picture has within the one that it is brought to (`get_patch_output_size`), and the padding before it: half
 * of what is left over; an odd pixel of it comes after.
 */
export function placeInside({ width, height }: PictureSize, { brought }: Pick<TiledPicture, 'brought'>): PictureSize & { readonly left: number; readonly top: number } {
  const across = brought.width / width, down = brought.height / height;
  const inside = across < down ? { width: brought.width, height: Math.min(Math.ceil(height * across), brought.height) }
    : { width: Math.min(Math.ceil(width * down), brought.width), height: brought.height };
  return { ...inside, left: Math.floor((brought.width - inside.width) / 2), top: Math.floor((brought.height - inside.height) / 2) };
}
