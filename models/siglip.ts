/** SigLIP's vision tower (arXiv 2303.15343), with the tensor names of Hugging Face's `SiglipVisionModel`. */
import type { Given, Pictures, Rows, Sequence, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, Parameter, PatchEmbedding, asRows, attention, broadcast, linearPart, pictures, position, sequence } from 'eemllm';
import type { FeatureChoice } from './config/llava.ts';
import type { VisionConfig } from './config/vision.ts';
import { visionConfig } from './config/vision.ts';
import { VitEncoder, VitMLP, everything, wholePicture } from './vit.ts';

export class SiglipVisionEmbeddings extends Module<VisionConfig> {
  patch_embedding = new PatchEmbedding(this.cfg, 'hidden_size');
  position_embedding = new Embedding(this.cfg, 'num_positions', 'hidden_size');

  forward(pixels: Pictures, picture: Sequence<'patch'>): Tensor<'patch', 'hidden_size'> {
    const rows = this.patch_embedding.forward(pixels, picture, 'patch');
    return rows.add(this.position_embedding.forward(position(rows)));
  }
}

/** The attention-pooling head: a learned query reads all rows of a picture. Language models read the rows, not what it gives. */
export class SiglipPoolingHead extends Module<VisionConfig> {
  probe = new Parameter([1, 1, this.cfg.hidden_size], 'hidden_size', [this.cfg.hidden_size]);
  attention = {
    in_proj_weight: new Parameter([3 * this.cfg.hidden_size, this.cfg.hidden_size], 'hidden_size'),
    in_proj_bias: new Parameter([3 * this.cfg.hidden_size], 'qkv_size'),
    out_proj: new Linear(this.cfg, 'hidden_size', 'hidden_size'),
  };
  layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  mlp = new VitMLP(this.cfg);

  forward(x: Tensor<'patch', 'hidden_size'>): Tensor<'probe', 'hidden_size'> {
    const picture = sequence('pooling', { probe: 1, feature: this.cfg.num_patches }), { in_proj_weight, in_proj_bias, out_proj } = this.attention;
    const features = asRows(x, picture, 'feature');
    const project = <Kinds extends string>(rows: Tensor<Kinds, 'hidden_size'>, part: number) => linearPart(rows, in_proj_weight, in_proj_bias, { part, of: 3, width: 'hidden_size' });
    const [q, k, v] = [project(broadcast(this.probe, picture, 'probe'), 0), project(features, 1), project(features, 2)];
    const h = out_proj.forward(attention(q, k, v, { mask: wholePicture(picture), heads: this.cfg.num_attention_heads }));
    return h.add(this.mlp.forward(this.layernorm.forward(h)));
  }
}

export class SiglipVisionTransformer extends Module<VisionConfig> {
  embeddings = new SiglipVisionEmbeddings(this.cfg);
  encoder = new VitEncoder(this.cfg);
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  head = this.cfg.vision_use_head ? new SiglipPoolingHead(this.cfg) : undefined;

  forward(pixels: Pictures, { vision_feature_layer }: FeatureChoice): Rows<'hidden_size'> {
    const picture = sequence('patches', { patch: this.cfg.num_patches });
    const states = this.encoder.forward(this.embeddings.forward(pixels, picture), wholePicture(picture));
    // The library pools every picture, whoever reads it.
    this.head?.forward(this.post_layernorm.forward(states.at(-1)!));
    return states.at(vision_feature_layer)!;
  }
}

export class SiglipVisionModel extends Model<VisionConfig> {
  static override readConfig = visionConfig;
  inputs = { pixels: pictures(this.cfg) };
  vision_model = new SiglipVisionTransformer(this.cfg);

  forward({ pixels }: Given<SiglipVisionModel['inputs']>, choice: FeatureChoice = everything) {
    return this.vision_model.forward(pixels, choice);
  }
}
