import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';
import type { TileGridRule, TileMarks } from '../../runtime/tiling/tile-grid.ts';
import { object, readFields, share, size } from './fields.ts';
import type { LlamaConfig } from './text.ts';
import { llamaConfig } from './text.ts';
import type { VisionConfig } from './vision.ts';
import { towerConfig } from './vision.ts';

/** How the processor cuts a picture into tiles and writes them into the prompt (idefics3-tiles.ts). */
export interface TileConfig extends TileGridRule, TileMarks {
  /** Text tokens that the marks `<row_1_col_1>` and `<global-img>` are, and the two line breaks after the last row. */
  readonly row_col_tokens: number;
  readonly global_img_tokens: number;
  readonly blank_line_tokens: number;
}

/** Idefics3 and SmolVLM: tower, pixel shuffle with a projection, decoder. */
export interface Idefics3Config {
  readonly model_type: 'idefics3' | 'smolvlm';
  readonly vision_config: VisionConfig;
  readonly text_config: LlamaConfig;
  readonly scale_factor: number;
  /** Entries of `scale_factor` × `scale_factor` rows of the tower. */
  readonly shuffled_size: number;
  /** The decoder's. */
  readonly hidden_size: number;
  readonly image_token_id: number;
  /** Visual tokens of one tile. */
  readonly num_visual_tokens: number;
  readonly tiles: TileConfig;
}

const index = v.pipe(v.number(), v.integer(), v.minValue(0));
const schema = v.object({
  scale_factor: v.nullish(size, 2),
  image_token_id: v.nullish(index, 128257),
  tie_word_embeddings: v.nullish(v.boolean()),
});

/**
 * `preprocessor_config.json`, as it stands in a config under `preprocessor_config`. The class's own defaults are Idefics3-8B's tiles
 * of 364 px and a longest edge of four of them (Idefics3ImageProcessor); all published models have four of their own tiles.
 */
const preprocessorSchema = (image_size: number) => v.object({
  do_resize: v.nullish(v.boolean(), true),
  size: v.nullish(v.object({ longest_edge: v.nullish(size, 4 * image_size) }), {}),
  do_image_splitting: v.nullish(v.boolean(), true),
  max_image_size: v.nullish(v.object({ longest_edge: v.nullish(size, image_size) }), {}),
});

/**
 * Text tokens of the marks around tiles; no key of the library's, which asks the tokenizer. One each where the tokenizer has them
 * as tokens of their own, as SmolVLM's.
 */
const markSchema = v.object({ row_col: v.nullish(size, 1), global_img: v.nullish(size, 1), blank_line: v.nullish(size, 1) });

/** Texts of the marks in `tokenizer_config.json`, as it stands in a config under `tokenizer_config`, of which few files name any. */
const tokenNames = v.object({ fake_image_token: v.nullish(v.string()), global_image_token: v.nullish(v.string()) });
const tokenizerSchema = v.object({ ...tokenNames.entries, extra_special_tokens: v.nullish(v.union([tokenNames, v.array(v.unknown())])) });

/** Reads the config of an Idefics3 or SmolVLM. Throws a UserError for what is missing or contradictory. */
export function idefics3Config(json: JsonObject, where = 'config.json'): Idefics3Config {
  const type = json['model_type'] ?? 'idefics3';
  if (type !== 'idefics3' && type !== 'smolvlm') throw new UserError(`'model_type' of ${where} is ${JSON.stringify(type)}; expected 'idefics3' or 'smolvlm'.`);
  const f = readFields(schema, json, where), part = (name: string): JsonObject => (json[name] ? object(json[name], `'${name}' of ${where}`) : {});
  // The library takes the tower's family for granted, and its type is written in several ways.
  const vision_config = towerConfig('idefics3_vision', part('vision_config'), `'vision_config' of ${where}`), { scale_factor } = f;
  const text = json['text_config'] ? part('text_config') : { rms_norm_eps: 1e-5 };
  const text_config = llamaConfig({ ...text, tie_word_embeddings: f.tie_word_embeddings ?? text['tie_word_embeddings'] }, `'text_config' of ${where}`);
  const side = Math.floor(vision_config.image_size / vision_config.patch_size), across = share(side, scale_factor, ['the number of patches along a side', 'scale_factor'], where);
  return {
    model_type: type, vision_config, text_config, scale_factor, shuffled_size: vision_config.hidden_size * scale_factor ** 2, hidden_size: text_config.hidden_size,
    image_token_id: f.image_token_id, num_visual_tokens: across ** 2,
    tiles: tileConfig(part('preprocessor_config'), part('tokenizer_config'), part('mark_tokens'), vision_config.image_size, where),
  };
}

function tileConfig(preprocessor: JsonObject, tokenizer: JsonObject, marks: JsonObject, image_size: number, where: string): TileConfig {
  const file = `'preprocessor_config' of ${where}`, f = readFields(preprocessorSchema(image_size), preprocessor, file), m = readFields(markSchema, marks, `'mark_tokens' of ${where}`);
  const t = readFields(tokenizerSchema, tokenizer, `'tokenizer_config' of ${where}`), extra = Array.isArray(t.extra_special_tokens) ? undefined : t.extra_special_tokens;
  const tile_size = f.max_image_size.longest_edge ?? image_size;
  if (tile_size !== image_size) throw new UserError(`${file} cuts pictures into tiles of ${tile_size} px (max_image_size), but the tower sees pictures of ${image_size} px (image_size). Expected the same.`);
  return {
    do_resize: f.do_resize, longest_edge: f.size.longest_edge ?? 4 * image_size, do_image_splitting: f.do_image_splitting, tile_size,
    fake_image_token: extra?.fake_image_token ?? t.fake_image_token ?? '<fake_token_around_image>', global_image_token: extra?.global_image_token ?? t.global_image_token ?? '<global-img>',
    row_col_tokens: m.row_col, global_img_tokens: m.global_img, blank_line_tokens: m.blank_line,
  };
}
