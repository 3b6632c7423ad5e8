/** Small checkpoints with random weights on disk, in the layouts of Hugging Face: models that see a picture as several tiles, and experts. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from 'eemllm';
import { createModel, parameters } from 'eemllm';
import { familyOf } from 'eemllm/models';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';
import { generator } from './random-graphs.ts';
import { root } from './shapes-lines.ts';

const text = { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 380 };
const tower = { hidden_size: 12, intermediate_size: 20, num_hidden_layers: 3, num_attention_heads: 2, image_size: 12, patch_size: 4 };
const pinpoints = [[12, 24], [24, 12], [24, 24], [36, 12]];
const normal = { do_normalize: true, do_rescale: true, do_resize: true, image_mean: [0.5, 0.4, 0.3], image_std: [0.25, 0.5, 0.3], rescale_factor: 1 / 255 };

/** `preprocessor` and `processor` of models that read pictures. */
interface Family { readonly config: JsonObject; readonly preprocessor?: JsonObject; readonly processor?: JsonObject; readonly template: string }

const turns = (begin: string, end: string, answer: string): string =>
  `{% for m in messages %}${begin}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}${end}{% endfor %}{% if add_generation_prompt %}${answer}{% endif %}`;
const chat = turns("{{ '<|im_start|>' + m['role'] + '\\n' }}", "{{ '<|im_end|>\\n' }}", "{{ '<|im_start|>assistant\\n' }}");

export const tinyFamilies = {
  llava_next: {
    config: { model_type: 'llava_next', image_token_index: 334, image_grid_pinpoints: pinpoints, text_config: { model_type: 'mistral', sliding_window: null, ...text }, vision_config: { model_type: 'clip_vision_model', ...tower } },
    preprocessor: { image_processor_type: 'LlavaNextImageProcessor', ...normal, do_pad: true, do_center_crop: true, crop_size: { height: 12, width: 12 }, size: { shortest_edge: 12 }, image_grid_pinpoints: pinpoints, resample: 3 },
    processor: { processor_class: 'LlavaNextProcessor', patch_size: 4, image_token: '<image>', num_additional_image_tokens: 1, vision_feature_select_strategy: 'default' },
    template: chat,
  },
  llava_onevision: {
    config: { model_type: 'llava_onevision', image_token_index: 334, image_grid_pinpoints: pinpoints, vision_aspect_ratio: 'anyres_max_2', text_config: { model_type: 'qwen2', ...text }, vision_config: { model_type: 'siglip_vision_model', vision_use_head: false, ...tower } },
    preprocessor: { image_processor_type: 'LlavaOnevisionImageProcessor', ...normal, do_pad: true, size: { height: 12, width: 12 }, image_grid_pinpoints: pinpoints, resample: 3 },
    processor: { processor_class: 'LlavaOnevisionProcessor', num_image_tokens: 9, image_token: '<image>', vision_aspect_ratio: 'anyres_max_2', vision_feature_select_strategy: 'full' },
    template: chat,
  },
  smolvlm: {
    config: { model_type: 'smolvlm', image_token_id: 334, scale_factor: 3, vision_config: { ...tower, image_size: 24, patch_size: 4 }, text_config: { model_type: 'llama', ...text } },
    preprocessor: { image_processor_type: 'SmolVLMImageProcessor', ...normal, do_pad: true, do_image_splitting: true, max_image_size: { longest_edge: 24 }, size: { longest_edge: 72 }, resample: 1 },
    processor: { processor_class: 'SmolVLMProcessor', image_seq_len: 4 },
    template: turns("{{ m['role'] | capitalize }}{% if m['content'][0]['type'] == 'image' %}:{% else %}{{ ': ' }}{% endif %}", "{{ '<|im_end|>\\n' }}", 'Assistant:'),
  },
  idefics2: {
    config: { model_type: 'idefics2', image_token_id: 334, perceiver_config: { resampler_n_latents: 3, resampler_depth: 2, resampler_n_heads: 2, resampler_head_dim: 6, num_key_value_heads: 1 }, vision_config: { ...tower, image_size: 20, patch_size: 4 }, text_config: { model_type: 'mistral', sliding_window: null, ...text } },
    preprocessor: { image_processor_type: 'Idefics2ImageProcessor', ...normal, do_pad: true, do_image_splitting: true, size: { shortest_edge: 9, longest_edge: 30 }, resample: 2 },
    processor: { processor_class: 'Idefics2Processor', image_seq_len: 3 },
    template: turns("{{ m['role'] | capitalize }}{% if m['content'][0]['type'] == 'image' %}:{% else %}{{ ': ' }}{% endif %}", "{{ '<end_of_utterance>\n' }}", 'Assistant:'),
  },
  mixtral: {
    config: { model_type: 'mixtral', num_local_experts: 5, num_experts_per_tok: 2, ...text },
    template: "{% for m in messages %}{{ m['content'] }}{% endfor %}",
  },
} as const satisfies Readonly<Record<string, Family>>;
export type TinyFamily = keyof typeof tinyFamilies;

