/** Phi's decoder (arXiv 2309.05463; Phi-2): attention and feed-forward side by side behind one norm, biases everywhere. */
import type { Given, JsonObject, Mask, PerLayer } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, atLayer, attention, embeddings, ids, merge, position, rope } from 'eemllm';
import { activation } from './activations.ts';
import type { PhiConfig } from './config/phi.ts';
import { phiConfig } from './config/phi.ts';
import { causal } from './masks.ts';
import { published } from './published.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow } from './rules.ts';
import type { Hidden, Tokens } from './tokens.ts';
import { tokens } from './tokens.ts';

export class PhiAttention extends Module<PhiConfig> {
  q_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  k_proj = new Linear(this.cfg, 'hidden_size', 'kv_size');
  v_proj = new Linear(this.cfg, 'hidden_size', 'kv_size');
  dense = new Linear(this.cfg, 'hidden_size', 'hidden_size');

  forward(x: Hidden, mask: Mask<Tokens>): Hidden {
    const { num_attention_heads: heads, num_key_value_heads: kv_heads, rope_theta: theta, rotary_dim: rotated } = this.cfg;
    const positions = position(x);
    const q = rope(this.q_proj.forward(x), positions, { heads, theta, rotated });
    const k = rope(this.k_proj.forward(x), positions, { heads: kv_heads, theta, rotated });
    return this.dense.forward(attention(q, k, this.v_proj.forward(x), { mask, heads, kv_heads }));
  }
}

export class PhiMLP extends Module<PhiConfig> {
  fc1 = new Linear(this.cfg, 'hidden_size', 'intermediate_size');
  fc2 = new Linear(this.cfg, 'intermediate_size', 'hidden_size');
  forward(x: Hidden): Hidden { return this.fc2.forward(activation(this.cfg.hidden_act)(this.fc1.forward(x))); }
}

export class PhiDecoderLayer extends Module<PhiConfig> {
  input_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  self_attn = new PhiAttention(this.cfg);
  mlp = new PhiMLP(this.cfg);

  forward(x: Hidden, mask: Mask<Tokens>, rewrite: RowRule): Hidden {
    return rewrite(x, (x) => {
      const h = this.input_layernorm.forward(x);
      return x.add(this.self_attn.forward(h, mask)).add(this.mlp.forward(h));
    });
  }
}

export class PhiModel extends Module<PhiConfig> {
  embed_tokens = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  layers = Array.from({ length: this.cfg.num_hidden_layers }, () => new PhiDecoderLayer(this.cfg));
  final_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward(x: Hidden, { mask, rewrite, keep }: Rules): Hidden {
    const count = this.layers.length;
    for (const [i, layer] of this.layers.entries()) x = layer.forward(atLayer(keep, i, count)(x), atLayer(mask, i, count), atLayer(rewrite, i, count));
    return this.final_layernorm.forward(x);
  }
}

export class Phi extends Model<PhiConfig> implements Rules {
  static override config: JsonObject = published['phi-2'];
  static override readConfig = phiConfig;
  inputs = { ids: ids(tokens, 'text'), visual_embeds: embeddings(tokens, 'visual', this.cfg, 'hidden_size') };
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;
  keep: PerLayer<KeepRule> = allRows;

  model = new PhiModel(this.cfg);
  lm_head = new Linear(this.cfg, 'hidden_size', 'vocab_size');

  get layerCount() { return this.cfg.num_hidden_layers; }

  forward({ ids, visual_embeds }: Given<Phi['inputs']>) {
    return this.lm_head.forward(this.model.forward(merge(visual_embeds, this.model.embed_tokens.forward(ids)), this));
  }
}
