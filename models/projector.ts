import type { Tensor } from 'eemllm';
import { Linear, Module } from 'eemllm';
import { activation } from './activations.ts';
import type { LlavaConfig } from './config/llava.ts';

/** LLaVA-1.5's projector (arXiv 2310.03744): two linear maps from the tower's width to the decoder's. */
export class Projector extends Module<LlavaConfig> {
  linear_1 = new Linear(this.cfg, 'vision_hidden_size', 'hidden_size', { bias: this.cfg.multimodal_projector_bias });
  linear_2 = new Linear(this.cfg, 'hidden_size', 'hidden_size', { bias: this.cfg.multimodal_projector_bias });

  forward<Kinds extends string>(x: Tensor<Kinds, 'vision_hidden_size'>) {
    return this.linear_2.forward(activation(this.cfg.projector_hidden_act)(this.linear_1.forward(x)));
  }
}
