/** Decoding pictures in Node, with `sharp` (libvips). */
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { RuntimeError, reasonOf } from './errors.ts';
import { readImageHeader } from './image-header.ts';
import { MAX_PIXELS, type RawImage } from './image.ts';
import { fileError } from './node-files.ts';
import { upright } from './orientation.ts';

/**
 * Decodes a PNG, JPEG or WebP picture, from a path or from its bytes. The result is 8-bit RGB, or RGBA where the picture has alpha,
 * turned upright as EXIF says, colour profile ignored. Grey and palette become RGB, 16 bits a sample the upper 8.
 * @param label how to call the picture in an error; the path, where one is given
 * @throws RuntimeError `file` when the path cannot be read; `image` when the bytes are no picture, are cut short, move, have no
 *   pixels, or are too many (`MAX_EDGE`, `MAX_PIXELS`): all of this is asked before anything is decoded
 */
export async function decodeImage(input: string | Uint8Array, label = typeof input === 'string' ? input : 'The image'): Promise<RawImage> {
  const bytes = typeof input === 'string' ? await readFile(input).catch((cause: unknown) => { throw fileError(input, cause); }) : input;
  const { orientation } = readImageHeader(bytes, label);
  try {
    // `failOn: truncated` refuses a file that is cut short instead of filling the rest with grey.
    const picture = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'truncated', ignoreIcc: true, pages: 1 });
    const { data, info } = await picture.toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    if (info.channels !== 3 && info.channels !== 4) throw new Error(`${info.channels as number} channels`);
    return upright({ width: info.width, height: info.height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }, orientation);
  } catch (cause) {
    throw new RuntimeError('image', `${label} cannot be decoded as a picture (${firstLine(cause)}). Choose a PNG, JPEG or WebP picture that an image viewer opens.`, { cause });
  }
}

function firstLine(error: unknown): string {
  return reasonOf(error).split('\n')[0]!.replace(/\.$/, '');
}
