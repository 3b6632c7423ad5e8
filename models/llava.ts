/** LLaVA (arXiv 2310.03744): every picture is resized to the one size of the tower. */
import type { Given, JsonObject } from 'eemllm';
import { asRows, ids, pictures } from 'eemllm';
import type { LlavaConfig } from './config/llava.ts';
import { llavaConfig } from './config/llava.ts';
import { published } from './published.ts';
import { tokens } from './tokens.ts';
import { VisionLanguageModel } from './vision-language.ts';

export class Llava extends VisionLanguageModel<LlavaConfig> {
  static override config: JsonObject = published['llava-1.5-7b'];
  static override readConfig = llavaConfig;
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(tokens, 'text') };

  forward({ pixels, ids }: Given<Llava['inputs']>) {
    const features = asRows(this.vision_tower.forward({ pixels }, this.cfg), tokens, 'visual');
    const visual_embeds = this.multi_modal_projector.forward(features.named(this.cfg, 'vision_hidden_size'));
    return this.language_model.forward({ ids, visual_embeds }, this);
  }
}