/** Tokens that processors write around tiles; SmolVLM's tokenizer has each as one. */
const marks = ['<fake_token_around_image>', '<global-img>', ...[1, 2, 3, 4].flatMap((row) => [1, 2, 3, 4].map((column) => `<row_${row}_col_${column}>`))];

/** The newer layout of the same tensors (since transformers 4.52). */
const newer = (name: string): string =>
  name === 'lm_head.weight' || name.startsWith('model.') ? name : name.startsWith('language_model.lm_head.') ? name.slice('language_model.'.length) : `model.${name.replace('language_model.model.', 'language_model.')}`;

export interface FolderOptions {
  readonly layout?: 'older' | 'newer';
  /** Values for keys of the config, or of the preprocessor's. */
  readonly config?: JsonObject;
  readonly preprocessor?: JsonObject;
}

/** Writes the checkpoint. In the newer layout, the image processor's settings stand in the processor's file. */
export async function writeTinyFolder(folder: string, family: TinyFamily, { layout = 'older', config = {}, preprocessor = {} }: FolderOptions = {}): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const json = (file: string, value: unknown): void => writeFileSync(join(folder, file), JSON.stringify(value));
  const f: Family = tinyFamilies[family], whole = { ...f.config, ...config }, pictures = { ...f.preprocessor, ...preprocessor };
  json('config.json', whole);
  if (f.preprocessor && layout === 'older') json('preprocessor_config.json', pictures);
  if (f.processor) json('processor_config.json', layout === 'older' ? f.processor : { ...f.processor, image_processor: pictures });
  const source = join(root, 'test/fixtures/llava-siglip-qwen2-a'), read = (file: string): JsonObject => JSON.parse(readFileSync(join(source, file), 'utf8')) as JsonObject;
  const tokenizer = read('tokenizer.json'), added = marks.map((content, i) => ({ id: 340 + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: i === 0 }));
  json('tokenizer.json', { ...tokenizer, added_tokens: [...tokenizer['added_tokens'] as object[], ...(family === 'smolvlm' || family === 'idefics2' ? added : [])] });
  json('tokenizer_config.json', { ...read('tokenizer_config.json'), added_tokens_decoder: undefined, chat_template: f.template });
  json('generation_config.json', { eos_token_id: 333, max_new_tokens: 4 });
  const random = generator(11);
  const tensors = parameters(createModel(familyOf(whole), { ...whole, ...(f.preprocessor && { preprocessor_config: pictures }) })).map(({ name, shape }) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal() * (shape.length > 1 ? 0.7 / Math.sqrt(shape.at(-1)!) : 0.5));
    return { name: layout === 'older' ? name : newer(name), dtype: 'F32' as const, shape, data: () => new Uint8Array(data.buffer) };
  });
  await writeSafetensors(folder, layout === 'newer' && family === 'mixtral' ? stacked(tensors) : tensors);
  return folder;
}

type Tensor = Parameters<typeof writeSafetensors>[1][number];
/** The matrices of a layer's experts in two tensors (since transformers 5.0): `[experts, 2 · width, hidden]`, gate above up, and `[experts, hidden, width]`. */
function stacked(tensors: readonly Tensor[]): Tensor[] {
  const experts = new Map<string, Tensor[]>(), rest: Tensor[] = [];
  for (const t of tensors) {
    const [, layer, own] = /^(.*)\.block_sparse_moe\.experts\.\d+\.(w[123])\.weight$/.exec(t.name) ?? [], name = `${layer}.mlp.experts.${own === 'w2' ? 'down_proj' : 'gate_up_proj'}`;
    if (layer === undefined) rest.push({ ...t, name: t.name.replace('.block_sparse_moe.gate.', '.mlp.gate.') });
    else experts.set(name, [...(experts.get(name) ?? []), t]);
  }
  return [...rest, ...[...experts].map(([name, parts]): Tensor => {
    const two = name.endsWith('gate_up_proj'), [rows, columns] = parts[0]!.shape as [number, number];
    return { name, dtype: 'F32', shape: [parts.length / (two ? 2 : 1), two ? 2 * rows : rows, columns], data: () => Buffer.concat(parts.map((p) => p.data() as Uint8Array)) };
  })];
}

/** A picture of noise and gradients, so that neither tiles nor filters look alike. */
export function tinyPicture(width: number, height: number, seed = 1): { width: number; height: number; data: Uint8Array } {
  let x = seed;
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    const at = Math.floor(i / 3);
    return (x >>> 26) + Math.floor((150 * (i % 3 === 0 ? at % width : at / width)) / (i % 3 === 0 ? width : height));
  });
  return { width, height, data };
}
