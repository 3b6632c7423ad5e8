/** Which rows of the tower's pictures become which visual rows: the map that `gatherRows` takes with an image. */
import type { AnyResolutionRule, TiledPicture } from './any-resolution.ts';

/** For each visual row of an image `sources` numbers of rows, and with several of them as many weights. */
export interface RowSources { readonly sources: Int32Array; readonly weights?: Float32Array }

/** How many rows a visual row is mixed of: four where the grid may be scaled down (bilinearly), one elsewhere. */
export const sourcesPerRow = ({ max_tiles }: Pick<AnyResolutionRule, 'max_tiles'>): number => (max_tiles === undefined ? 1 : 4);

/** The number of the newline: learned row 0. */
const newline = -1;

/**
 * The visual rows of a picture in reading order: the overview, then the lines of the grid, each with a newline at its end. Rows
 * of the tower count from 0: the overview's, then tile by tile, row by row. `first` is the image's first row where several
 * images stand in one step.
 */
export function visualRows(rule: AnyResolutionRule, { columns, kept, height, width }: TiledPicture, first = 0): RowSources {
  const side = rule.patches_per_side, sources: number[] = [], weights: number[] = [], per = sourcesPerRow(rule);
  const add = (rows: readonly number[], shares: readonly number[]): void => {
    for (let i = 0; i < per; i++) { sources.push(rows[i] ?? rows[0]!); weights.push(shares[i] ?? 0); }
  };
  /** The row at a place of the grid without padding. */
  const at = (line: number, place: number): number => {
    const y = kept.top + line, x = kept.left + place, tile = 1 + Math.floor(y / side) * columns + Math.floor(x / side);
    return first + tile * side ** 2 + (y % side) * side + (x % side);
  };
  for (let i = 0; i < side ** 2; i++) add([first + i], [1]);
  const down = samples(kept.height, height), across = samples(kept.width, width);
  for (const y of down) {
    for (const x of across) add([at(y.low, x.low), at(y.low, x.high), at(y.high, x.low), at(y.high, x.high)], [(1 - y.part) * (1 - x.part), (1 - y.part) * x.part, y.part * (1 - x.part), y.part * x.part]);
    add([newline], [1]);
  }
  return { sources: Int32Array.from(sources), ...(per > 1 && { weights: Float32Array.from(weights) }) };
}

/** Where each of `to` samples lies between two of `from`, as torch's `interpolate(mode='bilinear')` has it: corners are not aligned. */
function samples(from: number, to: number): { readonly low: number; readonly high: number; readonly part: number }[] {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.max(0, (i + 0.5) * (from / to) - 0.5), low = Math.floor(place);
    return { low, high: Math.min(low + 1, from - 1), part: place - low };
  });
}
