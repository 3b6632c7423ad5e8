/** The small files of a synthetic checkpoint: config, tokenizer, preprocessing. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { JsonObject } from 'eemllm';

const shapes = fileURLToPath(new URL('../../examples/shapes/checkpoint', import.meta.url));
const read = (file: string): JsonObject => JSON.parse(readFileSync(join(shapes, file), 'utf8')) as JsonObject;

/** A LLaVA of a megabyte or two, for trying things out. */
export const tinyConfig = (): JsonObject => read('config.json');

const processors: Readonly<Record<string, string>> = { llava: 'CLIPImageProcessor', llava_next: 'LlavaNextImageProcessor', llava_onevision: 'LlavaOnevisionImageProcessor', idefics3: 'Idefics3ImageProcessor', smolvlm: 'SmolVLMImageProcessor' };

/**
 * The config with an image token, and what stands beside it: the example's tokenizer, grown to the model's vocabulary with words that
 * mean nothing, its template, and a preprocessor for the tower's pictures.
 */
export function smallFiles(config: JsonObject): Readonly<Record<string, JsonObject>> {
  const { preprocessor_config: given, ...rest } = config, text = (config['text_config'] ?? config) as JsonObject, tower = config['vision_config'] as JsonObject | undefined;
  const vocabulary = Number(text['vocab_size'] ?? 32000), image = Number(config['image_token_index'] ?? config['image_token_id'] ?? Math.min(32000, vocabulary) - 1);
  const own = read('tokenizer.json'), model = own['model'] as { vocab: Record<string, number> }, added = own['added_tokens'] as { id: number; content: string }[];
  const vocab = Object.fromEntries(Object.entries(model.vocab).filter(([word, id]) => word !== '<image>' && id < vocabulary && id !== image)), taken = new Set(Object.values(vocab));
  for (let id = 0; id < vocabulary; id++) if (!taken.has(id) && id !== image) vocab[`t${id}`] = id;
  const kind = processors[String(config['model_type'])], side = Number(tower?.['image_size'] ?? 0);
  return {
    'config.json': { ...rest, ...(tower && config['image_token_id'] === undefined ? { image_token_index: image } : {}) },
    'tokenizer.json': { ...own, model: { ...model, vocab: { ...vocab, '<image>': image } }, added_tokens: added.map((t) => (t.content === '<image>' ? { ...t, id: image } : t)) },
    'tokenizer_config.json': read('tokenizer_config.json'),
    'generation_config.json': read('generation_config.json'),
    ...(tower && kind ? { 'preprocessor_config.json': {
      ...read('preprocessor_config.json'), image_processor_type: kind, size: kind.startsWith('Llava') || kind.startsWith('CLIP') ? { shortest_edge: side } : { longest_edge: side }, crop_size: { height: side, width: side },
      ...(config['image_grid_pinpoints'] ? { image_grid_pinpoints: config['image_grid_pinpoints'] } : {}), ...(given as JsonObject | undefined),
    } } : {}),
  };
}
