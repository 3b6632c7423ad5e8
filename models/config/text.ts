import type { JsonObject, RopeScaling } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import { checkActivation } from '../activations.ts';
import { object, positive, readFields, share, size } from './fields.ts';

/** The feed-forward parts of a layer of experts, of which a router chooses some for each row. */
export interface ExpertsConfig {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly hidden_act: string;
  readonly num_local_experts: number;
  readonly num_experts_per_tok: number;
}

/** A Llama-like decoder with every size resolved. Names are Hugging Face's; `q_size` and `kv_size` are heads × head_dim. */
export interface LlamaConfig {
  readonly model_type: string;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly q_size: number;
  readonly kv_size: number;
  readonly hidden_act: string;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling?: RopeScaling;
  /** Bias of the query, key and value projections, of the output projection, and of the feed-forward matrices. */
  readonly qkv_bias: boolean;
  readonly o_bias: boolean;
  readonly mlp_bias: boolean;
  readonly tie_word_embeddings: boolean;
  readonly max_position_embeddings: number;
  /** How far back a row reads, itself included, in layers from `window_from_layer` on; absent if without limit. */
  readonly sliding_window?: number;
  readonly window_from_layer: number;
  /** Experts in place of each layer's feed-forward part (Mixtral). */
  readonly experts?: ExpertsConfig;
}

/** What the library's configuration classes say where a config says nothing (transformers 4.46.3). */
const defaults = {
  llama: { vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: null, max_position_embeddings: 2048, sliding_window: null, rms_norm_eps: 1e-6, rope_theta: 10000 },
  mistral: { vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 131072, sliding_window: 4096, rms_norm_eps: 1e-6, rope_theta: 10000 },
  mixtral: { vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 131072, sliding_window: null, rms_norm_eps: 1e-5, rope_theta: 1000000 },
  qwen2: { vocab_size: 151936, hidden_size: 4096, intermediate_size: 22016, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 32, max_position_embeddings: 32768, sliding_window: 4096, rms_norm_eps: 1e-6, rope_theta: 10000 },
} as const;
export const textModelTypes: readonly string[] = Object.keys(defaults);

const schema = (d: (typeof defaults)[keyof typeof defaults]) => v.object({
  vocab_size: v.nullish(size, d.vocab_size),
  hidden_size: v.nullish(size, d.hidden_size),
  intermediate_size: v.nullish(size, d.intermediate_size),
  num_hidden_layers: v.nullish(size, d.num_hidden_layers),
  num_attention_heads: v.nullish(size, d.num_attention_heads),
  // `null` means one key-value head for each head, in every family.
  num_key_value_heads: v.optional(v.nullable(size), d.num_key_value_heads),
  head_dim: v.nullish(size),
  hidden_act: v.nullish(v.string(), 'silu'),
  rms_norm_eps: v.nullish(positive, d.rms_norm_eps),
  rope_theta: v.nullish(positive, d.rope_theta),
  rope_scaling: v.nullish(v.unknown()),
  rope_parameters: v.nullish(v.unknown()),
  attention_bias: v.nullish(v.boolean(), false),
  mlp_bias: v.nullish(v.boolean(), false),
  tie_word_embeddings: v.nullish(v.boolean(), false),
  max_position_embeddings: v.nullish(size, d.max_position_embeddings),
  // `null` means no window; a key that is absent has the default.
  sliding_window: v.optional(v.nullable(size), d.sliding_window),
  use_sliding_window: v.nullish(v.boolean(), false),
  max_window_layers: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(0)), 28),
});

const expertsSchema = v.object({ num_local_experts: v.nullish(size, 8), num_experts_per_tok: v.nullish(size, 2) });

/** Reads the config of a decoder: `llama`, `mistral`, `mixtral` or `qwen2`. Throws a UserError for what is missing or contradictory. */
export function llamaConfig(json: JsonObject, where = 'config.json'): LlamaConfig {
  const type = json['model_type'] ?? 'llama';
  if (!(typeof type === 'string' && type in defaults)) throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}, a decoder that is not known here. Known are: ${textModelTypes.join(', ')}.`);
  const family = type as keyof typeof defaults, f = readFields(schema(defaults[family]), json, where);
  const heads = f.num_attention_heads, kv = f.num_key_value_heads ?? heads;
  const head_dim = f.head_dim ?? share(f.hidden_size, heads, ['hidden_size', 'num_attention_heads'], where);
  share(heads, kv, ['num_attention_heads', 'num_key_value_heads'], where);
  if (head_dim % 2) throw new UserError(`In ${where}, heads are ${head_dim} wide (head_dim); rotary embedding turns pairs of channels and needs an even width.`);
  const window = family === 'llama' || (family === 'qwen2' && !f.use_sliding_window) ? null : f.sliding_window;
  // Newer configs keep both in `rope_parameters`.
  const rope = f.rope_parameters ? object(f.rope_parameters, `'rope_parameters' of ${where}`) : undefined;
  const hidden_act = checkActivation(f.hidden_act, 'hidden_act', where), experts = family === 'mixtral' ? readFields(expertsSchema, json, where) : undefined;
  if (experts && experts.num_experts_per_tok > experts.num_local_experts) throw new UserError(`In ${where}, every token goes to ${experts.num_experts_per_tok} experts (num_experts_per_tok), and there are ${experts.num_local_experts} (num_local_experts). One of the two is wrong.`);
  const rope_scaling = ropeScaling(rope ?? f.rope_scaling, `'${rope ? 'rope_parameters' : 'rope_scaling'}' of ${where}`);
  return {
    model_type: family,
    vocab_size: f.vocab_size, hidden_size: f.hidden_size, intermediate_size: f.intermediate_size, num_hidden_layers: f.num_hidden_layers,
    num_attention_heads: heads, num_key_value_heads: kv, head_dim, q_size: heads * head_dim, kv_size: kv * head_dim,
    hidden_act, rms_norm_eps: f.rms_norm_eps,
    rope_theta: rope ? readFields(v.object({ rope_theta: v.nullish(positive, f.rope_theta) }), rope, where).rope_theta : f.rope_theta,
    ...(rope_scaling && { rope_scaling }),
    qkv_bias: family === 'qwen2' || f.attention_bias, o_bias: family !== 'qwen2' && f.attention_bias, mlp_bias: f.mlp_bias,
    tie_word_embeddings: f.tie_word_embeddings, max_position_embeddings: f.max_position_embeddings,
    // A window that no prompt outgrows is none.
    ...(window !== null && window < f.max_position_embeddings && { sliding_window: window }),
    window_from_layer: family === 'qwen2' ? f.max_window_layers : 0,
    ...(experts && { experts: { ...experts, hidden_size: f.hidden_size, intermediate_size: f.intermediate_size, hidden_act } }),
  };
}

const linearScaling = v.object({ factor: positive });
const llama3Scaling = v.object({ factor: positive, low_freq_factor: positive, high_freq_factor: positive, original_max_position_embeddings: size });

function ropeScaling(json: unknown, where: string): RopeScaling | undefined {
  if (json === null || json === undefined) return undefined;
  const fields = object(json, where), type = fields['rope_type'] ?? fields['type'] ?? 'default';
  if (type === 'default') return undefined;
  if (type === 'linear') return { type, ...readFields(linearScaling, fields, where) };
  if (type === 'llama3') return { type, ...readFields(llama3Scaling, fields, where) };
  throw new UserError(`${where} is of type ${JSON.stringify(type)}, which is not known here. Known are: default, linear, llama3.`);
}
