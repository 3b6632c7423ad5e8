/** The cases as models, written as a user would write them. What a case asks for is what the module `read` is given. */
import type { Given, Mask, Tensor } from 'eemllm';
import { Embedding, Linear, Model, Module, attention, createModel, embeddings, ids, mask, merge, sequence } from 'eemllm';
import { llamaConfig } from '../../models/config/text.ts';
import type { LlamaConfig } from '../../models/config/text.ts';
import { LlamaDecoderLayer } from '../../models/llama.ts';
import { causal, composite } from '../../models/masks.ts';
import { everyRow } from '../../models/rules.ts';
import type { Tokens } from '../../models/tokens.ts';
import { tokens } from '../../models/tokens.ts';
import type { AttentionCase, Case, LayerCase, ProductCase } from './cases.ts';
import { activations, directions, layerShapes, layerWeights, normEpsilon, productWeight, readingWeight, ropeTheta, shifts } from './cases.ts';

const text = sequence('text');
const readsPast = mask(text, (q, k) => k.pos <= q.pos);


interface ProductConfig { readonly inner: number; readonly outputs: number; readonly vocabulary: number }
class Product extends Model<ProductConfig> {
  inputs = { ids: ids(text, 'text') };
  embed = new Embedding(this.cfg, 'vocabulary', 'inner');
  linear = new Linear(this.cfg, 'inner', 'outputs', { bias: false });
  read = new Linear(this.cfg, 'outputs', 'vocabulary', { bias: false });
  forward({ ids }: Given<Product['inputs']>) { return this.read.forward(this.linear.forward(this.embed.forward(ids))); }
}

interface AttentionConfig { readonly width: number; readonly heads: number; readonly vocabulary: number }
class Attend extends Module<AttentionConfig> {
  forward(q: Tensor<'text', 'width'>, k: Tensor<'text', 'width'>, v: Tensor<'text', 'width'>): Tensor<'text', 'width'> {
    return attention(q, k, v, { mask: readsPast, heads: this.cfg.heads, kv_heads: this.cfg.heads });
  }
}
class Attention extends Model<AttentionConfig> {
  inputs = { ids: ids(text, 'text') };
  embed = new Embedding(this.cfg, 'vocabulary', 'width');
  q = new Linear(this.cfg, 'width', 'width', { bias: false });
  k = new Linear(this.cfg, 'width', 'width', { bias: false });
  v = new Linear(this.cfg, 'width', 'width', { bias: false });
  attend = new Attend(this.cfg);
  read = new Linear(this.cfg, 'width', 'vocabulary', { bias: false });
  forward({ ids }: Given<Attention['inputs']>) {
    const x = this.embed.forward(ids);
    return this.read.forward(this.attend.forward(this.q.forward(x), this.k.forward(x), this.v.forward(x)));
  }
}

type LayerConfig = LlamaConfig & { readonly read_width: number };
/** A small attention behind the layer: it reads every row, so all of them are computed, and its values show them. */
class Reader extends Module<LayerConfig> {
  q = new Linear(this.cfg, 'hidden_size', 'read_width', { bias: false });
  k = new Linear(this.cfg, 'hidden_size', 'read_width', { bias: false });
  v = new Linear(this.cfg, 'hidden_size', 'read_width', { bias: false });
  out = new Linear(this.cfg, 'read_width', 'vocab_size', { bias: false });
  forward(x: Tensor<Tokens, 'hidden_size'>, mask: Mask<Tokens>): Tensor<Tokens, 'vocab_size'> {
    return this.out.forward(attention(this.q.forward(x), this.k.forward(x), this.v.forward(x), { mask, heads: 1, kv_heads: 1 }));
  }
}
class Layer extends Model<LayerConfig> {
  static override readConfig = (json: Readonly<Record<string, unknown>>): LayerConfig => ({ ...llamaConfig(json), read_width: directions });
  inputs = { ids: ids(tokens, 'text'), visual_embeds: embeddings(tokens, 'visual', this.cfg, 'hidden_size') };
  mask: Mask<Tokens> = causal;
  embed = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  layer = new LlamaDecoderLayer(this.cfg);
  read = new Reader(this.cfg);
  forward({ ids, visual_embeds }: Given<Layer['inputs']>) {
    return this.read.forward(this.layer.forward(merge(visual_embeds, this.embed.forward(ids)), this.mask, everyRow), this.mask);
  }
}

