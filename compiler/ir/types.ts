import { Poly } from './poly.ts';
import type { RowSet } from './rows.ts';
import { printRows, rowCount, sameRows } from './rows.ts';

export const dtypes = ['f32', 'f16', 'i32', 'u32', 'u8'] as const;
export type DType = (typeof dtypes)[number];
export const dtypeBytes: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4, u8: 1 };

/**
 * `dtype[rows, dims…]`. Only the leading dim may be symbolic, and then it is a set of rows of a sequence; weights have
 * no rows. `f32[visual+text, 4096]`, `f32[11008, 4096]`, `i32[text]`.
 */
export interface TensorType {
  readonly dtype: DType;
  readonly rows?: RowSet;
  readonly dims: readonly number[];
}

export const tensorType = (dtype: DType, rows: RowSet | undefined, dims: readonly number[]): TensorType => ({ dtype, rows, dims });
export const printType = (t: TensorType): string => `${t.dtype}[${[...(t.rows ? [printRows(t.rows)] : []), ...t.dims].join(', ')}]`;
export const sameType = (a: TensorType, b: TensorType): boolean =>
  a.dtype === b.dtype && a.dims.length === b.dims.length && a.dims.every((d, i) => d === b.dims[i]) &&
  (a.rows && b.rows ? sameRows(a.rows, b.rows) : !a.rows && !b.rows);

/** Elements of one row (of the whole tensor, if it has no rows). */
export const rowElements = (t: TensorType): number => t.dims.reduce((a, b) => a * b, 1);
/** Elements of the tensor as a polynomial in the dims. */
export const elements = (t: TensorType): Poly => (t.rows ? rowCount(t.rows) : Poly.of(1)).mul(rowElements(t));
export const bytes = (t: TensorType): Poly => elements(t).mul(dtypeBytes[t.dtype]);
