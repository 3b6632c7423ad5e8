import { parseRows, printRows, rowCount } from '../rows.ts';
import type { TensorType } from '../types.ts';
import { printType, tensorType } from '../types.ts';
import type { OpDef } from './def.ts';
import { expect, num, str } from './def.ts';

/**
 * Rows and columns of a pixel shuffle: a picture has side × side rows of `width` entries, and (side / factor)² rows of
 * factor² · width after it.
 */
export interface ShuffleShape { readonly side: number; readonly factor: number; readonly width: number }

/**
 * Where entry (row, column) of the result comes from. Of row (y, x) of a picture's smaller grid, the columns from
 * (dy · factor + dx) · width on are row (y · factor + dy, x · factor + dx) of its grid. Pictures lie one after another.
 */
export function shuffleSource({ side, factor, width }: ShuffleShape, row: number, column: number): { row: number; column: number } {
  const across = side / factor, y = Math.floor(row / across), x = row % across, block = Math.floor(column / width);
  return { row: (y * factor + Math.floor(block / factor)) * side + x * factor + (block % factor), column: column % width };
}

/**
 * Space to depth over the rows of a picture: factor × factor neighbours of its square grid become one row, side by side, so
 * that a language model reads factor² times fewer and wider rows. It is Shi et al.'s pixel shuffle (arXiv 1609.05158)
 * backwards, and `pixel_shuffle` of Idefics3's connector (transformers, modeling_idefics3.py).
 */
export const pixelShuffle: OpDef = {
  name: 'pixel_shuffle', doc: 'Each factor × factor rows of a square picture, side by side in one row.', arity: 1, attrs: { factor: 'count', rows: 'rows' },
  infer: ([x], attrs, head) => {
    const factor = num(attrs, 'factor'), rows = parseRows(head.sequences.values(), str(attrs, 'rows'));
    const count = x!.rows?.kinds.length === 1 && !x!.rows.last ? rowCount(x!.rows).constant() : undefined, side = Math.sqrt(count ?? NaN);
    expect(count !== undefined && x!.dims.length === 1, () => `needs the rows of a picture, vectors of one kind and of a known number, not ${printType(x!)}.`);
    expect(Number.isInteger(side), () => `needs a square grid of rows, but a picture has ${count} (${printType(x!)}).`);
    expect(side % factor === 0, () => `a grid of ${side} × ${side} rows cannot be divided into blocks of ${factor} × ${factor}.`);
    expect(rowCount(rows).equals((side / factor) ** 2), () => `gives ${(side / factor) ** 2} rows a picture, but '${printRows(rows)}' are ${rowCount(rows).toString()}.`);
    return tensorType(x!.dtype, rows, [x!.dims[0]! * factor ** 2]);
  },
  reads: (n) => n.inputs[0]!.type.rows,
  narrow: (b, n, [x]) => b.op('pixel_shuffle', [x!], n.attrs, n),
  counts: () => ({}),
  evaluate: (n, [x]) => {
    const shape = shuffleShape(n.inputs[0]!.type, num(n.attrs, 'factor')), columns = n.type.dims[0]!, out = new Float32Array(x!.data.length);
    for (let at = 0; at < out.length; at += shape.width) {
      const from = shuffleSource(shape, Math.floor(at / columns), at % columns);
      out.set(x!.data.subarray(from.row * shape.width, (from.row + 1) * shape.width), at);
    }
    return { type: n.type, data: out };
  },
};

/** The shape of a pixel shuffle over values of a type that `infer` has accepted. */
export const shuffleShape = (x: TensorType, factor: number): ShuffleShape =>
  ({ side: Math.sqrt(rowCount(x.rows!).constant()!), factor, width: x.dims[0]! });
