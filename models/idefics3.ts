/** Idefics3 (arXiv 2408.12637) and SmolVLM (arXiv 2504.05299), with the tensor names of Hugging Face's checkpoints. */
import type { Given, Integers, JsonObject, Mask, PerLayer, Pictures, Tensor } from 'eemllm';
import { LayerNorm, Linear, Model, Module, asRows, ids, merge, pictures, pixelShuffle, sequence } from 'eemllm';
import type { TilingRule } from '../runtime/tiling/rule.ts';
import type { Idefics3Config } from './config/idefics3.ts';
import { idefics3Config } from './config/idefics3.ts';
import type { VisionConfig } from './config/vision.ts';
import { idefics3Layout } from './idefics3-tiles.ts';
import { LlamaModel } from './llama.ts';
import { causal } from './masks.ts';
import { published } from './published.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow } from './rules.ts';
import { SiglipVisionEmbeddings } from './siglip.ts';
import type { Hidden, Tokens } from './tokens.ts';
import { tokens } from './tokens.ts';
import { VitEncoder, wholePicture } from './vit.ts';

/**
 * SigLIP's tower with its last norm, for pictures of one size. The library finds the position embedding of a patch by the bucket
 * that its place in the picture, as a fraction, falls into. A tile fills the square that the tower was made for, and there
 * bucket i is patch i: positions are those of SigLIP. (In f32 that holds for the published 26, 27 and 32 patches a side, but
 * not for 25, 29 or 31; releases that scale the fractions by 1 - 1e-6 are a patch off.)
 */
export class Idefics3VisionTransformer extends Module<VisionConfig> {
  embeddings = new SiglipVisionEmbeddings(this.cfg);
  encoder = new VitEncoder(this.cfg);
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward(pixels: Pictures): Tensor<'patch', 'hidden_size'> {
    const picture = sequence('patches', { patch: this.cfg.num_patches });
    return this.post_layernorm.forward(this.encoder.forward(this.embeddings.forward(pixels, picture), wholePicture(picture)).at(-1)!);
  }
}

/** Blocks of patches side by side, brought to the decoder's width: the visual tokens. */
export class Idefics3Connector extends Module<Idefics3Config> {
  modality_projection = { proj: new Linear(this.cfg, 'shuffled_size', 'hidden_size', { bias: false }) };

  forward(features: Tensor<'patch', 'hidden_size'>): Tensor<'visual', 'hidden_size'> {
    const blocks = sequence('blocks', { block: this.cfg.num_visual_tokens });
    const shuffled = pixelShuffle(features, this.cfg.scale_factor, blocks, 'block', 'shuffled_size');
    return this.modality_projection.proj.forward(asRows(shuffled, tokens, 'visual'));
  }
}

export class Idefics3Model extends Module<Idefics3Config> {
  vision_model = new Idefics3VisionTransformer(this.cfg.vision_config);
  connector = new Idefics3Connector(this.cfg);
  text_model = new LlamaModel(this.cfg.text_config);

  forward(pixels: Pictures, ids: Integers<'text'>, rules: Rules): Hidden {
    const visual = this.connector.forward(this.vision_model.forward(pixels));
    return this.text_model.forward(merge(visual, this.text_model.embed_tokens.forward(ids)), rules);
  }
}

/** A picture of any size is several tiles, each of them a picture to the tower (idefics3-tiles.ts). */
export class Idefics3 extends Model<Idefics3Config> implements Rules {
  static override config: JsonObject = published['smolvlm-256m'];
  static override readConfig = idefics3Config;
  static override imageLayout = idefics3Layout;
  static override tiling = ({ tiles: { tile_size, do_resize, longest_edge, do_image_splitting, fake_image_token, global_image_token } }: Idefics3Config): TilingRule =>
    ({ rule: 'tile_grid', tile_size, do_resize, longest_edge, do_image_splitting, fake_image_token, global_image_token });
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(tokens, 'text') };
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;
  keep: PerLayer<KeepRule> = allRows;

  model = new Idefics3Model(this.cfg);
  lm_head = new Linear(this.cfg.text_config, 'hidden_size', 'vocab_size', {
    bias: false, weight: this.cfg.text_config.tie_word_embeddings ? this.model.text_model.embed_tokens.weight : undefined,
  });

  get layerCount() { return this.cfg.text_config.num_hidden_layers; }

  forward({ pixels, ids }: Given<Idefics3['inputs']>) {
    return this.lm_head.forward(this.model.forward(pixels, ids, this));
  }
}
