/** A small Mixtral with random weights and a prompt of visual embeddings and text, and what the published modelling makes of it. */
import { createModel } from 'eemllm';
import { Llama, applyVariant, causal, composite } from 'eemllm/models';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Segment } from '../../compiler/ir/index.ts';
import { caseOf } from './golden.ts';
import type { DecoderSizes } from './hf-decoder.ts';
import { decode, embed, linear } from './hf-decoder.ts';
import type { Case } from './random-graphs.ts';

/** Seven experts of which three are chosen, odd widths, grouped heads. */
export const tinyMixtral = {
  model_type: 'mixtral', vocab_size: 23, hidden_size: 18, intermediate_size: 11, num_hidden_layers: 2, num_attention_heads: 3, num_key_value_heads: 1, head_dim: 6,
  rms_norm_eps: 1e-5, rope_theta: 1000000, max_position_embeddings: 64, num_local_experts: 7, num_experts_per_tok: 3,
} as const;

export function mixtralCase(variant: string, prompt: readonly Segment[], config: Readonly<Record<string, unknown>> = tinyMixtral, rows: 'last' | 'all' = 'last'): Case {
  const model = createModel(Llama, config);
  applyVariant(model, variant);
  const c = caseOf(trace(model, { rows }).graph, prompt, {}, 5), { inputs } = c;
  return { ...c, inputs: { ...inputs, ids: Int32Array.from(inputs['ids']!, (_, i) => (i * 7 + 3) % 23) }, weights: new Map([...c.weights].map(([name, w]) => [name, w.map((x) => x * 0.35)] as const)) };
}

/** Logits of the last row by the reference in plain loops. */
export function mixtralReference(c: Case, variant: 'self' | 'composite', config: typeof tinyMixtral = tinyMixtral): Float32Array {
  const w = (name: string): Float32Array => c.weights.get(name)!, width = config.hidden_size, segments = c.layout['tokens']!;
  const text = embed([...c.inputs['ids']!], w('model.embed_tokens.weight'), width), given = c.inputs['visual_embeds'] ?? new Float32Array(), visual = Array.from({ length: given.length / width }, (_, r) => [...given.subarray(r * width, (r + 1) * width)]);
  const kinds = segments.flatMap((s) => Array.from({ length: s.length }, () => ({ kind: s.kind as 'visual' | 'text', image: s.image ?? -1 })));
  const rows = kinds.map(({ kind }) => (kind === 'text' ? text : visual).shift()!), mask = variant === 'self' ? causal : composite;
  const token = (i: number) => ({ ...kinds[i]!, pos: i, index: 0 });
  const hidden = decode(rows, w, 'model', config as unknown as DecoderSizes, (q, k) => mask(token(q), token(k)));
  return Float32Array.from(linear([hidden.at(-1)!], w('lm_head.weight'))[0]!);
}
