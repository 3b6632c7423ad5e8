/** CLIP's vision tower (arXiv 2103.00020), with the tensor names of Hugging Face's `CLIPVisionModel`. */
import type { Given, Pictures, Rows, Sequence, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, PatchEmbedding, broadcast, merge, parameter, pictures, position, sequence } from 'eemllm';
import type { FeatureChoice } from './config/llava.ts';
import type { VisionConfig } from './config/vision.ts';
import { clipProjectionConfig, visionConfig } from './config/vision.ts';
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
  // For CLIP's own pooled output; language models do not read it.
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward(pixels: Pictures, { vision_feature_layer, vision_feature_select_strategy }: FeatureChoice): Rows<'hidden_size'> {
    const features = this.states(pixels).at(vision_feature_layer)!;
    return vision_feature_select_strategy === 'default' ? features.rows('patch') : features;
  }
  /** The class row of the last layer: the whole picture in one vector. */
  pooled(pixels: Pictures): Tensor<'class', 'hidden_size'> { return this.post_layernorm.forward(this.states(pixels).at(-1)!.rows('class')); }

  private states(pixels: Pictures): Tensor<ClipRows, 'hidden_size'>[] {
    const picture = sequence('patches', { class: 1, patch: this.cfg.num_patches });
    return this.encoder.forward(this.pre_layrnorm.forward(this.embeddings.forward(pixels, picture)), wholePicture(picture));
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

/** The tower as CLIP was trained: its pooled output, projected to the space that pictures and texts share. */
export class ClipVisionModelWithProjection extends Model<VisionConfig & { readonly projection_dim: number }> {
  static override readConfig = clipProjectionConfig;
  inputs = { pixels: pictures(this.cfg) };
  vision_model = new ClipVisionTransformer(this.cfg);
  visual_projection = new Linear(this.cfg, 'hidden_size', 'projection_dim', { bias: false });

  forward({ pixels }: Given<ClipVisionModelWithProjection['inputs']>) { return this.visual_projection.forward(this.vision_model.pooled(pixels)); }
}
