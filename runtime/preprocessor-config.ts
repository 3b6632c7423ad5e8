import { RuntimeError } from './errors.ts';
import { isResample, Resample } from './resize.ts';

/** How pictures are made ready for a vision tower: `preprocessor_config.json`, resolved and checked. */
export interface Preprocessor {
  /** Undefined: pictures keep their size. `shortestEdge`: the shorter edge gets this size, the other in proportion. */
  readonly size: { readonly shortestEdge: number } | { readonly width: number; readonly height: number } | undefined;
  /** Filter by Pillow's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming. */
  readonly resample: number;
  /** Undefined: no centre crop. */
  readonly crop: { readonly width: number; readonly height: number } | undefined;
  /** Factor on the 8-bit samples: 1/255 as a rule, 1 for none. */
  readonly rescale: number;
  /** Per channel, after the factor: (x - mean) / std. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  /** Pictures with alpha are laid over white; where this is absent, alpha is dropped. */
  readonly overWhite?: boolean;
  /** The rule (runtime/tiling) by which pictures of any size are cut into tiles, and then `size` and `crop` speak of a tile; absent where they are not. */
  readonly cut?: 'any_resolution' | 'tile_grid' | 'native_resolution';
}

/** Defaults of the image processors' classes in Hugging Face transformers, for keys that a file leaves out. */
const clip = { square: false, size: { shortest_edge: 224 }, crop: true, mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711], resample: Resample.bicubic } as const;
const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
// Their pictures are resized by the longest edge, before they are cut: the bundle's own tiling says how.
const grid = { square: false, size: undefined, crop: false, ...half, resample: Resample.lanczos, overWhite: true, cut: 'tile_grid' } as const;
const CLASSES = {
  CLIP: clip,
  Siglip: { square: true, size: { height: 224, width: 224 }, crop: false, ...half, resample: Resample.bicubic },
  LlavaNext: { ...clip, cut: 'any_resolution' },
  LlavaOnevision: { ...clip, size: { height: 384, width: 384 }, crop: false, cut: 'any_resolution' },
  // Padded and masked in the library, which makes no difference to one picture.
  Idefics2: { ...grid, resample: Resample.bilinear, cut: 'native_resolution' },
  Idefics3: grid,
  SmolVLM: grid,
} as const satisfies Readonly<Record<string, ProcessorClass>>;

interface ProcessorClass {
  /** A single number as `size` is both sides, not the shorter edge. */
  readonly square: boolean;
  readonly size: object | undefined;
  readonly crop: boolean;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly resample: number;
  /** `convert_to_rgb` of the class's own (Idefics2 and its kin), in place of Pillow's. */
  readonly overWhite?: boolean;
  readonly cut?: Preprocessor['cut'];
}

/**
 * Reads a `preprocessor_config.json`.
 * @param label how to call the file in an error
 * @throws RuntimeError `image` for a class or a setting that this runtime does not follow
 */
export function parsePreprocessor(json: unknown, label = 'preprocessor_config.json'): Preprocessor {
  const bad = (what: string) => new RuntimeError('image', `${label}: ${what}.`);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw bad('an object was expected');
  const config = json as Record<string, unknown>;
  const type = String(config.image_processor_type ?? config.feature_extractor_type ?? 'CLIPImageProcessor');
  const name = /^(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/.exec(type)?.[1] ?? '';
  if (!Object.hasOwn(CLASSES, name)) throw bad(`image_processor_type is ${type}, and this runtime follows ${Object.keys(CLASSES).map((c) => `${c}ImageProcessor`).join(', ')}. Choose a checkpoint with one of these`);
  const defaults: ProcessorClass = CLASSES[name as keyof typeof CLASSES], { cut } = defaults;
  const flag = (key: string, otherwise: boolean) => (config[key] ?? otherwise) === true;
  // Tiles are of one size, so that padding a batch of pictures to the largest of them adds nothing to one.
  const followed = cut === undefined ? [] : ['do_pad', ...(cut === 'tile_grid' || cut === 'native_resolution' ? ['do_image_splitting'] : [])];
  for (const key of ['do_pad', 'do_image_splitting', 'do_thumbnail', 'do_align_long_axis']) {
    if (config[key] === true && !followed.includes(key)) throw bad(`${key} is set, and this runtime does not follow it. Choose a checkpoint without it`);
  }

  const edge = (value: unknown, key: string): number => {
    if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
    throw bad(`${key} is ${JSON.stringify(value)}, and a positive integer number of pixels was expected`);
  };
  const box = (value: unknown, key: string) => {
    if (typeof value === 'number') return { width: edge(value, key), height: edge(value, key) };
    const { width, height } = (value ?? {}) as Record<string, unknown>;
    return { width: edge(width, `${key}.width`), height: edge(height, `${key}.height`) };
  };
  const sizeOf = (value: unknown): Preprocessor['size'] => {
    if (typeof value === 'number' && !defaults.square) return { shortestEdge: edge(value, 'size') };
    if (typeof value === 'object' && value !== null && 'shortest_edge' in value) {
      if ('longest_edge' in value) throw bad('size.longest_edge is set, and this runtime follows {shortest_edge} or {height, width}. Choose a checkpoint with one of these');
      return { shortestEdge: edge(value.shortest_edge, 'size.shortest_edge') };
    }
    return box(value, 'size');
  };
  const triple = (key: string, otherwise: readonly number[]): [number, number, number] => {
    const value = config[key] ?? otherwise;
    const list = typeof value === 'number' ? [value, value, value] : value;
    if (Array.isArray(list) && list.length === 3 && list.every((v) => Number.isFinite(v))) return list as [number, number, number];
    throw bad(`${key} is ${JSON.stringify(value)}, and three numbers, one a channel, were expected`);
  };

  const resample = Number(config.resample ?? defaults.resample);
  if (!isResample(resample)) throw bad(`resample is ${JSON.stringify(config.resample)}, and one of Pillow's filters 0 to 5 was expected`);
  const rescale = flag('do_rescale', true) ? Number(config.rescale_factor ?? 1 / 255) : 1;
  if (!Number.isFinite(rescale)) throw bad(`rescale_factor is ${JSON.stringify(config.rescale_factor)}, and a number was expected`);
  const normalize = flag('do_normalize', true);
  const std = normalize ? triple('image_std', defaults.std) : ([1, 1, 1] as const);
  if (std.some((s) => s === 0)) throw bad('image_std holds a 0, and dividing by it makes no sense');
  return {
    size: flag('do_resize', true) && cut !== 'tile_grid' && cut !== 'native_resolution' ? sizeOf(config.size ?? defaults.size) : undefined,
    resample,
    crop: flag('do_center_crop', defaults.crop) ? box(config.crop_size ?? 224, 'crop_size') : undefined,
    rescale,
    mean: normalize ? triple('image_mean', defaults.mean) : [0, 0, 0],
    std,
    ...(defaults.overWhite && { overWhite: true }),
    ...(cut && { cut }),
  };
}
