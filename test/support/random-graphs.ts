/**
 * Random small decoders with everything that runs them: graph, layout, inputs, weights. For property tests: a pass keeps
 * the interpreter's results, print∘parse is the identity, a kernel gives what the interpreter gives.
 *
 * The graphs are written as an author would write them, with masks and row rules and no pruning: visual features from an
 * input or from pictures through a small tower, one or more decoder layers with their own masks and rewritten rows, after some
 * of which media rows leave, grouped heads, odd widths, both norms, several activations.
 */
import fc from 'fast-check';
import { GraphBuilder, Poly, allRows, printGraph, printRows, rowSet, tensorType } from '../../compiler/ir/index.ts';
import type { Graph, Layout, Node, RowSet, Segment, Sequence } from '../../compiler/ir/index.ts';
import type { MaskExpr } from '../../compiler/ir/mask/index.ts';
import { and, apply, int, k, kind, or, q } from '../../compiler/ir/mask/index.ts';
import { likelyMask, twoKinds } from './random-masks.ts';

export interface Case {
  readonly graph: Graph;
  readonly layout: Layout;
  readonly inputs: Readonly<Record<string, Float32Array | Int32Array>>;
  readonly weights: ReadonlyMap<string, Float32Array>;
}

export interface CaseOptions {
  /** Predicates over the kinds `visual` and `text`; by default, causal, composite and the like beside random ones. */
  readonly masks?: fc.Arbitrary<MaskExpr>;
  /** Most decoder layers; 3 by default. */
  readonly layers?: number;
  /** Largest width of the decoder; 9 by default. */
  readonly width?: number;
  /** Longest run of one kind; 4 by default. */
  readonly length?: number;
  /** Only models that a bundle can hold: pictures as the one kind of media, and the last text row's logits as the output. */
  readonly generates?: boolean;
  /** Of media that leave on the way a share goes on, chosen at run time; none does by default. Nothing runs such a graph. */
  readonly chooses?: boolean;
}

const isText = (t: 'q' | 'k'): MaskExpr => apply('eq', t === 'q' ? q.kind : k.kind, kind(twoKinds, 'text'));
/** Masks from papers and practice. In none of them does a text query read a later key. */
export const knownMasks: Readonly<Record<string, MaskExpr>> = {
  causal: apply('le', k.pos, q.pos),
  composite: apply('if', isText('q'), apply('le', k.pos, q.pos), apply('eq', k.pos, q.pos)),
  hidden: and(isText('q'), apply('le', k.pos, q.pos)),
  ownImage: apply('if', isText('q'), apply('le', k.pos, q.pos), apply('eq', k.image, q.image)),
  /** Text sees the last three rows of text, everything sees the images and sounds before it. */
  window: and(apply('le', k.pos, q.pos), or(apply('ne', k.image, int(-1)), and(isText('q'), apply('lt', apply('sub', q.pos, k.pos), int(3))))),
};
export const knownMask: fc.Arbitrary<MaskExpr> = fc.constantFrom(...Object.values(knownMasks));
const someMask = fc.oneof({ weight: 2, arbitrary: knownMask }, { weight: 1, arbitrary: likelyMask });

const activations = ['silu', 'gelu', 'gelu_tanh', 'quick_gelu', 'relu'] as const;
const rewritten = fc.constantFrom('all', 'all', 'text', 'none');
const layer = fc.record({
  norm: fc.constantFrom('rms_norm', 'layer_norm'), mask: fc.nat(2), attention: rewritten, mlp: rewritten,
  leaves: fc.constantFrom('', '', '', '', 'visual', 'audio'), share: fc.constantFrom('1/2', '1/3', '9/10'), rope: fc.boolean(), bias: fc.boolean(), gated: fc.boolean(), activation: fc.constantFrom(...activations), wide: fc.integer({ min: 1, max: 9 }),
});
type Layer = typeof layer extends fc.Arbitrary<infer T> ? T : never;

