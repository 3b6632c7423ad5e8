/**
 * Rows copied from one view to another, between storages too; heads may be repeated for grouped queries, or the rows of
 * pictures put together block by block.
 */
import type { ShuffleShape } from '../ir/ops/pixel-shuffle.ts';
import type { Poly } from '../ir/poly.ts';
import { elementwiseKernel } from './elementwise.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';

export interface CopySpec {
  readonly rows: Poly;
  /** Columns that are written: heads · headDim when heads are repeated. */
  readonly width: number;
  readonly from: View;
  readonly to: View;
  /** Each of `kvHeads` heads of `headDim` columns is written for its `heads / kvHeads` query heads, side by side. */
  readonly repeat?: { readonly heads: number; readonly kvHeads: number; readonly headDim: number };
  /** Rows that are written are blocks of the rows read: `rows` of factor² · width columns. */
  readonly shuffle?: ShuffleShape;
}

export function copyKernel({ rows, width, from, to, repeat, shuffle }: CopySpec, options: KernelOptions): Kernel {
  if (repeat && (repeat.heads % repeat.kvHeads || width !== repeat.heads * repeat.headDim))
    throw new RangeError(`${repeat.kvHeads} heads of ${repeat.headDim} repeated to ${repeat.heads} are ${repeat.heads * repeat.headDim} columns, not ${width}.`);
  if (shuffle && width !== shuffle.factor ** 2 * shuffle.width) throw new RangeError(`Blocks of ${shuffle.factor} × ${shuffle.factor} rows of ${shuffle.width} are ${shuffle.factor ** 2 * shuffle.width} columns, not ${width}.`);
  const value = { op: 'load' as const, view: from, ...(repeat && { repeat: { group: repeat.heads / repeat.kvHeads, headDim: repeat.headDim } }), ...(shuffle && { shuffle }) };
  return elementwiseKernel({ rows, width, value, out: to }, options, 'copy');
}
