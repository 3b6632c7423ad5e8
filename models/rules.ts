import type { Fraction, Mask, PerLayer, Tensor } from 'eemllm';
import type { Tokens } from './tokens.ts';

/** Which rows a sublayer (attention, feed-forward) rewrites: gets the residual stream and the sublayer around it. */
export type RowRule = <Width extends string>(
  x: Tensor<Tokens, Width>, sublayer: (x: Tensor<Tokens, Width>) => Tensor<Tokens, Width>) => Tensor<Tokens, Width>;

/** The sublayer rewrites every row: the ordinary decoder. */
export const everyRow: RowRule = (x, sublayer) => sublayer(x);

/** The sublayer reads every row and rewrites text alone; visual rows stay as they are. */
export const textRows: RowRule = (x, sublayer) => x.update('text', () => sublayer(x).rows('text'));

/** What of the residual stream enters a layer, and with it all layers after it: rows that leave here are in none of them. */
export type KeepRule = <Width extends string>(x: Tensor<Tokens, Width>) => Tensor<Tokens, Width>;

/** Every row enters. */
export const allRows: KeepRule = (x) => x;

/** A share of the visual rows enters, from 0 (text alone) to 1. Which rows, is decided at run time. */
export const visualShare = (share: Fraction | number): KeepRule => (x) => x.keep('visual', share);

/** What may be said of a decoder's layers, for all of them or layer by layer. */
export interface Rules {
  /** Who may attend to whom. */
  mask: PerLayer<Mask<Tokens>>;
  /** Which rows are rewritten. */
  rewrite: PerLayer<RowRule>;
  /** Which rows there are, from this layer on. */
  keep: PerLayer<KeepRule>;
  readonly layerCount: number;
}
