/** What the tracer records of a model, and what it says of a model that is wrong: at the author's own line and column. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Given, Integers, Mask, PerLayer, Tensor } from 'eemllm';
import {
  Embedding, Linear, Model, Module, RMSNorm, UserError, allOf, atLayer, attention, countParameters, embeddings, ids, inLayers, mask, merge, parameter, parameters,
  position, rope, sequence, silu,
} from 'eemllm';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { printGraph } from '../../compiler/ir/print.ts';
import { verify } from '../../compiler/ir/verify.ts';

const tokens = sequence('visual', 'text');
type Tokens = 'visual' | 'text';
type Hidden = Tensor<Tokens, 'hidden_size'>;
const causal = mask(tokens, (q, k) => k.pos <= q.pos);
const own = mask(tokens, (q, k) => (q.kind === 'text' ? k.pos <= q.pos : k.pos === q.pos));

const cfg = { vocab_size: 10, hidden_size: 8, intermediate_size: 12, heads: 2 };
type Cfg = typeof cfg;

class Attention extends Module<Cfg> {
  qkv = [0, 1, 2].map(() => new Linear(this.cfg, 'hidden_size', 'hidden_size', { bias: false }));
  forward(x: Hidden, mask: Mask<Tokens>) {
    const [q, k, v] = this.qkv.map((p) => p.forward(x)), { heads } = this.cfg;
    const turn = (y: Hidden): Hidden => rope(y, position(y), { heads, theta: 100 });
    return attention(turn(q!), turn(k!), v!, { mask, heads });
  }
}
class Layer extends Module<Cfg> {
  attn = new Attention(this.cfg);
  norm = new RMSNorm(this.cfg, 'hidden_size', { eps: 1e-5 });
  forward(x: Hidden, mask: Mask<Tokens>) { return x.add(this.attn.forward(this.norm.forward(x), mask)); }
}
/** Two layers over ids and given visual embeddings. Tests replace parts of it. */
class Small extends Model<Cfg> {
  inputs = { ids: ids(tokens, 'text'), visual: embeddings(tokens, 'visual', this.cfg, 'hidden_size') };
  embed = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  layers = [new Layer(this.cfg), new Layer(this.cfg)];
  head = new Linear(this.cfg, 'hidden_size', 'vocab_size', { weight: this.embed.weight });
  mask: PerLayer<Mask<Tokens>> = causal;
  body(x: Hidden): Hidden {
    this.layers.forEach((layer, i) => { x = layer.forward(x, atLayer(this.mask, i, this.layers.length)); });
    return x;
  }
  forward({ ids, visual }: Given<Small['inputs']>): unknown { return this.head.forward(this.body(merge(visual, this.embed.forward(ids)))); }
}

