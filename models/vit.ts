/** What CLIP's and SigLIP's towers share: the pre-norm encoder of a vision transformer (arXiv 2010.11929). */
import type { Mask, Sequence, Tensor } from 'eemllm';
import { LayerNorm, Linear, Module, attention, mask } from 'eemllm';
import { activation } from './activations.ts';
import type { FeatureChoice } from './config/llava.ts';
import type { VisionConfig } from './config/vision.ts';

/** Every row of a picture reads every other. */
export const wholePicture = <Kinds extends string>(picture: Sequence<Kinds>): Mask<Kinds> => mask(picture, () => true);

export class VitAttention extends Module<VisionConfig> {
  k_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  v_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  q_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  out_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');

  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>, mask: Mask<Kinds>) {
    const [q, k, v] = [this.q_proj.forward(x), this.k_proj.forward(x), this.v_proj.forward(x)];
    return this.out_proj.forward(attention(q, k, v, { mask, heads: this.cfg.num_attention_heads }));
  }
}

export class VitMLP extends Module<VisionConfig> {
  fc1 = new Linear(this.cfg, 'hidden_size', 'intermediate_size');
  fc2 = new Linear(this.cfg, 'intermediate_size', 'hidden_size');

  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>) {
    return this.fc2.forward(activation(this.cfg.hidden_act)(this.fc1.forward(x)));
  }
}

export class VitEncoderLayer extends Module<VisionConfig> {
  self_attn = new VitAttention(this.cfg);
  layer_norm1 = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  mlp = new VitMLP(this.cfg);
  layer_norm2 = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>, mask: Mask<Kinds>) {
    const h = x.add(this.self_attn.forward(this.layer_norm1.forward(x), mask));
    return h.add(this.mlp.forward(this.layer_norm2.forward(h)));
  }
}

export class VitEncoder extends Module<VisionConfig> {
  layers = Array.from({ length: this.cfg.num_hidden_layers }, () => new VitEncoderLayer(this.cfg));

  /** All hidden states: the input, then each layer's output. */
  forward<Kinds extends string>(x: Tensor<Kinds, 'hidden_size'>, mask: Mask<Kinds>) {
    const states = [x];
    for (const layer of this.layers) states.push(x = layer.forward(x, mask));
    return states;
  }
}

/** The last layer, every row: what a tower gives by itself. */
export const everything: FeatureChoice = { vision_feature_layer: -1, vision_feature_select_strategy: 'full' };
