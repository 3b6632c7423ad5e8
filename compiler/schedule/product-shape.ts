/** What legality and choice of a schedule ask of a product, whichever family computes it. */
import type { QuantisedFormat } from '../ir/weight-format.ts';

/** Storage of floats in a buffer; `f16x2` are pairs in words, for devices without `shader-f16`. */
type Floats = 'f32' | 'f16' | 'f16x2';

/** How coarse the operands of a product may become on their way into a multiplication; sums are f32 whatever it says. */
export type Arithmetic = 'f32' | 'f16' | 'int8';

export interface MatmulShape {
  /** Rows, where they do not depend on the prompt. */
  readonly rows?: number;
  readonly K: number;
  /** Weight rows of all groups: columns of the output times interleaved linears. */
  readonly weightRows: number;
  readonly a: Floats;
  readonly weight: Floats | QuantisedFormat;
  /** Interleaved linears of each group of output columns. */
  readonly linears: readonly number[];
  /** True if some group has a rope: a pair of columns must lie in one invocation. */
  readonly pairs?: boolean;
  /** True if rows are normalised on the way in: their statistics take workgroup memory. */
  readonly normed?: boolean;
  /** True if rows are patches of pictures, read where they lie. */
  readonly patches?: boolean;
  readonly arithmetic: Arithmetic;
}

export const isPower = (n: number): boolean => n > 0 && (n & (n - 1)) === 0;
const leastCommon = (xs: readonly number[]): number => xs.reduce((a, b) => { let [x, y] = [a, b]; while (y) [x, y] = [y, x % y]; return (a * b) / x; }, 1);

/** Linears of every group fit into so many weight rows a whole number of times. */
export const commonLinears = (shape: Pick<MatmulShape, 'linears'>): number => leastCommon(shape.linears);
/** The fewest weight rows that hold whole outputs of every group, and whole pairs where there is a rope. */
export const outputUnit = (shape: Pick<MatmulShape, 'linears' | 'pairs'>): number => commonLinears(shape) * (shape.pairs ? 2 : 1);
/** `n`, or the next number of weight rows that holds whole outputs. */
export const widened = (n: number, shape: Pick<MatmulShape, 'linears' | 'pairs'>): number => Math.ceil(n / outputUnit(shape)) * outputUnit(shape);
/** Why `outputs` weight rows an invocation cannot be, as a sentence. */
export const notWhole = (outputs: number, who: string, shape: MatmulShape): string | undefined =>
  (outputs % outputUnit(shape) ? `${outputs} weight rows ${who} do not hold whole outputs of ${Math.max(...shape.linears)} linear(s)${shape.pairs ? ' in pairs' : ''}.` : undefined);
