/** SigLIP's vision tower (arXiv 2303.15343), with the tensor names of Hugging Face's `SiglipVisionModel`. */
import type { Given, Pictures, Rows, Sequence, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, Parameter, PatchEmbedding, pictures, position, sequence } from 'eemllm';
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

/** The parameters of the attention-pooling head. Language models read rows, not the pooled vector, so nothing reads them. */
const poolingHead = (cfg: VisionConfig) => {
  const width = cfg.hidden_size;
  return {
    probe: new Parameter([1, 1, width], 'hidden_size'),
    attention: {
      in_proj_weight: new Parameter([3 * width, width], 'hidden_size'),
      in_proj_bias: new Parameter([3 * width], 'qkv_size'),
      out_proj: new Linear(cfg, 'hidden_size', 'hidden_size'),
    },
    layernorm: new LayerNorm(cfg, 'hidden_size', { eps: cfg.layer_norm_eps }),
    mlp: new VitMLP(cfg),
  };
};

export class SiglipVisionTransformer extends Module<VisionConfig> {
  embeddings = new SiglipVisionEmbeddings(this.cfg);
  encoder = new VitEncoder(this.cfg);
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  head = this.cfg.vision_use_head ? poolingHead(this.cfg) : undefined;

  forward(pixels: Pictures, { vision_feature_layer }: FeatureChoice): Rows<'hidden_size'> {
    const picture = sequence('patches', { patch: this.cfg.num_patches });
    return this.encoder.forward(this.embeddings.forward(pixels, picture), wholePicture(picture)).at(vision_feature_layer)!;
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
