/** Rows picked, or mixed with weights, from rows of a value and from learned rows, by a map that is data. */
import type { Poly } from '../ir/poly.ts';
import { elementwiseKernel } from './elementwise.ts';
import type { ElementExpr } from './expr.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';

export interface GatherSpec extends Omit<Extract<ElementExpr, { op: 'mix' }>, 'op'> {
  readonly rows: Poly;
  readonly width: number;
  readonly out: View;
}

/** The map's numbers must lie within the rows that there are; the runtime checks it before it uploads it. */
export const gatherKernel = ({ rows, width, out, ...mix }: GatherSpec, options: KernelOptions): Kernel =>
  elementwiseKernel({ rows, width, value: { op: 'mix', ...mix }, out }, options, 'gather');