const spec = (o: CaseOptions) => fc.record({
  seed: fc.nat(0xffff), masks: fc.tuple(o.masks ?? someMask, o.masks ?? someMask, o.masks ?? someMask),
  layers: fc.array(layer, { minLength: 1, maxLength: o.layers ?? 3 }),
  width: fc.integer({ min: 2, max: o.width ?? 9 }), vocabulary: fc.integer({ min: 2, max: 7 }),
  heads: fc.record({ kv: fc.constantFrom(1, 2), group: fc.constantFrom(1, 2, 3), size: fc.constantFrom(2, 4, 6) }),
  source: fc.constantFrom<'features' | 'tower'>('features', 'tower'), featureWidth: fc.integer({ min: 1, max: 5 }), audio: o.generates ? fc.constant(false) : fc.boolean(),
  tower: fc.record({ norm: fc.constantFrom('rms_norm', 'layer_norm'), channels: fc.constantFrom(1, 3), classToken: fc.boolean(), patch: fc.constantFrom(1, 2) }),
  chooses: fc.constant(o.chooses ?? false), wanted: o.generates ? fc.constant('text.last') : fc.constantFrom('text.last', 'text', 'all'), tied: fc.boolean(), output: o.generates ? fc.constant('logits') : fc.constantFrom('logits', 'tokens'),
});
type Spec = ReturnType<typeof spec> extends fc.Arbitrary<infer T> ? T : never;

/** A picture is 2 × 2 patches in all random towers. */
const patchesPerImage = 4;

/** A random graph, and a layout, inputs and weights that fit it. A counterexample prints as the graph's text. */
export const randomCase = (options: CaseOptions = {}): fc.Arbitrary<Case> =>
  spec(options).chain((s) => segments(s, options.length ?? 4).map((prompt): Case => {
    const graph = build(s), random = generator(s.seed);
    const images = [...new Set(prompt.flatMap((x) => (x.kind === 'visual' ? [x.image!] : [])))];
    const layout: Layout = s.source === 'features' ? { tokens: prompt } : {
      tokens: prompt,
      pictures: images.map((image) => ({ kind: 'tile', image, length: 1 })),
      patches: images.flatMap((image): Segment[] => [...(s.tower.classToken ? [{ kind: 'class', image, length: 1 }] : []), { kind: 'patch', image, length: patchesPerImage }]),
    };
    const rowsOf = (r: RowSet): number => (layout[r.sequence.name] ?? []).filter((x) => r.kinds.includes(x.kind)).reduce((n, x) => n + x.length, 0);
    const inputs = Object.fromEntries([...graph.inputs].map(([name, n]) => {
      const length = rowsOf(n.type.rows!) * n.type.dims.reduce((a, b) => a * b, 1);
      return [name, n.type.dtype === 'i32' ? Int32Array.from({ length }, () => Math.floor(random.uniform() * s.vocabulary)) : Float32Array.from({ length }, random.normal)];
    }));
    const weights = new Map([...graph.weights].map(([name, n]) => [name, randomWeight(name, n.type.dims, random)]));
    const c = { graph, layout, inputs, weights };
    Object.defineProperty(c, fc.toStringMethod, { value: () => `\n${printGraph(graph)}\nlayout ${JSON.stringify(layout)}\n`, enumerable: false });
    return c;
  }));

/** Gains lie around 1; matrices keep the size of what they multiply, a little enlarged, so that attention is far from even. */
function randomWeight(name: string, dims: readonly number[], random: ReturnType<typeof generator>): Float32Array {
  const length = dims.reduce((a, b) => a * b, 1), gain = dims.length === 1 && name.endsWith('weight') ? 1 : 0, size = dims.length === 1 ? 0.2 : 1.5 / Math.sqrt(dims[1]!);
  return Float32Array.from({ length }, () => gain + size * random.normal());
}

/** Mulberry32 (Tommy Ettinger, public domain), and normal numbers by Box and Muller's method. */
export function generator(seed: number): { uniform(): number; normal(): number } {
  let a = seed;
  const uniform = (): number => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) };
}

