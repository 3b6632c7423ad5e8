import type { Activation } from 'eemllm';
import { UserError, gelu, gelu_tanh, quick_gelu, relu, sigmoid, silu, tanh } from 'eemllm';

/** Activations by the names that Hugging Face configs give them (`transformers/activations.py`, ACT2FN). */
export const activations: Readonly<Record<string, Activation>> = {
  gelu, quick_gelu, relu, sigmoid, silu, tanh,
  swish: silu,
  // Three spellings of the tanh approximation.
  gelu_new: gelu_tanh, gelu_fast: gelu_tanh, gelu_pytorch_tanh: gelu_tanh,
};

/** The name itself, if it is known; else a UserError that lists the known ones. */
export function checkActivation(name: string, field: string, where: string): string {
  if (!Object.hasOwn(activations, name)) throw new UserError(`'${field}' of ${where} is '${name}', which is no activation known here. Known are: ${Object.keys(activations).join(', ')}.`);
  return name;
}
export const activation = (name: string): Activation => activations[checkActivation(name, 'hidden_act', 'the config')]!;
