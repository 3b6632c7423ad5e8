/** Rows that leave on the way: what is left of a graph, and that it is all that is left. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import type { JsonObject } from 'eemllm';
import { Fraction, inLayers } from 'eemllm';
import { Llava, allRows, applyVariant, llavaConfig, published, visualShare } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { admittedPairs } from '../../compiler/cost/pairs.ts';
import { pairRules } from '../../compiler/cost/pair-rules.ts';
import { resolvePairs } from '../../compiler/cost/resolve.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph, Node, Poly } from '../../compiler/ir/index.ts';
import { GraphBuilder, interpret, parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import { rowCount } from '../../compiler/ir/rows.ts';
import { and, apply, int, k, kind, not, q } from '../../compiler/ir/mask/index.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { optimise } from '../../passes/pipeline.ts';
import { splitBy, splitKept } from '../../passes/split-kept.ts';
import { knownMask, randomCase } from '../support/random-graphs.ts';
import { likelyMask, twoKinds } from '../support/random-masks.ts';
import { distance, outputsOf, runnable } from '../support/run-case.ts';

const head = `
  sequence tokens(media visual: V, text: T)
  mask causal(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
  input x: f32[visual+text, 4] at prompt
  weight "w": f32[4, 4]`;
const split = (text: string): string => {
  const after = splitKept.run(parseGraph(`graph g {${head}\n${text}\n}`));
  verify(after, { pass: splitKept.name });
  expect(printGraph(parseGraph(printGraph(after)))).toBe(printGraph(after));
  return printGraph(after);
};

describe('texts', () => {
  test('what follows a mark has the part that goes on, and is narrowed by the rule of each op', () => {
    expect(split(`
  %p = row_number() {of = "position", rows = "visual+text"}
  %a = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 1, mask = "causal"}
  %y = keep %a {kind = "visual", share = "2/5"}
  %r = rope %y, %p {heads = 1, theta = 10}
  %b = attention %r, %y, %y {heads = 1, kv_heads = 1, scale = 1, mask = "causal"}
  %v = rows %b {rows = "visual"}
  return a = %a, v = %v`)).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual_1 of visual: V - floor(2V/5), media visual: floor(2V/5), text: T)
      mask causal(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
      input x: f32[visual_1+visual+text, 4] at prompt
      weight "w": f32[4, 4]

      %0 = row_number() {of = "position", rows = "visual_1+visual+text"} : i32[visual_1+visual+text]
      %1 = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 1, mask = "causal"} : f32[visual_1+visual+text, 4]
      %2 = rows %1 {rows = "visual_1+visual"} : f32[visual_1+visual, 4]
      %3 = chosen %2 {rows = "visual"} : f32[visual, 4]
      %4 = rows %1 {rows = "text"} : f32[text, 4]
      %5 = merge %3, %4 : f32[visual+text, 4]
      %6 = rows %0 {rows = "visual+text"} : i32[visual+text]
      %7 = rope %5, %6 {heads = 1, theta = 10} : f32[visual+text, 4]
      %8 = attention %7, %5, %5 {heads = 1, kv_heads = 1, scale = 1, mask = "causal"} : f32[visual+text, 4]
      %9 = rows %8 {rows = "visual"} : f32[visual, 4]
      return a = %1, v = %9
    }"
  `);
  });
  test('several marks: a part for each, of the share of all rows that is left', () => {
    expect(split(`
  %0 = keep %x {kind = "visual", share = "1/2"}
  %1 = linear %0, @"w"
  %2 = keep %1 {kind = "visual", share = "1/3"}
  return y = %2`)).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual_1 of visual: V - floor(V/2), media visual_2 of visual: floor(V/2) - floor(V/6), media visual: floor(V/6), text: T)
      mask causal(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
      input x: f32[visual_1+visual_2+visual+text, 4] at prompt
      weight "w": f32[4, 4]

      %0 = rows %x {rows = "visual_1+visual_2+visual"} : f32[visual_1+visual_2+visual, 4]
      %1 = chosen %0 {rows = "visual_2+visual"} : f32[visual_2+visual, 4]
      %2 = rows %x {rows = "text"} : f32[text, 4]
      %3 = merge %1, %2 : f32[visual_2+visual+text, 4]
      %4 = linear %3, @"w" : f32[visual_2+visual+text, 4]
      %5 = rows %4 {rows = "visual_2+visual"} : f32[visual_2+visual, 4]
      %6 = chosen %5 {rows = "visual"} : f32[visual, 4]
      %7 = rows %4 {rows = "text"} : f32[text, 4]
      %8 = merge %6, %7 : f32[visual+text, 4]
      return y = %8
    }"
  `);
  });
  test('where none goes on there is nothing to choose', () => {
    expect(split('  %0 = linear %x, @"w"\n  %1 = keep %0 {kind = "visual", share = "0"}\n  %2 = linear %1, @"w"\n  return y = %2')).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(media visual: V, text: T)
        mask causal(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
        input x: f32[visual+text, 4] at prompt
        weight "w": f32[4, 4]

        %0 = linear %x, @"w" : f32[visual+text, 4]
        %1 = rows %0 {rows = "text"} : f32[text, 4]
        %2 = linear %1, @"w" : f32[text, 4]
        return y = %2
      }"
    `);
  });
  test('a tower has a number of rows, of which a share is a number', () => {
    const g = splitKept.run(parseGraph(`graph g {
  sequence patches(media class: 1, media patch: 196)
  input x: f32[class+patch, 4] at image
  %0 = keep %x {kind = "patch", share = "7/10"}
  return y = %0
}`));
    expect(printGraph(g).split('\n')[1]).toBe('  sequence patches(media class: 1, media patch_1 of patch: 59, media patch: 137)');
  });
  test('a graph without marks is left as it is', () => {
    const g = parseGraph(`graph g {${head}\n  return y = %x\n}`);
    expect(splitKept.run(g)).toBe(g);
  });
  test.each([
    ['%0 = keep %x {kind = "visual", share = "3/2"}', `'share' must be a fraction of at least 0 and less than 1, such as "1/2", not '3/2'.`],
    ['%0 = keep %x {kind = "image", share = "1/2"}', "f32[visual+text, 4] has no rows of kind 'image' of which some could go on."],
  ])('%s is a clear error', (line, message) => expect(() => parseGraph(`graph g {${head}\n  ${line}\n  return y = %0\n}`)).toThrow(message));
});

describe('on models', () => {
  const full = llavaConfig(published['llava-1.5-7b']), config = { ...full, text_config: { ...full.text_config, num_hidden_layers: 4 } };
  const graphOf = (variant: string): Graph => { const model = new Llava(config); applyVariant(model, variant); return trace(model).graph; };
  const at = (variant: string, convention: string, V: number, T: number): bigint => costFormula(graphOf(variant), conventionNamed(convention)).at({ dims: { V, T } }).total;

  test('all rows go on: the model as it is', () => {
    expect(printGraph(graphOf('fastv:k=2,r=0'))).toBe(printGraph(graphOf('self')));
    expect(printGraph(graphOf('vtw:k=4'))).toBe(printGraph(graphOf('self')));
    expect(printGraph(graphOf('pdrop:layers=1,2,keep=1'))).toBe(printGraph(graphOf('self')));
  });
  test('none goes on: FastV is VTW', () => expect(printGraph(graphOf('fastv:k=2,r=1'))).toBe(printGraph(graphOf('vtw:k=2'))));
  test('an author may say it as well', () => {
    class Own extends Llava { override keep = inLayers([2], visualShare(0.4), allRows); }
    expect(printGraph({ ...trace(new Own(config)).graph, name: 'Llava' })).toBe(printGraph(graphOf('fastv:k=2,r=0.6')));
  });
  test('a choice at run time cannot be compiled, leaving for good can', () => {
    const small = llavaConfig(JSON.parse(readFileSync('test/fixtures/llava-clip-llama-a/config.json', 'utf8')) as JsonObject);
    const compiled = (variant: string) => {
      const model = new Llava(small);
      applyVariant(model, variant);
      return compile(trace(model).graph, { name: 'small', type: 'llava', variant, dtype: 'f32', maxVisual: 16, maxText: 8, targets: ['software'] });
    };
    expect(() => compiled('fastv:k=1,r=0.5')).toThrow(/The variant 'fastv:k=1,r=0\.5' cannot be compiled, since it chooses at run time which 'visual' rows go on and no kernel chooses rows yet; what it costs can be computed with eemllm flops\.$/);
    expect([...compiled('vtw:k=1').entries.decode!.states.keys()].length).toBeGreaterThan(0);
  });
  test('K layers are dense for papers; exactly, rows that leave get no further than keys and values of the last of them', () => {
    const h = 4096n, m = 11008n, n = 100n, kept = 30n, T = 10n, full = n + T, less = kept + T;
    const layer = (rows: bigint): bigint => rows * (4n * h + 3n * m) * h + 2n * rows * rows * h;
    expect(at('fastv:k=1,r=0.7', 'shortv', 100, 10)).toBe(2n * (layer(full) + 3n * layer(less)));
    expect(at('vtw:k=3', 'shortv', 100, 10)).toBe(2n * (3n * layer(full) + layer(T)));
    expect(at('pdrop:layers=1,3,keep=0.5', 'shortv', 100, 10)).toBe(2n * (layer(full) + 2n * layer(50n + T) + layer(25n + T)));
    // Of the first layer 70 rows are keys and values, no queries; in the last one row of text asks.
    const formula = costFormula(graphOf('fastv:k=1,r=0.7'), conventionNamed('exact')).at({ dims: { V: 100, T: 10 } });
    const pairs = (full * (full + 1n)) / 2n - (70n * 71n) / 2n + 2n * ((less * (less + 1n)) / 2n) + less;
    expect(formula.decoder.scores).toBe(4n * h * pairs);
    const rows = full * 2n * h * h + less * (2n * h + 3n * m) * h + 2n * less * (4n * h + 3n * m) * h + less * 2n * h * h + (2n * h + 3n * m) * h;
    expect(formula.decoder.visual + formula.decoder.text).toBe(2n * rows);
  });
  test('whole rows, unless a paper puts fractions into its formula', () => {
    const h = 4096, m = 11008, layer = (rows: number): number => 2 * (rows * (4 * h + 3 * m) * h + 2 * rows * rows * h);
    const decoder = (convention: string): bigint => costFormula(graphOf('fastv:k=1,r=0.9'), conventionNamed(convention)).at({ dims: { V: 19, T: 1 } }).parts.decoder;
    expect(Number(decoder('dense'))).toBe(layer(20) + 3 * layer(1 + 1));
    // 1.9 of the 19 rows; a quarter of four layers.
    expect(Number(decoder('shortv')) - (layer(20) + 3 * layer(1.9 + 1))).toBeCloseTo(0, -1);
    expect(Number(decoder('fastv')) - (layer(20) + 3 * layer(1.9 + 1) - 2 * h * m * (20 + 3 * 2.9)) / 8).toBeCloseTo(0, -1);
  });
});

/** A mark before the last layers of a random graph that drops the first rows: as if those layers' masks hid them. */
describe('what is left computes what the whole model computes that hides those rows', () => {
  test('on random decoders', () => {
    fc.assert(fc.property(randomCase({ masks: knownMask, chooses: true }), fc.constantFrom(0, 1, 2, 3), (c, drop) => {
      const marks = c.graph.nodes.filter((n) => n.op === 'keep');
      const segments = c.layout['tokens']!, images = segments.filter((s) => s.kind === 'visual' && s.length);
      // One mark over one image, so that the first rows of the kind are the first of the image.
      fc.pre(runnable(c) && marks.length === 1 && marks[0]!.attrs['kind'] === 'visual' && images.length === 1 && images[0]!.length > drop && c.graph.outputs.size === 1);
      const parts = splitKept.run(c.graph);
      const layout = { ...c.layout, tokens: segments.flatMap((s) => (s === images[0] ? [{ ...s, kind: 'visual_1', length: drop }, { ...s, length: s.length - drop }] : [s])) };
      const got = interpret(parts, { layout, inputs: c.inputs, weights: c.weights }), hidden = hide(c.graph, drop);
      const want = outputsOf(hidden, c);
      for (const [name, value] of got.outputs) {
        // Rows that have left are no rows of the result.
        const whole = want.get(name)!, tokens = got.tokens(parts.outputs.get(name)!.type.rows!), width = value.data.length / Math.max(1, tokens.length);
        const all = interpret(hidden, { layout: c.layout, inputs: c.inputs, weights: c.weights }).tokens(hidden.outputs.get(name)!.type.rows!);
        const places = tokens.map((t) => all.findIndex((x) => x.pos === t.pos));
        expect(distance(Float32Array.from(places.flatMap((p) => [...whole.subarray(p * width, (p + 1) * width)])), Float32Array.from(value.data))).toBeLessThan(1e-5);
      }
    }), { numRuns: Number(process.env['PASS_RUNS'] ?? 60) * 5 });
  });

  /** The graph without its mark, whose later attentions read no visual row among the first `drop`. */
  function hide(g: Graph, drop: number): Graph {
    const b = GraphBuilder.like(g), gone = and(apply('eq', k.kind, kind(twoKinds, 'visual')), apply('lt', k.index, int(drop)));
    for (const m of g.masks.values()) b.mask({ ...m, name: `${m.name}_later`, expr: and(m.expr, not(gone)) });
    for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
    const done = new Map<Node, Node>();
    let later = false;
    for (const n of g.nodes) {
      const inputs = n.inputs.map((x) => done.get(x) ?? x);
      later ||= n.op === 'keep';
      const attrs = later && n.op === 'attention' && g.masks.get(String(n.attrs['mask']))!.sequence.name === 'tokens' ? { ...n.attrs, mask: `${String(n.attrs['mask'])}_later` } : n.attrs;
      done.set(n, n.op === 'keep' ? inputs[0]! : b.op(n.op, inputs, attrs, n));
    }
    for (const [name, n] of g.outputs) b.output(name, done.get(n)!);
    return b.finish();
  }
});

