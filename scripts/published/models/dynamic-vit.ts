/**
 * DynamicViT (arXiv 2106.02034) on DeiT-S: before blocks 3, 6 and 9 a predictor chooses the 70 % of the patches that go on.
 * Its predictors, small beside the blocks, are left out.
 */
import type { Given, JsonObject } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, PatchEmbedding, broadcast, merge, parameter, pictures, position, sequence } from 'eemllm';
import type { VisionConfig } from 'eemllm/models';
import { VitEncoderLayer, visionConfig, wholePicture } from 'eemllm/models';

interface Config extends VisionConfig { readonly num_labels: number; readonly stages: readonly number[]; readonly keep: number }

export class DynamicViT extends Model<Config> {
  static override config: JsonObject = { hidden_size: 384, intermediate_size: 1536, num_hidden_layers: 12, num_attention_heads: 6, image_size: 224, patch_size: 16, hidden_act: 'gelu' };
  static override readConfig = (json: JsonObject, where?: string): Config => ({ ...visionConfig(json, where), num_labels: 1000, stages: [3, 6, 9], keep: 0.7 });
  inputs = { pixels: pictures(this.cfg) };
  cls_token = parameter(this.cfg, 'hidden_size');
  patch_embed = new PatchEmbedding(this.cfg, 'hidden_size');
  pos_embed = new Embedding(this.cfg, 'num_positions', 'hidden_size');
  blocks = Array.from({ length: this.cfg.num_hidden_layers }, () => new VitEncoderLayer(this.cfg));
  norm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  head = new Linear(this.cfg, 'hidden_size', 'num_labels');

  forward({ pixels }: Given<DynamicViT['inputs']>) {
    const picture = sequence('patches', { class: 1, patch: this.cfg.num_patches });
    let x = merge(broadcast(this.cls_token, picture, 'class'), this.patch_embed.forward(pixels, picture, 'patch'));
    x = x.add(this.pos_embed.forward(position(x)));
    for (const [i, block] of this.blocks.entries()) x = block.forward(this.cfg.stages.includes(i) ? x.keep('patch', this.cfg.keep) : x, wholePicture(picture));
    return this.head.forward(this.norm.forward(x.rows('class')));
  }
}