/** Images first, in the middle, two of them, none; one token; empty runs. The numbers of the images are in no order. */
function segments(s: Spec, longest: number): fc.Arbitrary<Segment[]> {
  const visual = s.source === 'tower' ? fc.constant(patchesPerImage + (s.tower.classToken ? 1 : 0)) : fc.integer({ min: 0, max: longest });
  const text = fc.integer({ min: 0, max: longest }), ids = [5, 2, 9];
  const part = fc.oneof(
    text.map((length) => ({ kind: 'text', length })),
    visual.map((length) => ({ kind: 'visual', length })),
    ...(s.audio ? [fc.integer({ min: 0, max: 3 }).map((length) => ({ kind: 'audio', length }))] : []),
  );
  const prompt = (parts: { kind: string; length: number }[], last: number): Segment[] => {
    let visuals = 0, sounds = 0;
    return [...parts, { kind: 'text', length: last }].map((p) => (p.kind === 'visual' ? { ...p, image: ids[visuals++]! } : p.kind === 'audio' ? { ...p, image: 20 + sounds++ } : p));
  };
  const few = fc.array(part, { maxLength: 4 }).filter((p) => p.filter((x) => x.kind === 'visual').length <= ids.length);
  return fc.tuple(few, fc.integer({ min: 1, max: longest })).map(([parts, last]) => prompt(parts, last));
}

const dim = (name: string): Poly => Poly.dim(name);

function build(s: Spec): Graph {
  const b = new GraphBuilder('random');
  const tokens = b.sequence({ name: 'tokens', kinds: [{ name: 'visual', media: true, count: dim('V') }, { name: 'text', media: false, count: dim('T') }, ...(s.audio ? [{ name: 'audio', media: true, count: dim('A') }] : [])] });
  s.masks.forEach((expr, i) => b.mask({ name: `mask${i}`, sequence: tokens, expr }));
  const m = new Author(b, s);

  const table = b.weight('embed_tokens.weight', tensorType('f32', undefined, [s.vocabulary, s.width]));
  const ids = b.input('ids', tensorType('i32', rowSet(tokens, ['text']), []), 'prompt');
  const parts = [m.in('embed_tokens', () => b.op('embed', [ids, table])), m.in('projector', () => m.linear(s.source === 'tower' ? tower(m, s, tokens) : b.input('features', tensorType('f32', rowSet(tokens, ['visual']), [s.featureWidth]), 'image'), s.width, true))];
  if (s.audio) parts.push(b.input('sounds', tensorType('f32', rowSet(tokens, ['audio']), [s.width]), 'image'));
  let x = b.merge(parts);
  s.layers.forEach((l, i) => {
    if (x.type.rows!.kinds.includes(l.leaves)) x = b.op('keep', [x], { kind: l.leaves, share: s.chooses ? l.share : '0' });
    x = m.in(`layers.${i}`, () => decoderLayer(m, l, x));
  });
  const rows = s.wanted === 'all' ? x.type.rows! : rowSet(tokens, ['text'], { last: s.wanted === 'text.last' });
  const normed = m.in('norm', () => m.norm(s.layers[0]!.norm, b.select(x, rows)));
  const logits = m.in('lm_head', () => (s.tied ? b.op('linear', [normed, table]) : m.linear(normed, s.vocabulary, false)));
  b.output(s.output, s.output === 'tokens' ? b.op('argmax', [logits]) : logits);
  return b.finish();
}

/** What layers are written with: weights are named after the module that uses them. */
class Author {
  constructor(readonly b: GraphBuilder, readonly s: Spec) {}
  in<T>(name: string, f: () => T): T {
    const outer = this.b.path;
    this.b.path = outer ? `${outer}.${name}` : name;
    try { return f(); } finally { this.b.path = outer; }
  }
  weight(name: string, dims: number[]): Node { return this.b.weight(`${this.b.path}.${name}`, tensorType('f32', undefined, dims)); }
  linear(x: Node, out: number, bias: boolean): Node { return this.b.op('linear', [x, this.weight('weight', [out, x.type.dims[0]!]), ...(bias ? [this.weight('bias', [out])] : [])]); }
  norm(op: string, x: Node): Node { return this.b.op(op, [x, this.weight('weight', [x.type.dims[0]!]), ...(op === 'layer_norm' ? [this.weight('bias', [x.type.dims[0]!])] : [])], { eps: 1e-5 }); }
  /** `x.update(rows, f)`: the given rows rewritten, the others as they are. */
  update(x: Node, rows: RowSet, f: (part: Node) => Node): Node {
    const rest = x.type.rows!.kinds.filter((name) => !rows.kinds.includes(name));
    const made = f(this.b.select(x, rows));
    return rest.length ? this.b.merge([this.b.select(x, rowSet(rows.sequence, rest)), made]) : made;
  }
}

