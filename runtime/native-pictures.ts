/** The pixels of a picture for a tower that takes any number of patches; `tiling/native-resolution.ts` says of which size. */
import { normaliseAll } from './image.ts';
import type { Preprocessor } from './preprocessor-config.ts';
import type { Pixels } from './resize.ts';
import { crop, resize } from './resize.ts';
import type { PictureSize } from './tiling/any-resolution.ts';
import type { NativeResolutionRule } from './tiling/native-resolution.ts';
import { nativeCrops, nativeSize, patchGrid } from './tiling/native-resolution.ts';

/** A normalised picture, `[3, height, width]`. */
export interface NativePicture extends PictureSize { readonly data: Float32Array }

/** The pictures that the tower sees of one, in their order (`preprocess` of Idefics2ImageProcessor, before it pads). */
export function nativePictures(image: Pixels, rule: NativeResolutionRule, preprocessor: Preprocessor): NativePicture[] {
  return nativeCrops(rule, image).map((part) => {
    const { width, height } = nativeSize(rule, part), whole = part.width === image.width && part.height === image.height;
    return { width, height, data: normaliseAll([resize(whole ? image : crop(image, part), width, height, preprocessor.resample)], preprocessor) };
  });
}

/**
 * The patches of a picture as rows of `[channels · size · size]`, row by row from the top left: the patch convolution is then a
 * product. `stride` is the width of the picture that `data` holds, where that is wider and higher (padding on the right and below).
 */
export function patchRows(data: Float32Array, channels: number, size: PictureSize, rule: Pick<NativeResolutionRule, 'patch_size'>, held: PictureSize = size): Float32Array {
  const { columns, rows } = patchGrid(rule, size), p = rule.patch_size, out = new Float32Array(rows * columns * channels * p * p);
  let at = 0;
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++)
    for (let c = 0; c < channels; c++) for (let y = 0; y < p; y++, at += p) {
      const from = (c * held.height + row * p + y) * held.width + column * p;
      out.set(data.subarray(from, from + p), at);
    }
  return out;
}
