import type { JsonObject } from 'eemllm';
import type { AnyResolutionConfig } from './any-resolution.ts';
import { readAnyResolution } from './any-resolution.ts';
import { clipDefaults } from './llava.ts';

const pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]] as const;

/** Reads the config of a LLaVA-NeXT. Throws a UserError for what is missing or contradictory. */
export const llavaNextConfig = (json: JsonObject, where = 'config.json'): AnyResolutionConfig =>
  readAnyResolution(json, where, { model_type: 'llava_next', ...clipDefaults, image_grid_pinpoints: pinpoints });
