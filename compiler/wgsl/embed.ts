/** Rows of a table picked by each row's number: token ids, or positions for learned position embeddings. */
import type { Poly } from '../ir/poly.ts';
import { elementwiseKernel } from './elementwise.ts';
import type { RowNumbers } from './expr.ts';
import type { Kernel, View, WeightMatrix } from './kernel.ts';
import type { KernelOptions } from './printer.ts';

export interface EmbedSpec {
  readonly rows: Poly;
  /** Numbers must lie within the table; the runtime checks ids before it uploads them. */
  readonly ids: RowNumbers;
  readonly table: WeightMatrix;
  readonly width: number;
  readonly out: View;
  /** The table's rows are `count` rows of a larger one, from `first` on: rows with other numbers are left to who has theirs. */
  readonly slice?: { readonly first: number; readonly count: number };
}

export const embedKernel = ({ rows, ids, table, width, out, slice }: EmbedSpec, options: KernelOptions): Kernel =>
  elementwiseKernel({ rows, width, value: { op: 'gather', table, rows: ids, ...(slice ? { first: slice.first } : {}) }, out, ...(slice ? { only: { numbers: ids, ...slice } } : {}) }, options, 'embed');
