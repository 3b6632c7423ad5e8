/** LLaVA-NeXT, also called LLaVA-1.6 (llava-vl.github.io/blog/2024-01-30-llava-next): tiles, and no limit to their rows. */
import type { ImageLayout, JsonObject, PictureSize } from 'eemllm';
import { tilePicture } from '../runtime/tiling/any-resolution.ts';
import type { TilingRule } from '../runtime/tiling/rule.ts';
import { AnyResolutionLlava } from './any-resolution.ts';
import type { AnyResolutionConfig } from './config/any-resolution.ts';
import { llavaNextConfig } from './config/llava-next.ts';
import { published } from './published.ts';
import { layoutOf, tilingOf } from './tiling.ts';

export class LlavaNext extends AnyResolutionLlava {
  static override config: JsonObject = published['llava-next-7b'];
  static override readConfig = llavaNextConfig;
  static override imageLayout = (config: AnyResolutionConfig, size: PictureSize): ImageLayout => layoutOf(config, tilePicture(config, size));
  static override tiling = (config: AnyResolutionConfig): TilingRule => tilingOf(config, false);
}
