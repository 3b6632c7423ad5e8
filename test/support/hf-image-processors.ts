/**
 * What Hugging Face's image processors make of a picture of any size, step by step on arrays as their Python has it: what the
 * runtime's tiles are held to. Resizing itself is Pillow's, which test/unit/runtime/image.test.ts holds to Pillow.
 */
import type { Pixels } from '../../runtime/resize.ts';
import { resize } from '../../runtime/resize.ts';
import { selectBestResolution } from './pack-image-features.ts';

/** `[height][width]` pixels. */
export type Grid = readonly (readonly (readonly number[])[])[];

export const gridOf = ({ width, height, data }: { width: number; height: number; data: ArrayLike<number> }): Grid =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => [0, 1, 2].map((c) => data[(y * width + x) * 3 + c]!)));
const pixelsOf = (g: Grid): Pixels => ({ width: g[0]!.length, height: g.length, channels: 3, data: Uint8Array.from(g.flat(2)) });
const pilResize = (g: Grid, height: number, width: number, resample: number): Grid => gridOf(resize(pixelsOf(g), width, height, resample));
const slice = (g: Grid, top: number, bottom: number, left: number, right: number): Grid => g.slice(top, bottom).map((row) => row.slice(left, right));

/** `get_patch_output_size`: `[height, width]`. */
function patchOutputSize(image: Grid, [targetHeight, targetWidth]: readonly [number, number]): [number, number] {
  const height = image.length, width = image[0]!.length, scaleW = targetWidth / width, scaleH = targetHeight / height;
  if (scaleW < scaleH) return [Math.min(Math.ceil(height * scaleW), targetHeight), targetWidth];
  return [targetHeight, Math.min(Math.ceil(width * scaleH), targetWidth)];
}

/** `LlavaNextImageProcessor.get_image_patches`, and LLaVA-OneVision's, which is a copy. */
export function getImagePatches(image: Grid, pinpoints: readonly (readonly [number, number])[], size: number, resample: number): Grid[] {
  const best = selectBestResolution([image.length, image[0]!.length], pinpoints), [targetHeight, targetWidth] = best;
  const resized = pilResize(image, ...patchOutputSize(image, best), resample);
  const [newHeight, newWidth] = patchOutputSize(resized, best), pasteX = Math.floor((targetWidth - newWidth) / 2), pasteY = Math.floor((targetHeight - newHeight) / 2);
  const padded: Grid = Array.from({ length: targetHeight }, (_, y) => Array.from({ length: targetWidth }, (_, x) => resized[y - pasteY]?.[x - pasteX] ?? [0, 0, 0]));
  const patches: Grid[] = [];
  for (let i = 0; i < targetHeight; i += size) for (let j = 0; j < targetWidth; j += size) patches.push(slice(padded, i, i + size, j, j + size));
  return [pilResize(image, size, size, resample), ...patches];
}

/** `pad_to_square`, then the resize of `_preprocess`. */
export function paddedToSquare(image: Grid, size: number, resample: number, mean: readonly number[]): Grid {
  const height = image.length, width = image[0]!.length, side = Math.max(height, width), background = mean.map((m) => Math.trunc(m * 255));
  const y0 = width > height ? Math.floor((side - height) / 2) : 0, x0 = width > height ? 0 : Math.floor((side - width) / 2);
  return pilResize(Array.from({ length: side }, (_, y) => Array.from({ length: side }, (_, x) => image[y - y0]?.[x - x0] ?? background)), size, size, resample);
}

/** `Idefics3ImageProcessor.preprocess` up to the tiles, with their rows and columns. */
export function splitImage(image: Grid, { longest, tile, splitting, resample }: { longest: number; tile: number; splitting: boolean; resample: number }): { frames: Grid[]; rows: number; columns: number } {
  let height = image.length, width = image[0]!.length, aspect = width / height;
  if (width >= height) { width = longest; height = Math.trunc(width / aspect); if (height % 2 !== 0) height += 1; } else { height = longest; width = Math.trunc(height * aspect); if (width % 2 !== 0) width += 1; }
  const first = pilResize(image, Math.max(height, 1), Math.max(width, 1), resample);
  if (!splitting) return { frames: [pilResize(first, tile, tile, resample)], rows: 0, columns: 0 };
  height = first.length; width = first[0]!.length; aspect = width / height;
  if (width >= height) { width = Math.ceil(width / tile) * tile; height = Math.ceil(Math.trunc(width / aspect) / tile) * tile; } else { height = Math.ceil(height / tile) * tile; width = Math.ceil(Math.trunc(height * aspect) / tile) * tile; }
  const second = pilResize(first, height, width, resample);
  if (!(height > tile || width > tile)) return { frames: [second], rows: 0, columns: 0 };
  const rows = Math.ceil(height / tile), columns = Math.ceil(width / tile), down = Math.ceil(height / rows), across = Math.ceil(width / columns), frames: Grid[] = [];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) frames.push(slice(second, r * down, Math.min((r + 1) * down, height), c * across, Math.min((c + 1) * across, width)));
  return { frames: [...frames, pilResize(second, tile, tile, resample)], rows, columns };
}

/** `get_image_prompt_string` of processing_idefics3.py. */
export function imagePromptString(rows: number, columns: number, length: number, image = '<image>', fake = '<fake_token_around_image>', whole = '<global-img>'): string {
  if (rows === 0 && columns === 0) return `${fake}${whole}${image.repeat(length)}${fake}`;
  let text = '';
  for (let h = 0; h < rows; h++) {
    for (let w = 0; w < columns; w++) text += `${fake}<row_${h + 1}_col_${w + 1}>${image.repeat(length)}`;
    text += '\n';
  }
  return `${text}\n${fake}${whole}${image.repeat(length)}${fake}`;
}