export interface OwnCase {
  readonly model: Model;
  /** Rows of the prompt. */
  readonly visual: number;
  readonly text: number;
  /** Embeddings of the visual rows; text row i is token i. */
  readonly image: Float32Array;
  /** Where the result is seen: as an output of its own, or as values of the attention `read`. */
  readonly seen: 'output' | 'values';
  /** A parameter's values by its name. */
  readonly weights: ReadonlyMap<string, Values>;
}
interface Values { readonly shape: readonly number[]; readonly data: Float32Array }

export const ownCase = (c: Case): OwnCase => (c.kind === 'product' ? product(c) : c.kind === 'attention' ? attentionOf(c) : layer(c));

/** Weights of the last part, which only makes the thing a language model. */
const reading = (vocabulary: number, width: number) => ({ shape: [vocabulary, width], data: new Float32Array(vocabulary * width).fill(1 / 256) });

function product(c: ProductCase): OwnCase {
  // The product of one row is that of a decode step: one token stands before it.
  const rows = c.rows === 1 ? 2 : c.rows, x = activations(c), table = new Float32Array(rows * c.inner);
  for (let at = 0; at < table.length; at += x.length) table.set(x, at);
  const config: ProductConfig = { inner: c.inner, outputs: c.outputs, vocabulary: rows };
  return {
    model: createModel(Product, { ...config }), seen: 'output', visual: 0, text: c.rows, image: new Float32Array(0),
    weights: new Map([['embed.weight', { shape: [rows, c.inner], data: table }], ['linear.weight', { shape: [c.outputs, c.inner], data: productWeight(c) }], ['read.weight', reading(rows, c.outputs)]]),
  };
}

function attentionOf(c: AttentionCase): OwnCase {
  const width = c.heads * c.headDim, config: AttentionConfig = { width, heads: c.heads, vocabulary: c.length };
  const picks = (by: number) => {
    const data = new Float32Array(width * width);
    for (let i = 0; i < width; i++) data[i * width + ((i + by) % width)] = 1;
    return { shape: [width, width], data };
  };
  return {
    model: createModel(Attention, { ...config }), seen: 'output', visual: 0, text: c.length, image: new Float32Array(0),
    weights: new Map([['embed.weight', { shape: [c.length, width], data: activations(c) }], ['q.weight', picks(0)], ['k.weight', picks(shifts.keys)], ['v.weight', picks(shifts.values)], ['read.weight', reading(c.length, width)]]),
  };
}

function layer(c: LayerCase): OwnCase {
  const { hidden, intermediate, heads, kvHeads, headDim } = c.widths, x = activations(c), rows = c.text + 1, w = layerWeights(c), shapes = layerShapes(c.widths);
  const model = createModel(Layer, {
    model_type: 'llama', hidden_size: hidden, intermediate_size: intermediate, num_hidden_layers: 1, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim,
    vocab_size: rows, rms_norm_eps: normEpsilon, rope_theta: ropeTheta, max_position_embeddings: 8192,
  }) as Layer;
  if (c.mask === 'composite') model.mask = composite;
  const names = { q: 'self_attn.q_proj', k: 'self_attn.k_proj', v: 'self_attn.v_proj', o: 'self_attn.o_proj', gate: 'mlp.gate_proj', up: 'mlp.up_proj', down: 'mlp.down_proj', inputNorm: 'input_layernorm', outputNorm: 'post_attention_layernorm' } as const;
  return {
    model, seen: 'values', visual: c.visual, text: c.text, image: x.slice(0, c.visual * hidden),
    weights: new Map([
      ['embed.weight', { shape: [rows, hidden], data: x.slice(c.visual * hidden) }],
      ...['q', 'k', 'v'].map((n): [string, Values] => [`read.${n}.weight`, { shape: [directions, hidden], data: readingWeight(c) }]), ['read.out.weight', reading(rows, directions)],
      ...(Object.keys(names) as (keyof typeof names)[]).map((k): [string, Values] => [`layer.${names[k]}.weight`, { shape: shapes[k], data: w[k] }]),
    ]),
  };
}
