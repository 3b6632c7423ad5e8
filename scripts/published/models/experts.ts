/** Decoders some of whose feed-forward parts are experts: MoE-LLaVA (arXiv 2401.15947) and GShard (arXiv 2006.16668). */
import type { Given, JsonObject, Tensor } from 'eemllm';
import { Embedding, Linear, Model, Module, expertLinear, gelu_tanh, ids, mixExperts, relu, sequence, topK } from 'eemllm';
import type { PhiConfig } from 'eemllm/models';
import { Phi, phiConfig, published } from 'eemllm/models';

interface ExpertsConfig { readonly hidden_size: number; readonly intermediate_size: number; readonly num_experts: number; readonly num_experts_per_tok: number; readonly biases: boolean; readonly act: typeof relu }

class Expert extends Module<ExpertsConfig> {
  fc1 = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: this.cfg.biases });
  fc2 = new Linear(this.cfg, 'intermediate_size', 'hidden_size', { bias: this.cfg.biases });
  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>) { return this.fc2.forward(this.cfg.act(this.fc1.forward(x))); }
}

class Experts extends Module<ExpertsConfig> {
  gate = new Linear(this.cfg, 'hidden_size', 'num_experts', { bias: false });
  experts = Array.from({ length: this.cfg.num_experts }, () => new Expert(this.cfg));
  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>): Tensor<Kinds, 'hidden_size'> {
    const scores = this.gate.forward(x), chosen = topK(scores, this.cfg.num_experts_per_tok);
    return mixExperts(expertLinear(this.cfg.act(expertLinear(x, chosen, this.experts.map((e) => e.fc1))), chosen, this.experts.map((e) => e.fc2)), chosen, scores);
  }
}

/** MoE-LLaVA-2.7B×4-Top2 without its tower and projector: Phi-2 with four copies of the feed-forward part in every second layer. */
export class MoeLlava extends Phi {
  static override config: JsonObject = published['phi-2'];
  static override readConfig = phiConfig;
  constructor(cfg: PhiConfig) {
    super(cfg);
    const { hidden_size, intermediate_size } = cfg, experts = { hidden_size, intermediate_size, num_experts: 4, num_experts_per_tok: 2, biases: true, act: gelu_tanh };
    for (const layer of this.model.layers.filter((_, i) => i % 2 === 0)) Object.assign(layer, { mlp: new Experts(experts) });
  }
}

/** The 18 layers of experts of GShard's MoE(2048E, 36L), one after the other; two experts a row. */
export class GShard extends Model<{ readonly vocab_size: number; readonly hidden_size: number; readonly intermediate_size: number; readonly num_layers: number; readonly num_experts: number }> {
  static override config: JsonObject = { vocab_size: 64000, hidden_size: 1024, intermediate_size: 8192, num_layers: 18, num_experts: 2048 };
  inputs = { ids: ids(sequence('text'), 'text') };
  embed_tokens = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  layers = Array.from({ length: this.cfg.num_layers }, () => new Experts({ ...this.cfg, num_experts_per_tok: 2, biases: false, act: relu }));

  forward({ ids }: Given<GShard['inputs']>) {
    return this.layers.reduce((x, layer) => x.add(layer.forward(x)), this.embed_tokens.forward(ids));
  }
}
