/** GPT-3 175B (arXiv 2005.14165) with LoRA (arXiv 2106.09685) of rank 1 beside its query and value projections. */
import type { Given, JsonObject, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, attention, gelu_tanh, ids, mask, position, sequence } from 'eemllm';

interface Config { readonly vocab_size: number; readonly n_positions: number; readonly hidden_size: number; readonly intermediate_size: number; readonly num_layers: number; readonly heads: number; readonly rank: number }
type Hidden = Tensor<'text', 'hidden_size'>;
const words = sequence('text');
const causal = mask(words, (q, k) => k.pos <= q.pos);

/** W x + B A x. */
class LoraLinear extends Module<Config> {
  base = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  lora_A = new Linear(this.cfg, 'hidden_size', 'rank', { bias: false });
  lora_B = new Linear(this.cfg, 'rank', 'hidden_size', { bias: false });
  forward(x: Hidden): Hidden { return this.base.forward(x).add(this.lora_B.forward(this.lora_A.forward(x))); }
}

class Block extends Module<Config> {
  ln_1 = new LayerNorm(this.cfg, 'hidden_size', { eps: 1e-5 });
  q_proj = new LoraLinear(this.cfg);
  k_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  v_proj = new LoraLinear(this.cfg);
  out_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  ln_2 = new LayerNorm(this.cfg, 'hidden_size', { eps: 1e-5 });
  c_fc = new Linear(this.cfg, 'hidden_size', 'intermediate_size');
  c_proj = new Linear(this.cfg, 'intermediate_size', 'hidden_size');

  forward(x: Hidden): Hidden {
    const n = this.ln_1.forward(x);
    const h = x.add(this.out_proj.forward(attention(this.q_proj.forward(n), this.k_proj.forward(n), this.v_proj.forward(n), { mask: causal, heads: this.cfg.heads })));
    return h.add(this.c_proj.forward(gelu_tanh(this.c_fc.forward(this.ln_2.forward(h)))));
  }
}

export class Gpt3Lora extends Model<Config> {
  static override config: JsonObject = { vocab_size: 50257, n_positions: 2048, hidden_size: 12288, intermediate_size: 49152, num_layers: 96, heads: 96, rank: 1 };
  inputs = { ids: ids(words, 'text') };
  wte = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  wpe = new Embedding(this.cfg, 'n_positions', 'hidden_size');
  layers = Array.from({ length: this.cfg.num_layers }, () => new Block(this.cfg));
  ln_f = new LayerNorm(this.cfg, 'hidden_size', { eps: 1e-5 });
  lm_head = new Linear(this.cfg, 'hidden_size', 'vocab_size', { bias: false, weight: this.wte.weight });

  forward({ ids }: Given<Gpt3Lora['inputs']>) {
    let x = this.wte.forward(ids);
    x = x.add(this.wpe.forward(position(x)));
    for (const layer of this.layers) x = layer.forward(x);
    return this.lm_head.forward(this.ln_f.forward(x));
  }
}
