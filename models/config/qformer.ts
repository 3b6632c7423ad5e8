import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import { checkActivation } from '../activations.ts';
import { positive, readFields, share, size } from './fields.ts';

/** A Q-Former with every size resolved. Names are Hugging Face's; how many rows come in, a checkpoint's config leaves open. */
export interface QFormerConfig {
  readonly model_type: 'blip_2_qformer' | 'instructblip_qformer';
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
  readonly max_position_embeddings: number;
  /** Every how many layers, from the first on, queries read the picture. */
  readonly cross_attention_frequency: number;
  /** Width of the tower's rows. */
  readonly encoder_hidden_size: number;
  /** Whether an instruction is read beside the queries. */
  readonly use_qformer_text_input: boolean;
  /** Rows: learned queries, rows of the tower, words of an instruction. */
  readonly num_query_tokens: number;
  readonly num_encoder_rows: number;
  readonly num_words: number;
}

/** What the library's configuration classes say where a config says nothing (transformers 4.46.3). */
const schema = v.object({
  vocab_size: v.nullish(size, 30522),
  hidden_size: v.nullish(size, 768),
  intermediate_size: v.nullish(size, 3072),
  num_hidden_layers: v.nullish(size, 12),
  num_attention_heads: v.nullish(size, 12),
  hidden_act: v.nullish(v.string(), 'gelu'),
  layer_norm_eps: v.nullish(positive, 1e-12),
  max_position_embeddings: v.nullish(size, 512),
  cross_attention_frequency: v.nullish(size, 2),
  encoder_hidden_size: v.nullish(size, 1408),
  use_qformer_text_input: v.nullish(v.boolean()),
  num_query_tokens: v.nullish(size, 32),
  num_encoder_rows: v.nullish(size, 257),
  num_words: v.nullish(size, 32),
});

/** Reads the config of a Q-Former. Throws a UserError for what is contradictory. */
export function qFormerConfig(json: JsonObject, where = 'config.json'): QFormerConfig {
  const type = json['model_type'] ?? 'blip_2_qformer';
  if (type !== 'blip_2_qformer' && type !== 'instructblip_qformer') throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}; expected 'blip_2_qformer' or 'instructblip_qformer'.`);
  const f = readFields(schema, json, where);
  share(f.hidden_size, f.num_attention_heads, ['hidden_size', 'num_attention_heads'], where);
  return { ...f, model_type: type, hidden_act: checkActivation(f.hidden_act, 'hidden_act', where), use_qformer_text_input: f.use_qformer_text_input ?? type === 'instructblip_qformer' };
}