describe('a trace', () => {
  const traced = trace(new Small(cfg));

  test('names every weight by its attribute, once, tied weights too', () => {
    expect([...traced.graph.weights.keys()]).toEqual([
      'embed.weight', ...[0, 1].flatMap((l) => [...[0, 1, 2].map((i) => `layers.${l}.attn.qkv.${i}.weight`), `layers.${l}.norm.weight`]), 'head.bias']);
    expect(countParameters(new Small(cfg))).toBe(80 + 2 * (3 * 64 + 8) + 10);
  });

  test('is a graph that verifies, and reads like the model', () => {
    verify(traced.graph);
    const one = new Small(cfg);
    one.layers = one.layers.slice(1);
    expect(printGraph(trace(one).graph, { paths: false })).toBe(`graph Small {
  sequence tokens(media visual: V, text: T)
  mask causal(tokens) = k.pos <= q.pos
  input ids: i32[text] at prompt
  input visual: f32[visual, 8] at image
  weight "embed.weight": f32[10, 8]
  weight "layers.0.attn.qkv.0.weight": f32[8, 8]
  weight "layers.0.attn.qkv.1.weight": f32[8, 8]
  weight "layers.0.attn.qkv.2.weight": f32[8, 8]
  weight "layers.0.norm.weight": f32[8]
  weight "head.bias": f32[10]

  %0 = embed %ids, @"embed.weight" : f32[text, 8]
  %1 = merge %visual, %0 : f32[visual+text, 8]
  %2 = rms_norm %1, @"layers.0.norm.weight" {eps = 0.00001} : f32[visual+text, 8]
  %3 = linear %2, @"layers.0.attn.qkv.0.weight" : f32[visual+text, 8]
  %4 = linear %2, @"layers.0.attn.qkv.1.weight" : f32[visual+text, 8]
  %5 = linear %2, @"layers.0.attn.qkv.2.weight" : f32[visual+text, 8]
  %6 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
  %7 = rope %3, %6 {heads = 2, theta = 100} : f32[visual+text, 8]
  %8 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
  %9 = rope %4, %8 {heads = 2, theta = 100} : f32[visual+text, 8]
  %10 = attention %7, %9, %5 {heads = 2, kv_heads = 2, scale = 0.5, mask = "causal"} : f32[visual+text, 8]
  %11 = add %1, %10 : f32[visual+text, 8]
  %12 = linear %11, @"embed.weight", @"head.bias" : f32[visual+text, 10]
  %13 = rows %12 {rows = "text.last"} : f32[text.last, 10]
  return logits = %13
}`);
  });

  test('keeps what each module was given and gave, by path', () => {
    const { values, arguments: given } = traced;
    expect([...values.keys()]).toEqual(expect.arrayContaining(['', 'embed', 'layers.1', 'layers.1.attn', 'layers.1.attn.qkv.2', 'head']));
    expect(values.get('layers.0')!.path).toBe('layers.0');
    expect(given.get('layers.1')).toEqual([values.get('layers.0')]);
    expect(given.get('head')).toEqual([values.get('layers.1')]);
  });

  test('gives the last row of text, or every row on demand', () => {
    expect(traced.graph.outputs.get('logits')!.type.rows!.last).toBe(true);
    expect(trace(new Small(cfg), { rows: 'all' }).graph.outputs.get('logits')).toMatchObject({ op: 'linear', path: 'head' });
  });

  test('leaves the model as it was', () => {
    const model = new Small(cfg);
    trace(model);
    expect(Object.getOwnPropertyNames(model)).not.toContain('forward');
    expect(printGraph(trace(model).graph)).toBe(printGraph(trace(model).graph));
  });
});

describe('masks', () => {
  const masksOf = (mask: PerLayer<Mask<Tokens>>): string[] =>
    printGraph(trace(Object.assign(new Small(cfg), { mask })).graph).split('\n').filter((l) => l.startsWith('  mask ')).map((l) => l.trim());

  test('are named as their author named them, and declared once', () => {
    expect(masksOf(own)).toEqual(['mask own(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos']);
    expect(masksOf(inLayers([1], own, causal))).toHaveLength(2);
  });
  test('take parameters, and call each other', () => {
    const near = (window: number) => mask(tokens, (q, k, { window }) => causal(q, k) && q.pos - k.pos < window, { window });
    expect(masksOf(near(3))).toEqual(['mask near(tokens) = k.pos <= q.pos && q.pos - k.pos < 3']);
    expect(masksOf(inLayers([0], near(3), near(4))).map((l) => l.split('(')[0])).toEqual(['mask near', 'mask near_2']);
    expect(near(3)({ kind: 'text', pos: 5, index: 5, image: -1 }, { kind: 'text', pos: 2, index: 2, image: -1 })).toBe(false);
  });
  test('hold together with allOf', () => {
    const near = mask(tokens, (q, k) => q.pos - k.pos < 3);
    expect(masksOf(allOf(causal, near))[0]).toBe('mask causal_and_near(tokens) = k.pos <= q.pos && q.pos - k.pos < 3');
  });
});

