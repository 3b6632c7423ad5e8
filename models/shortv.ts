import { inLayers } from 'eemllm';
import { Llava } from './llava.ts';
import { everyRow, textRows } from './rules.ts';

/** ShortV (arXiv 2504.00502): in a chosen set of layers visual rows are read but not rewritten. */
export const shortV = (layers: readonly number[]) => class ShortV extends Llava {
  override rewrite = inLayers(layers, textRows, everyRow);
};
