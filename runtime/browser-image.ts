/** Decoding pictures in a browser: `createImageBitmap` and a canvas. */
import { RuntimeError, reasonOf } from './errors.ts';
import { readImageHeader } from './image-header.ts';
import type { RawImage } from './image.ts';
import { upright } from './orientation.ts';

/**
 * Decodes a PNG, JPEG or WebP picture that the user picked, dropped or that was fetched. 8-bit RGBA, upright as EXIF says, colour
 * profile ignored, alpha not multiplied in: the samples are those that Node reads.
 * @throws RuntimeError `image` when the bytes are no picture, are cut short, move, have no pixels, or are too many
 */
export async function decodeImage(input: Blob, label = input instanceof File ? input.name : 'The image'): Promise<RawImage> {
  const bytes = new Uint8Array(await input.arrayBuffer()), { orientation, orientationAt } = readImageHeader(bytes, label);
  // Browsers turn the pictures of some formats and not of others: they are told that each is upright.
  if (orientationAt) new DataView(bytes.buffer).setUint16(orientationAt.offset, 1, orientationAt.littleEndian);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  } catch (cause) {
    throw new RuntimeError('image', `${label} cannot be decoded as a picture (${reasonOf(cause)}). Choose a PNG, JPEG or WebP picture that an image viewer opens.`, { cause });
  }
  try {
    return upright({ width: bitmap.width, height: bitmap.height, data: readPixels(bitmap) }, orientation);
  } finally {
    bitmap.close();
  }
}

/**
 * The bytes of a bitmap. A 2D canvas keeps colours multiplied by alpha, so it returns rounded colours, and black, where
 * alpha is not 255; WebGL returns what it was given. Opaque pictures, nearly all, are exact in both.
 */
function readPixels(bitmap: ImageBitmap): Uint8ClampedArray {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });
  if (!context) throw new RuntimeError('image', 'This browser gives no 2D canvas, so pictures cannot be read. Reload the page, or close other tabs that use much memory.');
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return readThroughWebGl(bitmap) ?? data;
  return data;
}

function readThroughWebGl(bitmap: ImageBitmap): Uint8ClampedArray | undefined {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl || width > gl.getParameter(gl.MAX_TEXTURE_SIZE) || height > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return undefined;
  try {
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) return undefined;
    const data = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
    return new Uint8ClampedArray(data.buffer);
  } finally {
    // Browsers allow few contexts at a time; give this one back now, not when it is collected.
    gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}
