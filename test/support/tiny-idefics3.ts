/** A small Idefics3 with random weights and a prompt with tiles: a case like those of random-graphs.ts. */
import { createModel } from 'eemllm';
import { Idefics3, applyVariant } from 'eemllm/models';
import type { Traced } from '../../compiler/frontend/trace.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Segment } from '../../compiler/ir/index.ts';
import { caseOf } from './golden.ts';
import type { Case } from './random-graphs.ts';

/** 6 × 6 patches a tile in blocks of 3 × 3: four visual tokens a tile. Heads are grouped, widths no multiples of four. */
export const tinyConfig = {
  model_type: 'smolvlm', scale_factor: 3,
  vision_config: { hidden_size: 10, intermediate_size: 14, num_hidden_layers: 2, num_attention_heads: 2, image_size: 24, patch_size: 4 },
  text_config: { hidden_size: 18, intermediate_size: 22, num_hidden_layers: 3, num_attention_heads: 3, num_key_value_heads: 1, vocab_size: 23 },
} as const;
const towers = { pictures: [{ kind: 'tile', length: 1 }], patches: [{ kind: 'patch', length: 36 }], blocks: [{ kind: 'block', length: 4 }] };

/** Runs of text of the given lengths with a tile between each two, as the processor writes a cut picture. */
export function tinyIdefics3(variant: string, text: readonly number[], rows: 'last' | 'all' = 'last'): Case & { readonly traced: Traced } {
  const model = createModel(Idefics3, tinyConfig);
  applyVariant(model, variant);
  const traced = trace(model, { rows });
  const prompt = text.flatMap((length, i): Segment[] => [...(i ? [{ kind: 'visual', image: i - 1, length: 4 }] : []), { kind: 'text', length }]);
  const c = caseOf(traced.graph, prompt, towers);
  // Smaller weights than a random matrix has, so that what is compared is not rounding of saturated attention.
  return { ...c, weights: new Map([...c.weights].map(([name, w]) => [name, w.map((x) => x * 0.2)] as const)), traced };
}