const source = readFileSync(fileURLToPath(import.meta.url), 'utf8').split('\n');
/** The error that a trace ends with, and the place of the line that carries `mark`. */
function failure(make: () => Model, mark?: string): string {
  let error: unknown;
  try { trace(make()); } catch (e) { error = e; }
  expect(error).toBeInstanceOf(UserError);
  const { where, reason } = error as UserError;
  if (mark) {
    expect(where?.file).toBe(fileURLToPath(import.meta.url));
    expect(source[where!.line - 1]).toContain(`// ${mark}`);
    expect(where!.column).toBeGreaterThan(1);
  }
  return reason;
}
/** A model whose body is the given function; casts stand for an author who does not run tsc. */
const withBody = (body: (this: Small, x: Hidden) => unknown) => () => Object.assign(new Small(cfg), { body });
type Loose = Tensor<string, string>;

describe('errors name the place and the remedy', () => {
  test('a linear map over rows of another width', () => {
    class Wide extends Small { up = new Linear(this.cfg, 'hidden_size', 'intermediate_size'); }
    expect(failure(() => Object.assign(new Wide(cfg), {
      body(this: Wide, x: Hidden) { return this.up.forward(this.up.forward(x) as never); }, // up twice
    }), 'up twice')).toBe('A Linear takes rows of hidden_size = 8, but was given rows of intermediate_size = 12 (f32[visual+text, 12]).');
  });
  test('a sum of different rows', () => {
    expect(failure(withBody((x) => x.add(x.rows('text') as never)), 'sum of rows')).toMatch(/^add: .*f32\[visual\+text, 8\] and f32\[text, 8\]/); // not here // sum of rows
  });
  test('heads that do not fit', () => {
    expect(failure(withBody((x) => attention(x, x, x, { mask: causal, heads: 3 })), 'three heads')).toMatch(/do not split into 3 heads/); // three heads
  });
  test('an unknown kind', () => {
    expect(failure(withBody((x) => (x as Loose).rows('audio')), 'no audio')).toBe("There are no rows of kind 'audio'; the tensor's kinds are visual, text (it is f32[visual+text, 8])."); // no audio
  });
  test('an update of a kind that the tensor lacks', () => {
    expect(failure(withBody((x) => (x.rows('text') as Loose).update('visual', (r) => r)), 'not visual')).toMatch(/no rows of kind 'visual'.*kinds are text/); // not visual
  });
  test('an update that gives other rows, or none', () => {
    expect(failure(withBody((x) => x.update('text', () => x as never)), 'all rows')).toMatch(/rewrites the rows text, but its function gave the rows visual\+text\. Pick the rows to write with \.rows\('text'\)/); // all rows
    expect(failure(withBody((x) => x.update('text', () => undefined as never)), 'no rows')).toMatch(/got no tensor from its function/); // no rows
  });
  test('a mask of another sequence', () => {
    const other = mask(sequence('audio', 'text'), (q, k) => k.pos <= q.pos);
    expect(failure(withBody((x) => attention(x, x, x, { mask: other as never, heads: 2 })), 'other mask')) // other mask
      .toMatch(/belong to the sequence 'tokens' \(visual, text\), but its mask \(.*dsl-trace\.test\.ts:\d+\) speaks of the sequence 'tokens' \(audio, text\)/);
  });
  test('a layer that does not exist', () => {
    expect(failure(() => Object.assign(new Small(cfg), { mask: inLayers([1, 2], own, causal) }), 'layer 2')).toBe('Layer 2 lies outside the model: its 2 layers are 0 to 1.'); // layer 2
    expect(() => inLayers([-1], own, causal)).toThrow(/-1 is no layer's number/);
  });
  test('one module at two attributes', () => {
    class Twice extends Small { again = this.layers[1]; }
    expect(failure(() => new Twice(cfg))).toBe("One Layer stands at two attributes, 'layers.1' and 'again', so its tensors would have two names. Make two of them, or share the parameter that they have in common.");
  });
  test('a layer at no attribute', () => {
    expect(failure(withBody(function (x) { return new Linear(this.cfg, 'hidden_size', 'hidden_size').forward(x); }), 'loose linear')).toMatch(/stands at no attribute of the model.*Assign it/); // loose linear
  });
  test('a forward that returns nothing, or no tensor', () => {
    class Mute extends Small { override forward() { return undefined; } }
    expect(failure(() => new Mute(cfg))).toBe('The model (Mute): its forward() returns nothing. Return the tensor that it computes.');
    class Listing extends Small { override forward() { return []; } }
    expect(failure(() => new Listing(cfg))).toMatch(/must return one tensor.*returns an array/);
    class MuteLayer extends Module<Cfg> { forward(_x: Hidden) { /* nothing */ } }
    class Inner extends Small { mute = new MuteLayer(this.cfg); }
    expect(failure(() => Object.assign(new Inner(cfg), { body(this: Inner, x: Hidden) { return this.mute.forward(x); } }), 'mute layer')).toMatch(/^mute \(MuteLayer\): its forward\(\) returns nothing/); // mute layer
  });
  test("an exception of the author's own, and a value that is no tensor", () => {
    expect(failure(withBody(() => { throw new Error('boom'); }), 'own error')).toBe('Error: boom'); // own error
    expect(failure(withBody((x) => x.add(undefined as never)), 'undefined')).toBe('add() takes a tensor or a parameter, but was given undefined.'); // undefined
    expect(failure(withBody(() => silu(undefined as never)), 'silu of nothing')).toMatch(/A value that is no tensor was given/); // silu of nothing
  });
  test('dims that the config lacks or has wrong', () => {
    expect(() => new Linear(cfg, 'hidden_sise' as 'hidden_size', 'hidden_size')).toThrow(/no dim 'hidden_sise'\. Did you mean 'hidden_size'\? Its numbers are: vocab_size, /);
    expect(() => parameter({ a: 0.5 }, 'a')).toThrow(/'a' is 0\.5; a dim is a whole number/);
    expect(() => new Linear(cfg, 'hidden_size', 'hidden_size', { weight: new Linear(cfg, 'hidden_size', 'vocab_size').weight })).toThrow(/has a weight of \[8, 8\]; the weight shared with it is \[10, 8\]/);
  });
  test('tensors outside a forward', () => {
    expect(() => new Embedding(cfg, 'vocab_size', 'hidden_size').forward({} as Integers<'text'>)).toThrow(/only while a model is compiled/);
  });
  test('sequences that cannot be', () => {
    expect(() => sequence('visual', 'audio')).toThrow(/has no kind 'text', the kind that is generated\. Add it, or count the rows of a tower: sequence\('visuals', \{ visual: 16, audio: 16 \}\)/);
    expect(() => sequence('text', 'text')).toThrow(/named twice/);
    expect(() => sequence('a b', 'text')).toThrow(/cannot name a kind/);
    expect(() => sequence('patches', { patch: 0 })).toThrow(/has 0 rows of kind 'patch'/);
    expect(() => sequence('patches', { text: 3 })).toThrow(/cannot hold 'text'/);
    expect(sequence('visual', 'text')).toBe(tokens);
    expect(sequence('video', 'visual', 'text').ir.kinds.map((k) => `${k.count}`)).toEqual(['VIDEO', 'VISUAL', 'T']);
  });
  test('two sequences that share a kind', () => {
    class Two extends Small {
      override inputs = { ...new Small(cfg).inputs, more: ids(sequence('text'), 'text') };
    }
    expect(failure(() => new Two(cfg))).toMatch(/Two sequences of this model are named 'tokens'/);
  });
});

test('parameters lists shapes as checkpoints have them', () => {
  expect(parameters(new Small(cfg)).slice(0, 2).map((p) => [p.name, p.shape])).toEqual([['embed.weight', [10, 8]], ['layers.0.attn.qkv.0.weight', [8, 8]]]);
});
