import { inLayers } from 'eemllm';
import { Llava } from './llava.ts';
import { causal, composite } from './masks.ts';

/** EE-MLLM-F: composite attention in a chosen set of layers of a model that was trained without it. */
export const eeMllmF = (layers: readonly number[]) => class EeMllmF extends Llava {
  override mask = inLayers(layers, composite, causal);
};
