/**
 * From a decoded picture to a vision tower's input, in the order and the arithmetic of Hugging Face's image processors:
 * RGB, resize, centre crop, rescale, normalise. Equal to them to the last bit of float32 (see `resize.ts` for the hard part).
 */
import { RuntimeError } from './errors.ts';
import type { Preprocessor } from './preprocessor-config.ts';
import { resize, type Pixels } from './resize.ts';

export { parsePreprocessor, type Preprocessor } from './preprocessor-config.ts';

/** A decoded picture: 8-bit RGB or RGBA, row-major, interleaved. */
export interface RawImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** A vision tower's input: float32 [3, height, width], channel after channel, row-major. */
export interface PixelValues {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** Longest edge of a picture that is taken in, in pixels. */
export const MAX_EDGE = 16_384;
/** Most pixels of a picture that is taken in. */
export const MAX_PIXELS = 100_000_000;

/**
 * Refuses sizes that no picture should have, before anything is decoded or allocated.
 * @throws RuntimeError `image`
 */
export function checkImageSize(width: number, height: number, label = 'The image'): void {
  const fail = (what: string) => new RuntimeError('image', `${label} ${what}.`);
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw fail(`is ${width} × ${height}: it has no pixels. Choose another picture`);
  }
  if (width > MAX_EDGE || height > MAX_EDGE) {
    throw fail(`is ${width} × ${height} pixels, and no edge may be longer than ${MAX_EDGE}. Shrink it first; the model sees far fewer pixels anyway`);
  }
  if (width * height > MAX_PIXELS) {
    throw fail(`is ${width} × ${height}, ${Math.round((width * height) / 1e6)} million pixels, and ${MAX_PIXELS / 1e6} million is the limit. Shrink it first; the model sees far fewer pixels anyway`);
  }
}

/**
 * Makes a picture ready for the vision tower.
 * @throws RuntimeError `image` when it has no pixels, is too large, or its data does not fit its size.
 */
export function preprocess(image: RawImage, config: Preprocessor, label = 'The image'): PixelValues {
  return normalise(fit(toPixels(image, config, label), config), config);
}

/**
 * The samples of a picture, RGB. Alpha is dropped, as Pillow's `convert('RGB')` does, or the picture laid over white, as by its
 * `alpha_composite`: whichever the checkpoint's image processor does.
 * @throws RuntimeError `image` when it has no pixels, is too large, or its data does not fit its size.
 */
export function toPixels({ width, height, data }: RawImage, { overWhite = false }: Pick<Preprocessor, 'overWhite'>, label = 'The image'): Pixels {
  checkImageSize(width, height, label);
  const channels = data.length / (width * height);
  if (channels !== 3 && channels !== 4) {
    throw new RuntimeError('image', `${label} is ${width} × ${height}, which takes ${width * height * 3} samples as RGB or ${width * height * 4} as RGBA, but ${data.length} were given. Decode it to 8-bit RGB or RGBA.`);
  }
  if (channels === 3) return { width, height, channels, data };
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, o = 0; i < data.length; i += 4) {
    const alpha = overWhite ? data[i + 3]! : 255;
    for (let c = 0; c < 3; c++) rgb[o++] = alpha === 255 ? data[i + c]! : blended(data[i + c]!, alpha);
  }
  return { width, height, channels: 3, data: rgb };
}

/** A sample over opaque white, in Pillow's integers (AlphaComposite.c: 7 bits more than a byte, division by 255 as shifts). */
function blended(sample: number, alpha: number): number {
  const sum = 128 * (sample * alpha + 255 * (255 - alpha)) + 128 * 128;
  return (((sum >> 8) + sum) >> 8) >> 7;
}

/** The size that a picture is resized to, before any crop. */
function resizedSize({ width, height }: Pixels, size: NonNullable<Preprocessor['size']>): { width: number; height: number } {
  if (!('shortestEdge' in size)) return size;
  const { shortestEdge } = size;
  // transformers: the longer edge is cut off to an integer, and is never below one pixel as long as it is the longer one.
  return width <= height
    ? { width: shortestEdge, height: Math.trunc((shortestEdge * height) / width) }
    : { width: Math.trunc((shortestEdge * width) / height), height: shortestEdge };
}

/** Resize and centre crop. Only the pixels inside the crop are computed; around a smaller picture stands black. */
function fit(image: Pixels, { size, crop, resample }: Preprocessor): Pixels {
  const target = size ? resizedSize(image, size) : image;
  const want = crop ?? target;
  const x = cropAxis(target.width, want.width);
  const y = cropAxis(target.height, want.height);
  const inner = resize(image, target.width, target.height, resample, { left: x.from, top: y.from, width: x.length, height: y.length });
  if (x.length === want.width && y.length === want.height) return inner;
  const data = new Uint8Array(want.width * want.height * 3);
  const rowBytes = inner.width * 3;
  for (let row = 0; row < inner.height; row++) {
    data.set(inner.data.subarray(row * rowBytes, (row + 1) * rowBytes), ((row + y.to) * want.width + x.to) * 3);
  }
  return { width: want.width, height: want.height, channels: 3, data };
}

/**
 * transformers' centre crop along one axis: `length` pixels from `from` on go to `to` on. An odd rest leaves one pixel
 * more behind the crop; where the picture is smaller than the crop, the odd pixel of padding stands before it.
 */
function cropAxis(size: number, crop: number): { from: number; to: number; length: number } {
  return size >= crop
    ? { from: Math.floor((size - crop) / 2), to: 0, length: crop }
    : { from: 0, to: Math.ceil((crop - size) / 2), length: size };
}

/** Pictures of one size that are normalised, one after the other. */
export function normaliseAll(pictures: readonly Pixels[], config: Preprocessor): Float32Array {
  const out = pictures.map((p) => normalise(p, config).data), all = new Float32Array(out.reduce((n, x) => n + x.length, 0));
  out.forEach((x, i) => { all.set(x, i * x.length); });
  return all;
}

/** (x · rescale - mean) / std, each step rounded to float32 as numpy rounds it. Interleaved in, channel after channel out. */
function normalise({ width, height, data }: Pixels, { rescale, mean, std }: Preprocessor): PixelValues {
  const count = width * height;
  const out = new Float32Array(3 * count);
  const byLevel = new Float32Array(256);
  for (let c = 0; c < 3; c++) {
    const shift = Math.fround(mean[c]!);
    const divisor = Math.fround(std[c]!);
    // There are 256 levels and often millions of pixels.
    for (let v = 0; v < 256; v++) byLevel[v] = Math.fround(Math.fround(v * rescale) - shift) / divisor;
    for (let i = 0, s = c; i < count; i++, s += 3) out[c * count + i] = byLevel[data[s]!]!;
  }
  return { data: out, width, height };
}
