import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import { checkActivation } from '../activations.ts';
import { positive, readFields, share, size } from './fields.ts';

/** A Phi decoder with every size resolved. Names are Hugging Face's; `kv_size` is key-value heads × the width of a head. */
export interface PhiConfig {
  readonly model_type: 'phi';
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly kv_size: number;
  /** Channels of each head that are rotated. */
  readonly rotary_dim: number;
  readonly rope_theta: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
}

/** What the library's configuration class says where a config says nothing (transformers 4.46.3). */
const schema = v.object({
  vocab_size: v.nullish(size, 51200),
  hidden_size: v.nullish(size, 2048),
  intermediate_size: v.nullish(size, 8192),
  num_hidden_layers: v.nullish(size, 24),
  num_attention_heads: v.nullish(size, 32),
  num_key_value_heads: v.nullish(size),
  partial_rotary_factor: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(1)), 0.5),
  rope_theta: v.nullish(positive, 10000),
  hidden_act: v.nullish(v.string(), 'gelu_new'),
  layer_norm_eps: v.nullish(positive, 1e-5),
  qk_layernorm: v.nullish(v.boolean(), false),
  rope_scaling: v.nullish(v.unknown()),
  tie_word_embeddings: v.nullish(v.boolean(), false),
});

/** Reads the config of a Phi decoder. Throws a UserError for what is missing or contradictory. */
export function phiConfig(json: JsonObject, where = 'config.json'): PhiConfig {
  const type = json['model_type'] ?? 'phi';
  if (type !== 'phi') throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}; expected 'phi'.`);
  const { partial_rotary_factor, qk_layernorm, rope_scaling, tie_word_embeddings, ...f } = readFields(schema, json, where);
  if (qk_layernorm) throw new UserError(`'qk_layernorm' of ${where} is true; norms of queries and keys are not known here. Expected false.`);
  if (tie_word_embeddings) throw new UserError(`'tie_word_embeddings' of ${where} is true; a Phi has a head of its own, with a bias. Expected false.`);
  if (rope_scaling !== null && rope_scaling !== undefined) throw new UserError(`'rope_scaling' of ${where} is ${JSON.stringify(rope_scaling)}; stretched rotary embeddings of a Phi are not known here. Expected null.`);
  const head = share(f.hidden_size, f.num_attention_heads, ['hidden_size', 'num_attention_heads'], where), kv = f.num_key_value_heads ?? f.num_attention_heads;
  share(f.num_attention_heads, kv, ['num_attention_heads', 'num_key_value_heads'], where);
  const rotary_dim = Math.floor(head * partial_rotary_factor);
  if (rotary_dim % 2 || !rotary_dim) throw new UserError(`In ${where}, ${rotary_dim} of the ${head} channels of a head are rotated (partial_rotary_factor ${partial_rotary_factor}); rotary embedding turns pairs of channels and needs an even number.`);
  return { ...f, model_type: 'phi', num_key_value_heads: kv, kv_size: kv * head, rotary_dim, hidden_act: checkActivation(f.hidden_act, 'hidden_act', where) };
}
