/**
 * Idefics2 in plain loops over numbers, written from the published code (modeling_idefics2.py, image_processing_idefics2.py of
 * transformers 4.46): pictures of a batch are padded to one size, and a mask says what is padding.
 */
import type { Allows, DecoderSizes, Rows, WeightOf } from './hf-decoder.ts';
import { addRows, attend, decode, embed, gated, layerNorm, linear, rmsNorm, silu } from './hf-decoder.ts';

export interface Idefics2Sizes {
  readonly vision_config: { readonly hidden_size: number; readonly num_hidden_layers: number; readonly num_attention_heads: number; readonly image_size: number; readonly patch_size: number; readonly layer_norm_eps: number };
  readonly perceiver_config: { readonly resampler_n_latents: number; readonly resampler_depth: number; readonly resampler_n_heads: number; readonly num_key_value_heads: number; readonly rms_norm_eps: number };
  readonly text_config: DecoderSizes;
}

/** `pixel_values` and `pixel_attention_mask` of one prompt: pictures [3, height, width] in a frame of one size. */
export interface Batch { readonly count: number; readonly height: number; readonly width: number; readonly pixels: Float32Array; readonly mask: Uint8Array }

/** `pad` of the image processor: zeros to the right and below. */
export function padBatch(pictures: readonly { readonly width: number; readonly height: number; readonly data: Float32Array }[]): Batch {
  const height = Math.max(...pictures.map((p) => p.height)), width = Math.max(...pictures.map((p) => p.width));
  const pixels = new Float32Array(pictures.length * 3 * height * width), mask = new Uint8Array(pictures.length * height * width);
  pictures.forEach((p, n) => {
    for (let y = 0; y < p.height; y++) for (let x = 0; x < p.width; x++) {
      mask[(n * height + y) * width + x] = 1;
      for (let c = 0; c < 3; c++) pixels[((n * 3 + c) * height + y) * width + x] = p.data[(c * p.height + y) * p.width + x]!;
    }
  });
  return { count: pictures.length, height, width, pixels, mask };
}

/** torch.arange(0, 1 − 1e-6, 1 / count) in f32 through torch.bucketize(…, right=True) with boundaries 1/n, 2/n, … */
export function buckets(count: number, n: number): number[] {
  const boundaries: number[] = [];
  for (let j = 0; 1 / n + j * (1 / n) < 1; j++) boundaries.push(Math.fround(1 / n + j * (1 / n)));
  const out: number[] = [], step = Math.fround(1 / count);
  for (let i = 0; i * step < 1 - 1e-6; i++) out.push(boundaries.filter((b) => b <= Math.fround(i * step)).length);
  return out;
}

