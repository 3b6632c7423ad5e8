import type { Mask, PerLayer, Tensor } from 'eemllm';
import type { Tokens } from './tokens.ts';

/** Which rows a sublayer (attention, feed-forward) rewrites: gets the residual stream and the sublayer around it. */
export type RowRule = <Width extends string>(
  x: Tensor<Tokens, Width>, sublayer: (x: Tensor<Tokens, Width>) => Tensor<Tokens, Width>) => Tensor<Tokens, Width>;

/** The sublayer rewrites every row: the ordinary decoder. */
export const everyRow: RowRule = (x, sublayer) => sublayer(x);

/** The sublayer reads every row and rewrites text alone; visual rows stay as they are. */
export const textRows: RowRule = (x, sublayer) => x.update('text', () => sublayer(x).rows('text'));

/** What may be said of a decoder's layers, for all of them or layer by layer. */
export interface Rules {
  /** Who may attend to whom. */
  mask: PerLayer<Mask<Tokens>>;
  /** Which rows are rewritten. */
  rewrite: PerLayer<RowRule>;
  readonly layerCount: number;
}
