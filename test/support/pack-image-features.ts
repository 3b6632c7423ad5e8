/**
 * How the `transformers` library packs the features of a picture in tiles (`pack_image_features` of LLaVA-NeXT and
 * LLaVA-OneVision), step by step on arrays: what tiling and the op `gather_rows` are held to. Float for float where it rounds.
 */
import type { PictureSize } from 'eemllm';

/** `[height][width]` vectors. */
type Grid = readonly (readonly Float32Array[])[];

export interface Packing {
  /** Sizes `[height, width]` that a picture may be brought to, and the side of a tile, in pixels. */
  readonly image_grid_pinpoints: readonly (readonly [number, number])[];
  readonly image_size: number;
  /** Rows along a side of a tile. */
  readonly side: number;
  /** `vision_aspect_ratio: anyres_max_N`. */
  readonly max?: number;
}

/** Python's `int(round(x, 7))`. */
const rounded = (x: number): number => Math.trunc(Number(x.toFixed(7)));
/** Python's `a // b` of floats, as its `float_divmod` has it. */
function floorDivide(a: number, b: number): number {
  const div = (a - (a % b)) / b, whole = Math.floor(div);
  return div - whole > 0.5 ? whole + 1 : whole;
}

export function selectBestResolution(original: readonly [number, number], possible: Packing['image_grid_pinpoints']): readonly [number, number] {
  const [originalHeight, originalWidth] = original;
  let best: readonly [number, number] | undefined, effective = 0, wasted = Infinity;
  for (const [height, width] of possible) {
    const scale = Math.min(width / originalWidth, height / originalHeight);
    const shown = Math.min(Math.trunc(originalWidth * scale) * Math.trunc(originalHeight * scale), originalWidth * originalHeight), waste = width * height - shown;
    if (shown > effective || (shown === effective && waste < wasted)) { effective = shown; wasted = waste; best = [height, width]; }
  }
  return best!;
}

export function unpadImage(grid: Grid, [originalHeight, originalWidth]: readonly [number, number]): Grid {
  const height = grid.length, width = grid[0]!.length;
  if (originalWidth / originalHeight > width / height) {
    const padding = Math.floor((height - rounded(originalHeight * (width / originalWidth))) / 2);
    return grid.slice(padding, height - padding);
  }
  const padding = Math.floor((width - rounded(originalWidth * (height / originalHeight))) / 2);
  return grid.map((line) => line.slice(padding, width - padding));
}

/** torch's `interpolate(mode='bilinear', align_corners=False)`. */
function interpolate(grid: Grid, height: number, width: number): Grid {
  const taps = (from: number, to: number, i: number): [number, number, number] => {
    const place = Math.max(0, (from / to) * (i + 0.5) - 0.5), low = Math.floor(place);
    return [low, low < from - 1 ? low + 1 : low, place - low];
  };
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => {
    const [y0, y1, dy] = taps(grid.length, height, y), [x0, x1, dx] = taps(grid[0]!.length, width, x);
    return grid[y0]![x0]!.map((_, c) => (1 - dy) * ((1 - dx) * grid[y0]![x0]![c]! + dx * grid[y0]![x1]![c]!) + dy * ((1 - dx) * grid[y1]![x0]![c]! + dx * grid[y1]![x1]![c]!));
  }));
}

/** Rows of the language model of one picture, from the projected rows of its tiles: the overview's first. */
export function packImageFeatures(tiles: readonly (readonly Float32Array[])[], { width, height }: PictureSize, newline: Float32Array, { image_grid_pinpoints, image_size, side, max }: Packing): Float32Array[] {
  const [overview, ...rest] = tiles;
  if (!rest.length) return [...overview!, newline];
  const best = selectBestResolution([height, width], image_grid_pinpoints), down = Math.floor(best[0] / image_size), across = Math.floor(best[1] / image_size);
  if (rest.length !== down * across) throw new Error(`${rest.length} tiles are no grid of ${down} by ${across}.`);
  let grid: Grid = Array.from({ length: down * side }, (_, y) => Array.from({ length: across * side }, (_, x) =>
    rest[Math.floor(y / side) * across + Math.floor(x / side)]![(y % side) * side + (x % side)]!));
  grid = unpadImage(grid, [height, width]);
  if (max !== undefined) {
    const lines = grid.length, places = grid[0]?.length ?? 0, ratio = Math.sqrt((lines * places) / (max * side ** 2));
    if (ratio > 1.1) grid = interpolate(grid, Math.trunc(floorDivide(lines, ratio)), Math.trunc(floorDivide(places, ratio)));
  }
  return [...overview!, ...grid.flatMap((line) => [...line, newline])];
}
