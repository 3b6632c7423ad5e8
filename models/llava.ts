/** LLaVA (arXiv 2310.03744): a vision tower, a projector, and a language model that reads both kinds of token. */
import type { Given, JsonObject, Mask, PerLayer } from 'eemllm';
import { Model, asRows, ids, pictures } from 'eemllm';
import { ClipVisionModel } from './clip.ts';
import type { LlavaConfig } from './config/llava.ts';
import { llavaConfig } from './config/llava.ts';
import { Llama } from './llama.ts';
import { causal } from './masks.ts';
import { Projector } from './projector.ts';
import { published } from './published.ts';
import type { RowRule, Rules } from './rules.ts';
import { everyRow } from './rules.ts';
import { SiglipVisionModel } from './siglip.ts';
import type { Tokens } from './tokens.ts';
import { tokens } from './tokens.ts';

export class Llava extends Model<LlavaConfig> implements Rules {
  static override config: JsonObject = published['llava-1.5-7b'];
  static override readConfig = llavaConfig;
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(tokens, 'text') };
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;

  vision_tower = this.cfg.vision_config.model_type === 'clip_vision_model'
    ? new ClipVisionModel(this.cfg.vision_config) : new SiglipVisionModel(this.cfg.vision_config);
  multi_modal_projector = new Projector(this.cfg);
  language_model = new Llama(this.cfg.text_config);

  get layerCount() { return this.language_model.layerCount; }

  forward({ pixels, ids }: Given<Llava['inputs']>) {
    const features = asRows(this.vision_tower.forward({ pixels }, this.cfg), tokens, 'visual');
    const visual_embeds = this.multi_modal_projector.forward(features.named(this.cfg, 'vision_hidden_size'));
    return this.language_model.forward({ ids, visual_embeds }, this);
  }
}
