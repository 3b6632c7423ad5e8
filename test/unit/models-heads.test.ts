/** What pools and reads pictures besides the towers: CLIP's projection, SigLIP's pooling head, the Q-Former; and Phi's block. */
import type { Given } from 'eemllm';
import { Model, UserError, createModel, embeddings, parameters, sequence } from 'eemllm';
import { ClipVisionModel, ClipVisionModelWithProjection, Phi, QFormer, familyOf, phiConfig, qFormerConfig, visionConfig } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { interpret } from '../../compiler/ir/index.ts';
import type { Graph } from '../../compiler/ir/index.ts';
import type { VisionConfig } from '../../models/config/vision.ts';
import { SiglipPoolingHead } from '../../models/siglip.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { optimise } from '../../passes/pipeline.ts';
import { caseOf } from '../support/golden.ts';
import { distance } from '../support/run-case.ts';

const small = { hidden_size: 6, intermediate_size: 10, num_hidden_layers: 2, num_attention_heads: 2, image_size: 8, patch_size: 4 };
const tera = (g: Graph, convention: string): number => Number(costFormula(g, conventionNamed(convention)).at({ dims: {} }).total);

describe("CLIP's projection", () => {
  const json = { model_type: 'clip_vision_model', architectures: ['CLIPVisionModelWithProjection'], projection_dim: 3, ...small };
  test('is asked for by the class that a config names', () => {
    expect(familyOf(json)).toBe(ClipVisionModelWithProjection);
    expect(familyOf({ ...json, architectures: ['CLIPVisionModel'] })).toBe(ClipVisionModel);
    expect(parameters(createModel(familyOf(json), json)).find((p) => p.name.startsWith('visual_projection'))).toMatchObject({ name: 'visual_projection.weight', shape: [3, 6] });
  });
  test('reads one row of the last layer, of which a counter sees all', () => {
    const g = trace(createModel(familyOf(json), json)).graph, rows = 5, w = 6, f = 10;
    expect(g.outputs.get('features')!.type).toMatchObject({ dims: [3], rows: { kinds: ['class'] } });
    const layer = (queries: number): number => 2 * ((2 * queries * w * w) + 2 * rows * w * w + 2 * queries * w * f) + 4 * queries * rows * w;
    const ends = 2 * 4 * 48 * w + 2 * w * 3;
    expect(tera(g, 'flopcounter')).toBe(2 * layer(rows) + ends);
    expect(tera(g, 'exact')).toBe(layer(rows) + layer(1) + ends);
  });
});

describe("SigLIP's pooling head", () => {
  const cfg = visionConfig({ model_type: 'siglip_vision_model', ...small }), rows = sequence('patches', { patch: 4 });
  class Head extends Model<VisionConfig> {
    inputs = { x: embeddings(rows, 'patch', this.cfg, 'hidden_size') };
    head = new SiglipPoolingHead(this.cfg);
    forward({ x }: Given<Head['inputs']>) { return this.head.forward(x); }
  }

  test('is attention of a learned query, and a feed-forward', () => {
    const g = trace(new Head(cfg)).graph, of = (kind: string, length: number) => ({ kind, length });
    const c = caseOf(g, [{ kind: 'visual', image: 0, length: 1 }], { patches: [of('patch', 4)], pooling: [of('probe', 1), of('feature', 4)] });
    const { tokens: _, ...layout } = c.layout, x = [...c.inputs['x']!], w = (name: string): number[] => [...c.weights.get(`head.${name}`)!];
    const got = interpret(g, { layout, inputs: c.inputs, weights: c.weights }).outputs.get('features')!.data as Float32Array;

    const rowsOf = (m: number[], width: number): number[][] => Array.from({ length: m.length / width }, (_r, i) => m.slice(i * width, (i + 1) * width));
    const dot = (a: number[], b: number[]): number => a.reduce((s, v, i) => s + v * b[i]!, 0);
    const linear = (v: number[], m: number[][], b: number[]): number[] => m.map((r, i) => dot(v, r) + b[i]!);
    const packed = rowsOf(w('attention.in_proj_weight'), 6), bias = w('attention.in_proj_bias'), part = (v: number[], i: number): number[] => linear(v, packed.slice(6 * i, 6 * i + 6), bias.slice(6 * i, 6 * i + 6));
    const patches = rowsOf(x, 6), q = part(w('probe'), 0), ks = patches.map((p) => part(p, 1)), vs = patches.map((p) => part(p, 2));
    const heads = [0, 3].flatMap((h) => {
      const scores = ks.map((k) => Math.exp(dot(q.slice(h, h + 3), k.slice(h, h + 3)) / Math.sqrt(3))), sum = scores.reduce((a, b) => a + b, 0);
      return [0, 1, 2].map((e) => scores.reduce((s, p, i) => s + (p / sum) * vs[i]![h + e]!, 0));
    });
    const h = linear(heads, rowsOf(w('attention.out_proj.weight'), 6), w('attention.out_proj.bias'));
    const mean = h.reduce((a, b) => a + b, 0) / 6, deviation = Math.sqrt(h.reduce((s, v) => s + (v - mean) ** 2, 0) / 6 + cfg.layer_norm_eps);
    const normed = h.map((v, i) => ((v - mean) / deviation) * w('layernorm.weight')[i]! + w('layernorm.bias')[i]!);
    const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    const inner = linear(normed, rowsOf(w('mlp.fc1.weight'), 6), w('mlp.fc1.bias')).map(gelu);
    const want = linear(inner, rowsOf(w('mlp.fc2.weight'), 10), w('mlp.fc2.bias')).map((v, i) => v + h[i]!);
    expect(distance(Float32Array.from(want), got)).toBeLessThan(1e-5);
  });
  test('of a language model nobody reads: it is counted by tools that see what runs, and not by us', () => {
    const text = { hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2, vocab_size: 7 };
    const llava = (head: boolean): Graph => {
      const json = { model_type: 'llava', text_config: text, vision_config: { model_type: 'siglip_vision_model', ...small, vision_use_head: head }, vision_feature_select_strategy: 'full' };
      return trace(createModel(familyOf(json), json)).graph;
    };
    const vision = (g: Graph, convention: string): bigint => costFormula(g, conventionNamed(convention)).at({ dims: { V: 4, T: 2 } }).parts.vision;
    expect(vision(llava(true), 'exact')).toBe(vision(llava(false), 'exact'));
    expect(vision(llava(true), 'flopcounter') > vision(llava(false), 'flopcounter')).toBe(true);
    expect(optimise(llava(true)).weights.has('vision_tower.vision_model.head.probe')).toBe(false);
  });
});

