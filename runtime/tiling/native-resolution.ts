/**
 * How a picture of any size enters Idefics2 (arXiv 2405.02246), as image_processing_idefics2.py, processing_idefics2.py and
 * `Idefics2VisionEmbeddings` of transformers 4.46 have it: its sides are brought within bounds, and the tower sees as many
 * patches as it then has ("NaViT", arXiv 2307.06304). With splitting, its four quarters are pictures of their own before the whole.
 *
 * The library pads the pictures of a batch to one size and masks the padding; what a picture's own rows are does not depend
 * on it, so here each goes through the tower alone, with no row of padding.
 */
import type { PictureSize } from './any-resolution.ts';

/** What decides how pictures are made ready. Names are Hugging Face's where it has them. */
export interface NativeResolutionRule {
  /** Side of a patch in pixels; patches that would hold padding are left out, and so are pixels beyond the last whole one. */
  readonly patch_size: number;
  /** Patches along a side of the square for which the tower's positions were learned. */
  readonly patches_per_side: number;
  readonly do_resize: boolean;
  /** The longer side becomes at most `longest_edge`, and then no side less than `shortest_edge` (which may bend the picture). */
  readonly shortest_edge: number;
  readonly longest_edge: number;
  readonly do_image_splitting: boolean;
}

/** A rectangle of a picture, in pixels. */
export interface Crop extends PictureSize { readonly left: number; readonly top: number }

/** The size that a picture is brought to (`get_resize_output_image_size`). Rounding is that of the library's floats. */
export function nativeSize({ do_resize, shortest_edge, longest_edge }: NativeResolutionRule, { width, height }: PictureSize): PictureSize {
  if (!do_resize) return { width, height };
  const aspect = width / height, least = (n: number): number => Math.max(n, shortest_edge);
  if (width >= height && width > longest_edge) return { width: least(longest_edge), height: least(Math.trunc(longest_edge / aspect)) };
  if (height > width && height > longest_edge) return { width: least(Math.trunc(longest_edge * aspect)), height: least(longest_edge) };
  return { width: least(width), height: least(height) };
}

/** The pictures that the tower sees of one, before they are resized: its quarters row by row and then the whole, or that alone. */
export function nativeCrops({ do_image_splitting }: NativeResolutionRule, { width, height }: PictureSize): Crop[] {
  const whole: Crop = { left: 0, top: 0, width, height };
  // A side of one pixel has no first half; the library hands Pillow an empty picture there.
  if (!do_image_splitting || width < 2 || height < 2) return [whole];
  const x = Math.floor(width / 2), y = Math.floor(height / 2);
  return [[0, 0, x, y], [x, 0, width, y], [0, y, x, height], [x, y, width, height]].map(([left, top, right, bottom]) => ({ left: left!, top: top!, width: right! - left!, height: bottom! - top! })).concat(whole);
}

/** Whole patches across and down. */
export const patchGrid = ({ patch_size }: Pick<NativeResolutionRule, 'patch_size'>, { width, height }: PictureSize): { readonly columns: number; readonly rows: number } =>
  ({ columns: Math.floor(width / patch_size), rows: Math.floor(height / patch_size) });

/** Most patches that a picture has, whatever its size. */
export const mostPatches = ({ patch_size, shortest_edge, longest_edge }: NativeResolutionRule): number => Math.floor(Math.max(shortest_edge, longest_edge) / patch_size) ** 2;

/**
 * The bucket of each of `count` places along a side: place i, as the fraction i / count, lies between two of the boundaries 1 / n,
 * 2 / n, …; one that lies on a boundary belongs to the bucket after it. The fractions are i · (1 / count) in f32 as
 * `torch.arange` makes them, so that neither side's rounding is ours.
 */
export function positionBuckets(count: number, n: number): number[] {
  const step = Math.fround(1 / count), boundaries = Array.from({ length: n - 1 }, (_, j) => Math.fround(1 / n + j * (1 / n)));
  return Array.from({ length: count }, (_, i) => {
    const place = Math.fround(i * step);
    let bucket = Math.min(n - 1, Math.floor(place * n));
    while (bucket > 0 && place < boundaries[bucket - 1]!) bucket--;
    while (bucket < n - 1 && place >= boundaries[bucket]!) bucket++;
    return bucket;
  });
}

/** The entries of the position table that the patches of a picture have, row by row from the top left. */
export function patchPositions(rule: NativeResolutionRule, size: PictureSize): Int32Array {
  const { columns, rows } = patchGrid(rule, size), n = rule.patches_per_side, across = positionBuckets(columns, n), down = positionBuckets(rows, n);
  return Int32Array.from({ length: rows * columns }, (_, i) => down[Math.floor(i / columns)]! * n + across[i % columns]!);
}

/** Text of the mark around pictures, as the checkpoint's tokenizer has it. */
export interface NativeMarks { readonly fake_image_token: string }

/** What stands in the prompt for a picture: each of its `count` pictures, by number, between two marks; neighbours share one. */
export const markedPictures = (count: number, { fake_image_token }: NativeMarks): (string | number)[] =>
  [fake_image_token, ...Array.from({ length: count }, (_, i) => [i, fake_image_token]).flat()];
