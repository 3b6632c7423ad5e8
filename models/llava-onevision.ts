/** LLaVA-OneVision (arXiv 2408.03326): of a large picture the rows of all tiles are scaled down to those of `max_tiles`. */
import type { ImageLayout, JsonObject, PictureSize } from 'eemllm';
import { tilePicture, uncut } from '../runtime/tiling/any-resolution.ts';
import type { TilingRule } from '../runtime/tiling/rule.ts';
import { AnyResolutionLlava } from './any-resolution.ts';
import type { LlavaOneVisionConfig } from './config/llava-onevision.ts';
import { llavaOneVisionConfig } from './config/llava-onevision.ts';
import { published } from './published.ts';
import { layoutOf, tilingOf } from './tiling.ts';

export class LlavaOneVision extends AnyResolutionLlava<LlavaOneVisionConfig> {
  static override config: JsonObject = published['llava-onevision-7b'];
  static override readConfig = llavaOneVisionConfig;
  /** A picture is cut into tiles only where it is the prompt's one image (`need_patching` of modeling_llava_onevision.py). */
  static override imageLayout = (config: LlavaOneVisionConfig, size: PictureSize, images: number): ImageLayout =>
    layoutOf(config, images === 1 ? tilePicture(config, size) : uncut);
  static override tiling = (config: LlavaOneVisionConfig): TilingRule => tilingOf(config, true);
}
