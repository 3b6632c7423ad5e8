/**
 * Pictures of a golden case for a model that takes them in their own shape. The reference pads them to one size and masks the
 * padding; here each is the part of that frame which is no padding.
 */
import type { ImageInput } from '../../runtime/context.ts';
import type { RawImage } from '../../runtime/image.ts';
import { toPixels } from '../../runtime/image.ts';
import type { Manifest, Tiling } from '../../runtime/manifest.ts';
import { nativePictures, patchRows } from '../../runtime/native-pictures.ts';
import type { Preprocessor } from '../../runtime/preprocessor-config.ts';
import { markedPictures, patchGrid, patchPositions } from '../../runtime/tiling/native-resolution.ts';
import { UserError } from '../ir/errors.ts';
import type { Golden, GoldenCase } from './golden.ts';

interface Grid { readonly columns: number; readonly rows: number }
/** The patches of the frame to which all pictures of a case are padded, and those of each picture. */
export interface PaddedPatches { readonly frame: Grid; readonly pictures: readonly Grid[] }

export interface NativePictures { readonly images: ImageInput[]; readonly own: Float32Array; readonly mask: Uint8Array; readonly patches: PaddedPatches }

/** @param pictures the case's, decoded */
export async function nativeCase(golden: Golden, c: GoldenCase, media: NonNullable<Manifest['media']>, rule: Extract<Tiling, { rule: 'native_resolution' }>, preprocessor: Preprocessor, pictures: readonly RawImage[]): Promise<NativePictures> {
  const name = `${c.name}.pixel_values`, shape = golden.shape(name), given = await golden.floats(name), own = new Float32Array(given.length), [channels, height, width] = shape.slice(-3) as [number, number, number];
  const size = channels * height * width, mask = new Uint8Array(given.length / channels), grids: Grid[] = [], foreign = (what: string): UserError => new UserError(`${what} The golden file belongs to another model, or its image processor makes pictures ready otherwise.`);
  let at = 0;
  const images = pictures.map((raw, k): ImageInput => {
    const made = nativePictures(toPixels(raw, preprocessor, `Picture ${c.images[k]} of ${golden.file}`), rule, preprocessor).map((picture, part): ImageInput => {
      const from = size * at++;
      if (picture.width > width || picture.height > height || from + size > given.length) throw foreign(`Picture ${part} of image ${k} of case '${c.name}' is ${picture.width} × ${picture.height} here, and ${golden.file} has ${given.length / size} of at most ${width} × ${height}.`);
      for (let i = 0, row = 0; row < channels * picture.height; row++, i += picture.width) own.set(picture.data.subarray(i, i + picture.width), from + (Math.floor(row / picture.height) * height + (row % picture.height)) * width);
      for (let y = 0, first = from / channels; y < picture.height; y++) mask.fill(1, first + y * width, first + y * width + picture.width);
      grids.push(patchGrid(rule, picture));
      return { key: `${c.name} ${k} ${part}`, data: patchRows(given.subarray(from, from + size), channels, picture, rule, { width, height }), rows: media.rowsPerImage!, positions: patchPositions(rule, picture) };
    });
    return { ...made.at(-1)!, inPrompt: () => markedPictures(made.length, rule).map((piece) => (typeof piece === 'string' ? piece : made[piece]!)) };
  });
  return { images, own, mask, patches: { frame: patchGrid(rule, { width, height }), pictures: grids } };
}

/**
 * Rows of patches, picture after picture, as the reference has them: every picture as many as the frame. What it computed of
 * padding, and of pictures that only fill up a batch, is taken from it: nobody reads those rows.
 */
export function padded(rows: ArrayLike<number>, reference: ArrayLike<number>, width: number, { frame, pictures }: PaddedPatches): Float32Array {
  const out = Float32Array.from(reference);
  let from = 0;
  pictures.forEach((grid, n) => {
    for (let y = 0; y < grid.rows; y++) for (let x = 0; x < grid.columns; x++)
      for (let i = 0, to = ((n * frame.rows + y) * frame.columns + x) * width; i < width; i++) out[to + i] = rows[from++]!;
  });
  return out;
}
