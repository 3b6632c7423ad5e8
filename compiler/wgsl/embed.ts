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
}

export const embedKernel = ({ rows, ids, table, width, out }: EmbedSpec, options: KernelOptions): Kernel =>
  elementwiseKernel({ rows, width, value: { op: 'gather', table, rows: ids }, out }, options, 'embed');