const geluTanh = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Rows of all patches of the frame, padding too, and which of them are real. */
export function tower(b: Batch, picture: number, w: WeightOf, { vision_config: c }: Idefics2Sizes): { rows: Rows; real: boolean[] } {
  const p = c.patch_size, down = Math.floor(b.height / p), across = Math.floor(b.width / p), side = Math.floor(c.image_size / p), at = 'model.vision_model';
  const cells = Array.from({ length: down * across }, (_, i) => ({ y: Math.floor(i / across), x: i % across }));
  const patch = ({ y, x }: { y: number; x: number }): number[] => Array.from({ length: 3 * p * p }, (_, i) => b.pixels[((picture * 3 + Math.floor(i / (p * p))) * b.height + y * p + (Math.floor(i / p) % p)) * b.width + x * p + (i % p)]!);
  const real = cells.map(({ y, x }) => Array.from({ length: p * p }, (_, i) => b.mask[(picture * b.height + y * p + Math.floor(i / p)) * b.width + x * p + (i % p)]!).every((m) => m === 1));
  const high = cells.filter((cell, i) => cell.x === 0 && real[i]).length, wide = cells.filter((cell, i) => cell.y === 0 && real[i]).length, rowsOf = buckets(high, side), columnsOf = buckets(wide, side);
  const positions = cells.map(({ y, x }, i) => (real[i] ? rowsOf[y]! * side + columnsOf[x]! : 0));
  let h = addRows(linear(cells.map(patch), w(`${at}.embeddings.patch_embedding.weight`), w(`${at}.embeddings.patch_embedding.bias`)), embed(positions, w(`${at}.embeddings.position_embedding.weight`), c.hidden_size));
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const layer = `${at}.encoder.layers.${i}`, project = (x: Rows, name: string): Rows => linear(x, w(`${layer}.${name}.weight`), w(`${layer}.${name}.bias`)), norm = (x: Rows, name: string): Rows => layerNorm(x, w(`${layer}.${name}.weight`), w(`${layer}.${name}.bias`), c.layer_norm_eps);
    const n = norm(h, 'layer_norm1'), heads = c.num_attention_heads;
    h = addRows(h, project(attend(project(n, 'self_attn.q_proj'), project(n, 'self_attn.k_proj'), project(n, 'self_attn.v_proj'), heads, heads, (_q, k) => real[k]!), 'self_attn.out_proj'));
    h = addRows(h, project(project(norm(h, 'layer_norm2'), 'mlp.fc1').map((row) => row.map(geluTanh)), 'mlp.fc2'));
  }
  return { rows: layerNorm(h, w(`${at}.post_layernorm.weight`), w(`${at}.post_layernorm.bias`), c.layer_norm_eps), real };
}

/** The rows that a picture has in the prompt. */
export function pictureRows(b: Batch, picture: number, w: WeightOf, sizes: Idefics2Sizes): Rows {
  const { perceiver_config: c, text_config: { hidden_size } } = sizes, { rows, real } = tower(b, picture, w, sizes), at = 'model.connector';
  const context = gated(rows, (name) => w(`${at}.modality_projection.${name}.weight`), silu);
  let x = embed(Array.from({ length: c.resampler_n_latents }, (_, i) => i), w(`${at}.perceiver_resampler.latents`), hidden_size);
  for (let i = 0; i < c.resampler_depth; i++) {
    const layer = `${at}.perceiver_resampler.layers.${i}`, norm = (rows: Rows, name: string): Rows => rmsNorm(rows, w(`${layer}.${name}.weight`), c.rms_norm_eps), project = (rows: Rows, name: string): Rows => linear(rows, w(`${layer}.self_attn.${name}.weight`));
    const latents = norm(x, 'input_latents_norm'), all = [...norm(context, 'input_context_norm'), ...latents];
    const seen = attend(project(latents, 'q_proj'), project(all, 'k_proj'), project(all, 'v_proj'), c.resampler_n_heads, c.num_key_value_heads, (_q, k) => k >= real.length || real[k]!);
    x = addRows(x, project(seen, 'o_proj'));
    x = addRows(x, gated(norm(x, 'post_attention_layernorm'), (name) => w(`${layer}.mlp.${name}.weight`), silu));
  }
  return rmsNorm(x, w(`${at}.perceiver_resampler.norm.weight`), c.rms_norm_eps);
}

/** Logits of the last row of a prompt of token ids, with −1 − n for picture n. */
export function idefics2Logits(prompt: readonly number[], b: Batch, w: WeightOf, sizes: Idefics2Sizes, allows: (rows: readonly { readonly kind: 'visual' | 'text'; readonly image: number }[]) => Allows): Float32Array {
  const kinds: { kind: 'visual' | 'text'; image: number }[] = [];
  const rows = prompt.flatMap((t): Rows => {
    const own = t < 0 ? pictureRows(b, -1 - t, w, sizes) : embed([t], w('model.text_model.embed_tokens.weight'), sizes.text_config.hidden_size);
    kinds.push(...own.map(() => (t < 0 ? { kind: 'visual' as const, image: -1 - t } : { kind: 'text' as const, image: -1 })));
    return own;
  });
  return Float32Array.from(linear([decode(rows, w, 'model.text_model', sizes.text_config, allows(kinds)).at(-1)!], w('lm_head.weight'))[0]!);
}
