/** A LLaVA for pictures of any size: the tower sees an overview and tiles, the language model their rows without the padding. */
import type { Given } from 'eemllm';
import { gatherRows, ids, parameter, pictures, rowMap } from 'eemllm';
import { sourcesPerRow } from '../runtime/tiling/visual-rows.ts';
import type { AnyResolutionConfig } from './config/any-resolution.ts';
import { tokens } from './tokens.ts';
import { VisionLanguageModel } from './vision-language.ts';

export abstract class AnyResolutionLlava<Config extends AnyResolutionConfig = AnyResolutionConfig> extends VisionLanguageModel<Config> {
  /** `visual_rows` says which rows of the tiles become which visual rows (runtime/tiling/visual-rows.ts). */
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(tokens, 'text'), visual_rows: rowMap(tokens, 'visual', sourcesPerRow(this.cfg)) };
  /** Stands at the end of each line of the grid that the tiles make. */
  image_newline = parameter(this.cfg as AnyResolutionConfig, 'hidden_size');

  forward({ pixels, ids, visual_rows }: Given<AnyResolutionLlava['inputs']>) {
    const features = this.vision_tower.forward({ pixels }, this.cfg).ofKinds('patch').named(this.cfg as AnyResolutionConfig, 'vision_hidden_size');
    const visual_embeds = gatherRows(visual_rows, this.multi_modal_projector.forward(features), this.image_newline);
    return this.language_model.forward({ ids, visual_embeds }, this);
  }
}
