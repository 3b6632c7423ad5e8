/** Decoding pictures in Node, with `sharp` (libvips). */
import { readFile } from 'node:fs/promises';
import sharp, { type Metadata, type Sharp } from 'sharp';
import { RuntimeError, reasonOf } from './errors.ts';
import { checkImageSize, MAX_PIXELS, type RawImage } from './image.ts';
import { fileError } from './node-files.ts';

/**
 * Decodes a picture: PNG, JPEG, WebP, GIF (first frame), TIFF or AVIF, from a path or from its bytes. The result is 8-bit
 * RGB, turned upright as EXIF says, colour profile ignored and alpha dropped, as Pillow gives it to the image processors.
 * @param label how to call the picture in an error; the path, where one is given
 * @throws RuntimeError `file` when the path cannot be read; `image` when the bytes are no picture, have no pixels, or are
 *   too many (`MAX_EDGE`, `MAX_PIXELS`); the size is checked before anything is decoded
 */
export async function decodeImage(input: string | Uint8Array, label = typeof input === 'string' ? input : 'The image'): Promise<RawImage> {
  const bytes = typeof input === 'string' ? await readFile(input).catch((cause: unknown) => { throw fileError(input, cause); }) : input;
  if (bytes.byteLength === 0) throw new RuntimeError('image', `${label} is empty (0 bytes). Choose a PNG, JPEG or WebP picture.`);
  const no = (cause: unknown) =>
    new RuntimeError('image', `${label} cannot be decoded as a picture (${firstLine(cause)}). Choose a PNG, JPEG or WebP picture that an image viewer opens.`, { cause });

  let picture: Sharp;
  let head: Metadata;
  try {
    // `failOn: truncated` refuses a file that is cut short instead of filling the rest with grey.
    picture = sharp(bytes, { limitInputPixels: MAX_PIXELS * 4, failOn: 'truncated', ignoreIcc: true, pages: 1 });
    head = await picture.metadata();
  } catch (cause) {
    throw no(cause);
  }
  checkImageSize(head.width ?? 0, head.height ?? 0, label);
  try {
    const { data, info } = await picture.autoOrient().toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${info.channels} channels`);
    return { width: info.width, height: info.height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  } catch (cause) {
    throw no(cause);
  }
}

function firstLine(error: unknown): string {
  return reasonOf(error).split('\n')[0]!.replace(/\.$/, '');
}