describe('Q-Former', () => {
  const json = { model_type: 'blip_2_qformer', vocab_size: 9, hidden_size: 6, intermediate_size: 8, num_hidden_layers: 2, num_attention_heads: 2, encoder_hidden_size: 5, num_query_tokens: 3, num_encoder_rows: 4, num_words: 2, max_position_embeddings: 4 };
  const graphOf = (words: boolean): Graph => trace(new QFormer(qFormerConfig({ ...json, use_qformer_text_input: words }))).graph;
  const ask = (g: Graph, features: (x: Float32Array) => Float32Array = (x) => x): Float32Array => {
    const c = caseOf(g, [{ kind: 'visual', image: 0, length: 1 }], { reading: [{ kind: 'query', length: 3 }, { kind: 'word', length: 2 }, { kind: 'feature', length: 4 }] });
    const { tokens: _, ...layout } = c.layout, inputs = { ...c.inputs, encoder_hidden_states: features(c.inputs['encoder_hidden_states'] as Float32Array) };
    return interpret(g, { layout, inputs: Object.fromEntries(Object.entries(inputs).filter(([name]) => g.inputs.has(name))), weights: c.weights }).outputs.get('features')!.data as Float32Array;
  };
  test.each([false, true])('gives its queries, which read the whole picture in any order; with words: %s', (words) => {
    const g = graphOf(words), plain = ask(g);
    expect(plain.length).toBe(18);
    const turned = (x: Float32Array): Float32Array => Float32Array.from([...x.slice(5), ...x.slice(0, 5)]);
    expect(distance(plain, ask(g, turned))).toBeLessThan(1e-5);
    expect(distance(plain, ask(g, (x) => x.map((v) => -v)))).toBeGreaterThan(1e-3);
  });
  test('reads the picture in every second layer, and has word embeddings where it reads words', () => {
    const names = (words: boolean): string[] => parameters(new QFormer(qFormerConfig({ ...json, use_qformer_text_input: words }))).map((p) => p.name);
    expect(names(false).filter((n) => n.includes('crossattention')).every((n) => n.startsWith('encoder.layer.0.'))).toBe(true);
    expect(names(false)).toContain('encoder.layer.0.crossattention.attention.key.weight');
    expect(names(false).some((n) => n.startsWith('embeddings.') || n.includes('.intermediate.'))).toBe(false);
    expect(names(true)).toContain('embeddings.word_embeddings.weight');
    expect(names(true)).toContain('encoder.layer.1.intermediate.dense.weight');
  });
  test('a wrong type is a clear error', () => expect(() => qFormerConfig({ model_type: 'bert' }, 'x.json')).toThrow(new UserError(`'model_type' of x.json is "bert"; expected 'blip_2_qformer' or 'instructblip_qformer'.`)));
});

describe('Phi', () => {
  const json = { model_type: 'phi', vocab_size: 9, hidden_size: 16, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 2, partial_rotary_factor: 0.5 };
  test('adds attention and feed-forward of one norm', () => {
    const { graph, values } = trace(new Phi(phiConfig(json))), layer = values.get('model.layers.0')!;
    expect([layer.op, layer.inputs[0]!.op, layer.inputs[1]!.path]).toEqual(['add', 'add', 'model.layers.0.mlp.fc2']);
    expect(graph.nodes.filter((n) => n.op === 'layer_norm')).toHaveLength(3);
    expect(graph.nodes.find((n) => n.op === 'rope_part')!.attrs).toEqual({ heads: 2, rotated: 4, theta: 10000 });
  });
  test('computes what its optimised graph computes', () => {
    const g = trace(new Phi(phiConfig(json))).graph, c = caseOf(g, [{ kind: 'visual', image: 0, length: 3 }, { kind: 'text', length: 4 }]);
    const of = (x: Graph): Float32Array => interpret(x, { layout: c.layout, inputs: Object.fromEntries(Object.entries(c.inputs).filter(([name]) => x.inputs.has(name))), weights: c.weights }).outputs.get('logits')!.data as Float32Array;
    expect(distance(of(g), of(optimise(g)))).toBeLessThan(1e-4);
  });
  test.each([
    [{ partial_rotary_factor: 0.4 }, 'In x.json, 3 of the 8 channels of a head are rotated (partial_rotary_factor 0.4); rotary embedding turns pairs of channels and needs an even number.'],
    [{ qk_layernorm: true }, "'qk_layernorm' of x.json is true; norms of queries and keys are not known here. Expected false."],
    [{ num_attention_heads: 3 }, 'In x.json, hidden_size (16) is not divisible by num_attention_heads (3). One of the two is wrong.'],
  ])('%j is a clear error', (change, message) => expect(() => phiConfig({ ...json, ...change }, 'x.json')).toThrow(new UserError(message)));
});
