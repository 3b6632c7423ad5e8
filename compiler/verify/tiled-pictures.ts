/** Pictures of a golden case for a model that sees them as tiles: cut as the runtime cuts them, with the reference's own pixels. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageInput } from '../../runtime/context.ts';
import type { RawImage } from '../../runtime/image.ts';
import { parsePreprocessor } from '../../runtime/image.ts';
import type { Manifest } from '../../runtime/manifest.ts';
import { decodeImage } from '../../runtime/node-image.ts';
import { prepareImage } from '../../runtime/prepare.ts';
import type { Preprocessor } from '../../runtime/preprocessor-config.ts';
import { readJson } from '../bundle/checkpoint.ts';
import { UserError } from '../ir/errors.ts';
import type { Golden, GoldenCase } from './golden.ts';

/** The settings of a checkpoint's image processor, in a file of their own or in the processor's. */
export function preprocessorOf(folder: string): Preprocessor {
  const file = join(folder, 'preprocessor_config.json');
  return parsePreprocessor(existsSync(file) ? readJson(file) : readJson(join(folder, 'processor_config.json'))['image_processor']);
}

/**
 * The images of the case, and what this side made of their pixels, laid out as `pixel_values` is: `[tiles, channels, size, size]`, or
 * `[pictures, tiles, …]` with each picture filled up with zeros to as many tiles as the one that has most.
 */
export async function tiledPictures(golden: Golden, c: GoldenCase, folder: string, media: NonNullable<Manifest['media']>): Promise<{ images: ImageInput[]; own: Float32Array }> {
  const name = `${c.name}.pixel_values`, shape = golden.shape(name), given = await golden.floats(name), own = new Float32Array(given.length);
  const size = media.input.shape.reduce((a, b) => a * b, 1), preprocessor = preprocessorOf(folder), apart = shape.length === 5 && shape[0] === c.images.length ? shape[1]! : undefined;
  if (shape.slice(-3).join() !== media.input.shape.join()) throw new UserError(`The tiles of case '${c.name}' of ${golden.file} are [${shape.slice(-3).join(', ')}] each, and the model reads [${media.input.shape.join(', ')}]. The golden file belongs to another model.`);
  const prepared = await Promise.all(c.images.map(async (k, i) => prepareImage(await rawOf(golden, k, c.image_files[i]), preprocessor, media, `Picture ${k} of ${golden.file}`)));
  let tile = 0;
  const images = prepared.map((image, i): ImageInput => {
    if (apart !== undefined) tile = i * apart;
    const pieces = (image.inPrompt?.(prepared.length) ?? [image]).map((piece) => {
      if (typeof piece === 'string') return piece;
      const from = tile * size, to = (tile += piece.tiles ?? 1) * size;
      if (to > given.length) throw new UserError(`The pictures of case '${c.name}' of ${golden.file} are ${given.length / size} tiles, and here they are cut into more. The golden file belongs to another model, or its image processor cuts otherwise.`);
      own.set(piece.data, from);
      return { ...piece, data: given.slice(from, to) };
    });
    return { ...image, inPrompt: () => pieces };
  });
  return { images, own };
}

export async function rawOf(golden: Golden, picture: number, file: string | undefined): Promise<RawImage> {
  const name = `images.${picture}.rgb`;
  if (!golden.has(name) && file !== undefined) return decodeImage(golden.path(file), file);
  const [height, width] = golden.shape(name) as [number, number], data = await golden.read(name);
  if (!(data instanceof Uint8Array)) throw new UserError(`Tensor '${name}' of ${golden.file} holds no 8-bit samples. U8 [height, width, 3] was expected.`);
  return { width, height, data };
}