describe('parts add up', () => {
  const attend = (mask: ReturnType<typeof and>, share: string): { whole: Graph; parts: Graph } => {
    const text = `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = true
  input x: f32[visual+text, 4] at prompt
  %0 = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 1, mask = "m"}
  %1 = keep %x {kind = "visual", share = "${share}"}
  return out = %0, kept = %1
}`;
    const g = parseGraph(text), whole: Graph = { ...g, masks: new Map([['m', { ...g.masks.get('m')!, expr: mask }]]) };
    return { whole, parts: splitKept.run(whole) };
  };
  const sizes = fc.record({ V: fc.nat(30), T: fc.nat(6), images: fc.integer({ min: 1, max: 3 }) }), share = fc.constantFrom('1/2', '1/3', '9/10', '1/10');

  test('pairs of parts are the pairs of the kind, under any mask', () => {
    fc.assert(fc.property(fc.oneof(likelyMask, knownMask), share, sizes, (mask, s, { V, T, images }) => {
      const { whole, parts } = attend(mask, s);
      const pairs = (g: Graph): bigint => { const seen = withClasses(g), n = seen.nodes[0]!; return admittedPairs(n, seen).evaluate(resolvePairs(seen, { V, T }, images)); };
      expect(pairs(parts)).toBe(pairs(whole));
      expect(pairRules.rectangle(parts.nodes[0]!, parts).evaluate({ V, T })).toBe(BigInt((V + T) ** 2));
    }), { numRuns: 300 });
  });
  test('rows of parts are the rows of the kind, whole or as fractions', () => {
    fc.assert(fc.property(share, sizes, (s, { V, T }) => {
      const { whole } = attend(apply('le', k.pos, q.pos), s), count = (g: Graph): Poly => rowCount(g.outputs.get('out')!.type.rows!);
      for (const counting of ['whole', 'fraction'] as const) expect(count(splitBy(whole, counting)).evaluate({ V, T })).toBe(BigInt(V + T));
      const kept = rowCount(splitKept.run(whole).outputs.get('kept')!.type.rows!);
      expect(kept.evaluate({ V, T })).toBe(Fraction.parse(s)!.floorOf(BigInt(V)) + BigInt(T));
    }));
  });
  test('classes that are proven before the cut are those that are proven after it', () => {
    fc.assert(fc.property(fc.oneof(likelyMask, knownMask), (mask) => {
      const { whole, parts } = attend(mask, '1/3');
      expect(splitKept.run(withClasses(whole)).masks.get('m')!.pairs).toEqual(withClasses(parts).masks.get('m')!.pairs);
    }));
  });
  /** Masks that look ahead cannot be decoded, but they can be counted. */
  function withClasses(g: Graph): Graph {
    const unused = maskAnalysis.run({ ...g, nodes: [] });
    return { ...g, masks: unused.masks };
  }
});

test('the whole way through, the definition passes take a graph whose rows leave', () => {
  fc.assert(fc.property(randomCase({ chooses: true }), (c) => {
    try { maskAnalysis.run(c.graph); } catch { return; }
    const after = optimise(c.graph);
    expect(after.nodes.some((n) => n.op === 'keep')).toBe(false);
    expect(printGraph(parseGraph(printGraph(after)))).toBe(printGraph(after));
  }), { numRuns: 40 });
});