function attend(m: Author, h: Node, rows: RowSet, mask: string, o: { rope: boolean; bias: boolean }): Node {
  const { b, s: { heads } } = m, H = heads.kv * heads.group;
  const turn = (x: Node, count: number): Node =>
    (o.rope ? b.op('rope', [x, b.op('row_number', [], { of: 'position', rows: printRows(x.type.rows!) })], { heads: count, theta: 100 }) : x);
  const query = turn(m.in('q_proj', () => m.linear(b.select(h, rows), H * heads.size, o.bias)), H);
  const key = turn(m.in('k_proj', () => m.linear(h, heads.kv * heads.size, o.bias)), heads.kv);
  const value = m.in('v_proj', () => m.linear(h, heads.kv * heads.size, o.bias));
  return b.op('attention', [query, key, value], { heads: H, kv_heads: heads.kv, scale: 1 / Math.sqrt(heads.size), mask });
}

function decoderLayer(m: Author, l: Layer, x: Node): Node {
  const { b, s } = m, all = x.type.rows!;
  const pick = (which: string): RowSet => (which === 'text' ? rowSet(all.sequence, ['text']) : all);
  if (l.attention !== 'none') {
    const rows = pick(l.attention);
    const h = m.in('input_layernorm', () => m.norm(l.norm, x));
    const out = m.in('self_attn', () => { const a = attend(m, h, rows, `mask${l.mask}`, l); return m.in('o_proj', () => m.linear(a, s.width, false)); });
    x = m.update(x, rows, (part) => b.op('add', [part, out]));
  }
  if (l.mlp === 'none') return x;
  return m.update(x, pick(l.mlp), (part) => {
    const h = m.in('post_attention_layernorm', () => m.norm(l.norm, part));
    return m.in('mlp', () => {
      const up = m.in('up_proj', () => m.linear(h, l.wide, l.bias));
      const inner = l.gated ? b.op('mul', [b.op(l.activation, [m.in('gate_proj', () => m.linear(h, l.wide, l.bias))]), up]) : b.op(l.activation, [up]);
      return b.op('add', [part, m.in('down_proj', () => m.linear(inner, s.width, l.bias))]);
    });
  });
}

/** Pictures cut into patches, positions, a class row if wanted, one layer in which a picture's rows see each other. */
function tower(m: Author, s: Spec, tokens: Sequence): Node {
  const { b } = m, { channels, classToken, patch, norm } = s.tower, w = s.featureWidth;
  return m.in('tower', () => {
    const pictures = b.sequence({ name: 'pictures', kinds: [{ name: 'tile', media: true, count: Poly.of(1) }] });
    const sequence = b.sequence({ name: 'patches', kinds: [...(classToken ? [{ name: 'class', media: true, count: Poly.of(1) }] : []), { name: 'patch', media: true, count: Poly.of(patchesPerImage) }] });
    b.mask({ name: 'own', sequence, expr: apply('eq', q.image, k.image) });
    const pixels = b.input('pixels', tensorType('f32', allRows(pictures), [channels, 2 * patch, 2 * patch]), 'image');
    let x = m.in('patch_embedding', () => m.linear(b.op('patches', [pixels], { size: patch, rows: 'patch' }), w, false));
    if (classToken) x = b.merge([b.op('broadcast', [m.weight('class_embedding', [w])], { rows: 'class' }), x]);
    const all = allRows(sequence);
    x = b.op('add', [x, b.op('embed', [b.op('row_number', [], { of: 'position', rows: printRows(all) }), m.weight('position_embedding.weight', [patchesPerImage + 1, w])])]);
    const a = m.in('self_attn', () => attend(m, m.in('layer_norm', () => m.norm(norm, x)), all, 'own', { rope: false, bias: true }));
    x = b.op('add', [x, m.in('out_proj', () => m.linear(a, w, true))]);
    return b.op('as_rows', [x], { rows: tokens.kinds[0]!.name });
  });
}
