/** Idefics2 (arXiv 2405.02246), with the tensor names of Hugging Face's checkpoints. */
import type { Given, ImageLayout, Integers, JsonObject, Mask, PerLayer, PictureRows, PictureSize, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, PatchEmbedding, RMSNorm, asRows, attention, ids, learnedRows, mask, merge, parameter, pictureRows, sequence } from 'eemllm';
import type { TilingRule } from '../runtime/tiling/rule.ts';
import { nativeCrops, nativeSize, patchGrid } from '../runtime/tiling/native-resolution.ts';
import { activation } from './activations.ts';
import type { Idefics2Config, ModalityProjectionConfig, PerceiverConfig } from './config/idefics2.ts';
import { idefics2Config } from './config/idefics2.ts';
import { LlamaModel } from './llama.ts';
import { causal } from './masks.ts';
import { published } from './published.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow } from './rules.ts';
import type { Hidden, Tokens } from './tokens.ts';
import { tokens } from './tokens.ts';
import { VitEncoder, wholePicture } from './vit.ts';

type TowerConfig = Idefics2Config['vision_config'];
/** One picture of any size: its patches, as many as there are. */
const picture = sequence('patches', { patch: 'P' });

/** SigLIP's embeddings; a patch has the learned position of its place in the picture, as a fraction (runtime/tiling/native-resolution.ts). */
export class Idefics2VisionEmbeddings extends Module<TowerConfig> {
  patch_embedding = new PatchEmbedding(this.cfg, 'hidden_size');
  position_embedding = new Embedding(this.cfg, 'num_positions', 'hidden_size');

  forward({ rows, numbers }: PictureRows<'patch', 'patch_values'>): Tensor<'patch', 'hidden_size'> {
    return this.patch_embedding.forward(rows).add(this.position_embedding.forward(numbers));
  }
}

export class Idefics2VisionTransformer extends Module<TowerConfig> {
  embeddings = new Idefics2VisionEmbeddings(this.cfg);
  encoder = new VitEncoder(this.cfg);
  post_layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });

  forward(pixels: PictureRows<'patch', 'patch_values'>): Tensor<'patch', 'hidden_size'> {
    return this.post_layernorm.forward(this.encoder.forward(this.embeddings.forward(pixels), wholePicture(picture)).at(-1)!);
  }
}

/** From the tower's width to the decoder's. */
export class Idefics2ModalityProjection extends Module<ModalityProjectionConfig> {
  gate_proj = new Linear(this.cfg, 'vision_hidden_size', 'intermediate_size', { bias: false });
  up_proj = new Linear(this.cfg, 'vision_hidden_size', 'intermediate_size', { bias: false });
  down_proj = new Linear(this.cfg, 'intermediate_size', 'hidden_size', { bias: false });

  forward<Kinds extends string>(x: Tensor<Kinds, 'vision_hidden_size'>): Tensor<Kinds, 'hidden_size'> {
    return this.down_proj.forward(activation(this.cfg.hidden_act)(this.gate_proj.forward(x)).mul(this.up_proj.forward(x)));
  }
}

/** Latents, and the rows of one picture that they read. */
type Resampled = 'feature' | 'latent';
const resampling = (latents: number) => sequence('resampling', { feature: 'P', latent: latents });

export class Idefics2PerceiverAttention extends Module<PerceiverConfig> {
  q_proj = new Linear(this.cfg, 'hidden_size', 'q_size', { bias: false });
  k_proj = new Linear(this.cfg, 'hidden_size', 'kv_size', { bias: false });
  v_proj = new Linear(this.cfg, 'hidden_size', 'kv_size', { bias: false });
  o_proj = new Linear(this.cfg, 'q_size', 'hidden_size', { bias: false });

  forward(latents: Tensor<'latent', 'hidden_size'>, context: Tensor<'feature', 'hidden_size'>, mask: Mask<Resampled>): Tensor<'latent', 'hidden_size'> {
    const all = merge(context, latents);
    return this.o_proj.forward(attention(this.q_proj.forward(latents), this.k_proj.forward(all), this.v_proj.forward(all), { mask, heads: this.cfg.resampler_n_heads, kv_heads: this.cfg.num_key_value_heads }));
  }
}

export class Idefics2PerceiverMLP extends Module<PerceiverConfig> {
  gate_proj = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: false });
  up_proj = new Linear(this.cfg, 'hidden_size', 'intermediate_size', { bias: false });
  down_proj = new Linear(this.cfg, 'intermediate_size', 'hidden_size', { bias: false });

  forward(x: Tensor<'latent', 'hidden_size'>): Tensor<'latent', 'hidden_size'> {
    return this.down_proj.forward(activation(this.cfg.hidden_act)(this.gate_proj.forward(x)).mul(this.up_proj.forward(x)));
  }
}

