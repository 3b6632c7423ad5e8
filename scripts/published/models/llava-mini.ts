/**
 * LLaVA-Mini (arXiv 2501.03895): learned queries compress a picture's rows to a few, and before that text reads all of them in
 * layers of their own, so that the language model gets a short prompt that knows the picture.
 */
import type { Given, Tensor } from 'eemllm';
import { Model, asRows, attention, broadcast, ids, mask, merge, parameter, pictures, sequence } from 'eemllm';
import type { LlavaConfig } from 'eemllm/models';
import { ClipVisionModel, Llama, LlamaDecoderLayer, Projector, llavaConfig, published } from 'eemllm/models';

const rows = sequence('visual', 'compressed', 'text');
type All = 'visual' | 'compressed' | 'text';
const causal = mask(rows, (q, k) => k.pos <= q.pos);
const ofPictures = mask(rows, (_q, k) => k.kind === 'visual');

function layer<Kinds extends All>(x: Tensor<Kinds, 'hidden_size'>, l: LlamaDecoderLayer): Tensor<Kinds, 'hidden_size'> {
  const h = x.add(l.self_attn.forward(l.input_layernorm.forward(x), causal));
  return h.add(l.mlp!.forward(l.post_attention_layernorm.forward(h)));
}

const llavaMini = (fusionLayers: number) => class LlavaMini extends Model<LlavaConfig> {
  static override config = published['llava-1.5-7b'];
  static override readConfig = llavaConfig;
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(rows, 'text') };

  vision_tower = new ClipVisionModel(this.cfg.vision_config);
  multi_modal_projector = new Projector(this.cfg);
  query = parameter(this.cfg, 'hidden_size');
  prefusion_layers = Array.from({ length: fusionLayers }, () => new LlamaDecoderLayer(this.cfg.text_config));
  language_model = new Llama(this.cfg.text_config);

  forward({ pixels, ids }: Given<LlavaMini['inputs']>) {
    const { model, lm_head } = this.language_model;
    const features = asRows(this.vision_tower.forward({ pixels }, this.cfg), rows, 'visual');
    const visual = this.multi_modal_projector.forward(features.named(this.cfg, 'vision_hidden_size'));
    const compressed = attention(broadcast(this.query, rows, 'compressed'), visual, visual, { mask: ofPictures, heads: 1 });
    let fused = merge(visual, model.embed_tokens.forward(ids));
    for (const l of this.prefusion_layers) fused = layer(fused, l);
    let x = merge(compressed, fused.keep('visual', 0).rows('text'));
    for (const l of model.layers) x = layer(x, l);
    return lm_head.forward(model.norm.forward(x));
  }
};

export class Compressed extends llavaMini(0) {}
export class PreFused extends llavaMini(1) {}
