/** Mixtral's experts (arXiv 2401.04088): a router sends each row through some of them, and adds up what they give. */
import type { Tensor } from 'eemllm';
import { Linear, Module, expertLinear, mixExperts, topK } from 'eemllm';
import { activation } from './activations.ts';
import type { ExpertsConfig } from './config/text.ts';

/** The weights of one expert: a gated feed-forward part, gate `w1`, up `w3`, down `w2`. */
export class Expert extends Module<ExpertsConfig> {
  w1 = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: false });
  w2 = new Linear(this.cfg, 'intermediate_size', 'hidden_size', { bias: false });
  w3 = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: false });
  /** The expert for every row. Layers of several take them together. */
  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>): Tensor<Kinds, 'hidden_size'> {
    return this.w2.forward(activation(this.cfg.hidden_act)(this.w1.forward(x)).mul(this.w3.forward(x)));
  }
}

export class SparseMoeBlock extends Module<ExpertsConfig> {
  gate = new Linear(this.cfg, 'hidden_size', 'num_local_experts', { bias: false });
  experts = Array.from({ length: this.cfg.num_local_experts }, () => new Expert(this.cfg));

  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>): Tensor<Kinds, 'hidden_size'> {
    const scores = this.gate.forward(x), chosen = topK(scores, this.cfg.num_experts_per_tok);
    const gate = expertLinear(x, chosen, this.experts.map((e) => e.w1)), up = expertLinear(x, chosen, this.experts.map((e) => e.w3));
    return mixExperts(expertLinear(activation(this.cfg.hidden_act)(gate).mul(up), chosen, this.experts.map((e) => e.w2)), chosen, scores);
  }
}