export class Idefics2PerceiverLayer extends Module<PerceiverConfig> {
  input_latents_norm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });
  input_context_norm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });
  self_attn = new Idefics2PerceiverAttention(this.cfg);
  post_attention_layernorm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });
  mlp = new Idefics2PerceiverMLP(this.cfg);

  forward(latents: Tensor<'latent', 'hidden_size'>, context: Tensor<'feature', 'hidden_size'>, mask: Mask<Resampled>): Tensor<'latent', 'hidden_size'> {
    const h = latents.add(this.self_attn.forward(this.input_latents_norm.forward(latents), this.input_context_norm.forward(context), mask));
    return h.add(this.mlp.forward(this.post_attention_layernorm.forward(h)));
  }
}

/** The perceiver resampler (arXiv 2204.14198): as many rows for every picture as there are latents. */
export class Idefics2PerceiverResampler extends Module<PerceiverConfig> {
  latents = parameter(this.cfg, 'resampler_n_latents', 'hidden_size');
  layers = Array.from({ length: this.cfg.resampler_depth }, () => new Idefics2PerceiverLayer(this.cfg));
  norm = new RMSNorm(this.cfg, 'hidden_size', { eps: this.cfg.rms_norm_eps });

  forward(features: Tensor<'patch', 'hidden_size'>): Tensor<'latent', 'hidden_size'> {
    const rows = resampling(this.cfg.resampler_n_latents), everything = mask(rows, () => true), context = asRows(features, rows, 'feature');
    let x = learnedRows(this.latents, rows, 'latent');
    for (const layer of this.layers) x = layer.forward(x, context, everything);
    return this.norm.forward(x);
  }
}

export class Idefics2Connector extends Module<Idefics2Config> {
  modality_projection = new Idefics2ModalityProjection(this.cfg.projection);
  perceiver_resampler = new Idefics2PerceiverResampler(this.cfg.perceiver_config);

  forward(features: Tensor<'patch', 'hidden_size'>): Tensor<'visual', 'hidden_size'> {
    return asRows(this.perceiver_resampler.forward(this.modality_projection.forward(features.named(this.cfg.projection, 'vision_hidden_size'))), tokens, 'visual');
  }
}

export class Idefics2Model extends Module<Idefics2Config> {
  vision_model = new Idefics2VisionTransformer(this.cfg.vision_config);
  connector = new Idefics2Connector(this.cfg);
  text_model = new LlamaModel(this.cfg.text_config);

  forward(pixels: PictureRows<'patch', 'patch_values'>, ids: Integers<'text'>, rules: Rules): Hidden {
    const visual = this.connector.forward(this.vision_model.forward(pixels));
    return this.text_model.forward(merge(visual, this.text_model.embed_tokens.forward(ids)), rules);
  }
}

/** Each picture of a split one is an image by itself to the masks, as text stands between them. */
export class Idefics2 extends Model<Idefics2Config> implements Rules {
  static override config: JsonObject = published['idefics2-8b'];
  static override readConfig = idefics2Config;
  static override imageLayout = ({ pictures, perceiver_config, fake_image_tokens }: Idefics2Config, size: PictureSize): ImageLayout => {
    const patches = nativeCrops(pictures, size).map((crop) => { const { rows, columns } = patchGrid(pictures, nativeSize(pictures, crop)); return rows * columns; });
    return { tiles: patches.length, images: patches.length, visual: patches.length * perceiver_config.resampler_n_latents, text: (patches.length + 1) * fake_image_tokens, towerRows: patches };
  };
  static override tiling = ({ pictures }: Idefics2Config): TilingRule => ({ rule: 'native_resolution', ...pictures });
  inputs = { pixels: pictureRows(picture, 'patch', this.cfg.vision_config, 'patch_values'), ids: ids(tokens, 'text') };
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;
  keep: PerLayer<KeepRule> = allRows;

  model = new Idefics2Model(this.cfg);
  lm_head = new Linear(this.cfg.text_config, 'hidden_size', 'vocab_size', {
    bias: false, weight: this.cfg.text_config.tie_word_embeddings ? this.model.text_model.embed_tokens.weight : undefined,
  });

  get layerCount() { return this.cfg.text_config.num_hidden_layers; }

  forward({ pixels, ids }: Given<Idefics2['inputs']>) {
    return this.lm_head.forward(this.model.forward(pixels, ids, this));
  }
}
