/** Llama's decoder (arXiv 2302.13971) and its kin: Vicuna, Mistral, Mixtral and Qwen2 differ in their configs alone. */
import type { Given, JsonObject, Mask, PerLayer, Tensor } from 'eemllm';
import { Embedding, Linear, Model, Module, RMSNorm, allOf, atLayer, attention, embeddings, ids, merge, position, rope } from 'eemllm';
import { activation } from './activations.ts';
import type { LlamaConfig } from './config/text.ts';
import { llamaConfig } from './config/text.ts';
import { causal, slidingWindow } from './masks.ts';
import { SparseMoeBlock } from './mixtral.ts';
import { published } from './published.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow } from './rules.ts';
import type { Hidden, Tokens } from './tokens.ts';
import { tokens } from './tokens.ts';

export class LlamaAttention extends Module<LlamaConfig> {
  q_proj = new Linear(this.cfg, 'hidden_size', 'q_size', { bias: this.cfg.qkv_bias });
  k_proj = new Linear(this.cfg, 'hidden_size', 'kv_size', { bias: this.cfg.qkv_bias });
  v_proj = new Linear(this.cfg, 'hidden_size', 'kv_size', { bias: this.cfg.qkv_bias });
  o_proj = new Linear(this.cfg, 'q_size', 'hidden_size', { bias: this.cfg.o_bias });

  forward<All extends string, Kinds extends All>(x: Tensor<Kinds, 'hidden_size'>, mask: Mask<All>): Tensor<Kinds, 'hidden_size'> {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads, rope_theta: theta, rope_scaling: scaling } = this.cfg;
    const positions = position(x);
    const q = rope(this.q_proj.forward(x), positions, { heads, theta, scaling });
    const k = rope(this.k_proj.forward(x), positions, { heads: kv_heads, theta, scaling });
    const v = this.v_proj.forward(x);
    return this.o_proj.forward(attention(q, k, v, { mask, heads, kv_heads }));
  }
}

export class LlamaMLP extends Module<LlamaConfig> {
  gate_proj = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: this.cfg.mlp_bias });
  up_proj = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: this.cfg.mlp_bias });
  down_proj = new Linear(this.cfg, 'intermediate_size', 'hidden_size', { bias: this.cfg.mlp_bias });

  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>): Tensor<Kinds, 'hidden_size'> {
    const act = activation(this.cfg.hidden_act);
    return this.down_proj.forward(act(this.gate_proj.forward(x)).mul(this.up_proj.forward(x)));
  }
}

export class LlamaDecoderLayer extends Module<LlamaConfig> {
  self_attn = new LlamaAttention(this.cfg);
  mlp = this.cfg.experts ? undefined : new LlamaMLP(this.cfg);
  block_sparse_moe = this.cfg.experts && new SparseMoeBlock(this.cfg.experts);
  input_layernorm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });
  post_attention_layernorm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });

  forward(x: Hidden, mask: Mask<Tokens>, rewrite: RowRule): Hidden {
    const h = rewrite(x, (x) => x.add(this.self_attn.forward(this.input_layernorm.forward(x), mask)));
    const feedForward = (this.mlp ?? this.block_sparse_moe)!;
    return rewrite(h, (h) => h.add(feedForward.forward(this.post_attention_layernorm.forward(h))));
  }
}

export class LlamaModel extends Module<LlamaConfig> {
  embed_tokens = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  layers = Array.from({ length: this.cfg.num_hidden_layers }, () => new LlamaDecoderLayer(this.cfg));
  norm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });

  forward(x: Hidden, { mask, rewrite, keep }: Rules): Hidden {
    const { sliding_window, window_from_layer } = this.cfg, count = this.layers.length;
    const window = sliding_window === undefined ? undefined : slidingWindow(sliding_window);
    for (const [i, layer] of this.layers.entries()) {
      const own = atLayer(mask, i, count);
      x = atLayer(keep, i, count)(x);
      x = layer.forward(x, window && i >= window_from_layer ? allOf(own, window) : own, atLayer(rewrite, i, count));
    }
    return this.norm.forward(x);
  }
}

/** The language model: token ids, and embeddings of visual tokens where there are any, to logits. */
export class Llama extends Model<LlamaConfig> implements Rules {
  static override config: JsonObject = published['vicuna-7b'];
  static override readConfig = llamaConfig;
  inputs = { ids: ids(tokens, 'text'), visual_embeds: embeddings(tokens, 'visual', this.cfg, 'hidden_size') };
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;
  keep: PerLayer<KeepRule> = allRows;

  model = new LlamaModel(this.cfg);
  lm_head = new Linear(this.cfg, 'hidden_size', 'vocab_size', {
    bias: false, weight: this.cfg.tie_word_embeddings ? this.model.embed_tokens.weight : undefined,
  });

  get layerCount() { return this.cfg.num_hidden_layers; }

  forward({ ids, visual_embeds }: Given<Llama['inputs']>, rules: Rules = this) {
    const text = this.model.embed_tokens.forward(ids);
    return this.lm_head.forward(this.model.forward(merge(visual_embeds, text), rules));
  }
}
