/** CLIP's vision tower (arXiv 2103.00020), with the tensor names of Hugging Face's `CLIPVisionModel`. */
import type { Given, Pictures, Rows, Sequence, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Model, Module, PatchEmbedding, broadcast, merge, parameter, pictures, position, sequence } from 'eemllm';
import type { FeatureChoice } from './config/llava.ts';
import type { VisionConfig } from './config/vision.ts';
import { visionConfig } from './config/vision.ts';
import { VitEncoder, everything, wholePicture } from './vit.ts';

type ClipRows = 'class' | 'patch';

export class ClipVisionEmbeddings extends Module<VisionConfig> {
  class_embedding = parameter(this.cfg, 'hidden_size');
  patch_embedding = new PatchEmbedding(this.cfg, 'hidden_size', { bias: false });
  position_embedding = new Embedding(this.cfg, 'num_positions', 'hidden_size');

  forward(pixels: Pictures, picture: Sequence<ClipRows>): Tensor<ClipRows, 'hidden_size'> {
    const rows = merge(broadcast(this.class_embedding, picture, 'class'), this.patch_embedding.forward(pixels, picture, 'patch'));
    return rows.add(this.position_embedding.forward(position(rows)));
  }
}

export class ClipVisionTransformer extends Module<VisionConfig> {
  embeddings = new ClipVisionEmbeddings(this.cfg);
  // The library's spelling, and so every checkpoint's.
  pre_layrnorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  encoder = new VitEncoder(this.cfg);
  // For CLIP's own pooled output; nothing here reads it.
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward(pixels: Pictures, { vision_feature_layer, vision_feature_select_strategy }: FeatureChoice): Rows<'hidden_size'> {
    const picture = sequence('patches', { class: 1, patch: this.cfg.num_patches });
    const x = this.pre_layrnorm.forward(this.embeddings.forward(pixels, picture));
    const features = this.encoder.forward(x, wholePicture(picture)).at(vision_feature_layer)!;
    return vision_feature_select_strategy === 'default' ? features.rows('patch') : features;
  }
}

export class ClipVisionModel extends Model<VisionConfig> {
  static override readConfig = visionConfig;
  inputs = { pixels: pictures(this.cfg) };
  vision_model = new ClipVisionTransformer(this.cfg);

  forward({ pixels }: Given<ClipVisionModel['inputs']>, choice: FeatureChoice = everything) {
    return this.vision_model.forward(pixels, choice);
  }
}
