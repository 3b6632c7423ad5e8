import { UserError } from '../ir/errors.ts';
import type { SourcePos } from '../ir/errors.ts';
import { callSite } from './where.ts';

/** One thing in some layers, another in the rest; made by `inLayers`. */
export class LayerChoice<T> {
  /** @internal */
  constructor(readonly layers: readonly number[], readonly inside: T, readonly outside: PerLayer<T>, readonly where: SourcePos | undefined) {}
}
/** The same for every layer, or a choice by layer. */
export type PerLayer<T> = T | LayerChoice<T>;

/** `inside` in the listed layers (from 0), `outside` in the others: `mask = inLayers([1, 3], composite, causal)`. */
export function inLayers<T>(layers: readonly number[], inside: T, outside: PerLayer<T>): PerLayer<T> {
  const where = callSite(), wrong = layers.find((l) => !Number.isSafeInteger(l) || l < 0);
  if (wrong !== undefined) throw new UserError(`${wrong} is no layer's number; layers count from 0.`, where);
  return new LayerChoice(layers, inside, outside, where);
}

/** What is chosen for layer `layer` of `count`. Throws a UserError if the choice names a layer that does not exist. */
export function atLayer<T>(choice: PerLayer<T>, layer: number, count: number): T {
  if (!(choice instanceof LayerChoice)) return choice;
  const wrong = choice.layers.find((l) => l >= count);
  if (wrong !== undefined) throw new UserError(`Layer ${wrong} lies outside the model: its ${count} layers are 0 to ${count - 1}.`, choice.where);
  return choice.layers.includes(layer) ? choice.inside : atLayer(choice.outside, layer, count);
}
