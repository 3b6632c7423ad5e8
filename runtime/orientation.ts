/** Pictures turned upright, as the orientation of Exif says: the same samples in another order. */
import type { RawImage } from './image.ts';

/** Where the sample for (x, y) of the upright picture lies in one of `width` × `height`, by orientation. */
const sources: readonly ((x: number, y: number, width: number, height: number) => readonly [x: number, y: number])[] = [
  (x, y) => [x, y], (x, y, w) => [w - 1 - x, y], (x, y, w, h) => [w - 1 - x, h - 1 - y], (x, y, _w, h) => [x, h - 1 - y],
  (x, y) => [y, x], (x, y, _w, h) => [y, h - 1 - x], (x, y, w, h) => [w - 1 - y, h - 1 - x], (x, y, w) => [w - 1 - y, x],
];

/** @param orientation 1 to 8; from 5 on, width and height change places */
export function upright(image: RawImage, orientation: number): RawImage {
  const source = sources[orientation - 1];
  if (orientation === 1 || !source) return image;
  const { width: w, height: h, data } = image, channels = data.length / (w * h), [width, height] = orientation > 4 ? [h, w] : [w, h], out = new Uint8Array(data.length);
  for (let y = 0, to = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const [sx, sy] = source(x, y, w, h), from = (sy * w + sx) * channels;
    for (let c = 0; c < channels; c++) out[to++] = data[from + c]!;
  }
  return { width, height, data: out };
}
