/** What LLaVA and its kin have in common: a vision tower, a projector, and a language model that reads both kinds of token. */
import type { Mask, PerLayer } from 'eemllm';
import { Model } from 'eemllm';
import { ClipVisionModel } from './clip.ts';
import type { LlavaConfig } from './config/llava.ts';
import { Llama } from './llama.ts';
import { causal } from './masks.ts';
import { Projector } from './projector.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow } from './rules.ts';
import { SiglipVisionModel } from './siglip.ts';
import type { Tokens } from './tokens.ts';

export abstract class VisionLanguageModel<Config extends LlavaConfig> extends Model<Config> implements Rules {
  mask: PerLayer<Mask<Tokens>> = causal;
  rewrite: PerLayer<RowRule> = everyRow;
  keep: PerLayer<KeepRule> = allRows;

  vision_tower = this.cfg.vision_config.model_type === 'clip_vision_model'
    ? new ClipVisionModel(this.cfg.vision_config) : new SiglipVisionModel(this.cfg.vision_config);
  multi_modal_projector = new Projector(this.cfg);
  language_model = new Llama(this.cfg.text_config);

  get layerCount() { return this.language_model.layerCount; }
}
