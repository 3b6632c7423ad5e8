/** Staging on texts: what each entry point computes, and what states lie between them. All of them are run, too. */
import { describe, expect, test } from 'vitest';
import type { Graph, Program, Segment } from '../../compiler/ir/index.ts';
import { parseGraph, parseProgram, printProgram } from '../../compiler/ir/index.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { caseOf } from '../support/golden.ts';
import { StagedRun } from '../support/run-program.ts';

const visual = (image: number, length = 3): Segment => ({ kind: 'visual', image, length });
const text = (length: number): Segment => ({ kind: 'text', length });

/** Prompts, and after how many tokens a turn ends; what is left is decoded. */
const conversations: readonly (readonly [string, readonly Segment[], readonly number[]])[] = [
  ['text image text, then decoding', [text(2), visual(0), text(4)], [7]],
  ['an image first', [visual(0), text(3)], [4]],
  ['two images', [visual(0), text(1), visual(1, 2), text(3)], [7]],
  ['no image', [text(4)], [2]],
  ['one token', [text(1)], [1]],
  ['a second turn without an image, and a third', [text(1), visual(0), text(7)], [5, 7, 9]],
  ['a second turn with another image', [visual(0), text(3), visual(1), text(3)], [5, 10]],
];

/** Stages a text and holds it to its own definition: all conversations, and a second question about the same images. */
function staged(source: string): Program {
  const g: Graph = parseGraph(source);
  const program = parseProgram(printProgram(stageProgram(optimise(g))));
  for (const [name, prompt, turns] of conversations) {
    const own = prompt.filter((s) => g.sequences.get('tokens')!.kinds.some((k) => k.name === s.kind));
    const cut = turns.map((t) => t - prompt.filter((s) => !own.includes(s)).reduce((n, s) => n + s.length, 0)).filter((t) => t > 0);
    const c = caseOf(g, own), run = new StagedRun(g, program, c);
    run.say(c, cut.length ? cut : [1]);
    const images = own.filter((s) => s.image !== undefined), again = caseOf(g, [text(3), ...images, text(4)], {}, 5);
    run.begin();
    // The same images, with the values that the first prompt gave them.
    const inputs = Object.fromEntries(Object.entries(again.inputs).map(([n, v]) => [n, g.inputs.get(n)!.type.rows!.kinds.includes('visual') ? c.inputs[n]! : v]));
    run.say({ ...again, weights: c.weights, inputs }, [again.layout['tokens']!.reduce((n, s) => n + s.length, 0) - 2]);
    expect(run.worst, name).toBeLessThan(1e-4);
  }
  return program;
}
const printed = (p: Program): string => printProgram(p, { paths: false });
const statesOf = (p: Program, name: string): string[] => [...p.graphs.get(name)!.states.keys()];
/** Ops of an entry that compute rows of images. */
const visualOps = (p: Program, name: string): string[] => p.graphs.get(name)!.nodes.filter((n) => n.type.rows?.kinds.includes('visual') && !n.type.rows.context).map((n) => n.op);

const layer = (i: number, mask: string, x: string, o: { first: number }): string => {
  const n = (k: number): string => `%${o.first + k}`;
  return `
  ${n(0)} = rms_norm ${x}, @"norm" {eps = 0.00001} in "layers.${i}.norm"
  ${n(1)} = linear ${n(0)}, @"q" in "layers.${i}.self_attn.q_proj"
  ${n(2)} = linear ${n(0)}, @"k" in "layers.${i}.self_attn.k_proj"
  ${n(3)} = linear ${n(0)}, @"v" in "layers.${i}.self_attn.v_proj"
  ${n(4)} = row_number() {of = "position", rows = "visual+text"} in "layers.${i}.self_attn"
  ${n(5)} = rope ${n(1)}, ${n(4)} {heads = 2, theta = 100} in "layers.${i}.self_attn"
  ${n(6)} = rope ${n(2)}, ${n(4)} {heads = 1, theta = 100} in "layers.${i}.self_attn"
  ${n(7)} = attention ${n(5)}, ${n(6)}, ${n(3)} {heads = 2, kv_heads = 1, scale = 0.7, mask = "${mask}"} in "layers.${i}.self_attn"
  ${n(8)} = linear ${n(7)}, @"o" in "layers.${i}.self_attn.o_proj"
  ${n(9)} = add ${x}, ${n(8)} in "layers.${i}"`;
};
const model = (masks: readonly string[]): string => `graph model {
  sequence tokens(media visual: V, text: T)
${[...new Set(masks)].map((m) => `  mask ${m}(tokens) = ${predicates[m]}`).join('\n')}
  input ids: i32[text] at prompt
  input features: f32[visual, 4] at image
  weight "embed": f32[2, 4]
  weight "norm": f32[4]
  weight "q": f32[4, 4]
  weight "k": f32[2, 4]
  weight "v": f32[2, 4]
  weight "o": f32[4, 4]
  %0 = embed %ids, @"embed" in "embed"
  %1 = silu %features in "projector"
  %2 = merge %1, %0
${masks.map((m, i) => layer(i, m, `%${i ? 2 + 10 * i : 2}`, { first: 3 + 10 * i })).join('')}
  %${3 + 10 * masks.length} = rows %${2 + 10 * masks.length} {rows = "text.last"}
  %${4 + 10 * masks.length} = linear %${3 + 10 * masks.length}, @"embed" in "lm_head"
  return logits = %${4 + 10 * masks.length}
}`;
const predicates: Record<string, string> = {
  causal: 'k.pos <= q.pos',
  composite: 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos',
  islands: 'q.kind == text ? k.pos <= q.pos : k.image == q.image',
  textual: 'k.kind == text && k.pos <= q.pos',
  imagesBefore: 'q.kind == text ? k.pos <= q.pos : k.kind == visual && k.pos <= q.pos',
  onlyText: 'q.kind == text ? k.kind == text && k.pos <= q.pos : k.pos <= q.pos',
};

describe('under the composite mask', () => {
  test('vision computes all of the image, and prefill and decode nothing of it', () => {
    expect(printed(staged(model(['composite'])))).toMatchInlineSnapshot(`
      "graph vision {
        sequence tokens(media visual: V, text: T)
        mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
        input features: f32[visual, 4] at image
        weight "norm": f32[4]
        weight "k": f32[2, 4]
        weight "v": f32[2, 4]
        state "layers.0.self_attn.k": f32[visual+text.context, 2]
        state "layers.0.self_attn.v": f32[visual+text.context, 2]

        %0 = silu %features : f32[visual, 4]
        %1 = rms_norm %0, @"norm" {eps = 0.00001} : f32[visual, 4]
        %2 = linear %1, @"k" : f32[visual, 2]
        %3 = linear %1, @"v" : f32[visual, 2]
        %4 = row_number() {of = "index", rows = "visual"} : i32[visual]
        %5 = rope %2, %4 {heads = 1, theta = 100} : f32[visual, 2]
        %6 = store &"layers.0.self_attn.k", %5 {state = "layers.0.self_attn.k"} : f32[visual+text.context, 2]
        %7 = store &"layers.0.self_attn.v", %3 {state = "layers.0.self_attn.v"} : f32[visual+text.context, 2]
        return "layers.0.self_attn.k" = %6, "layers.0.self_attn.v" = %7
      }

      graph prefill {
        sequence tokens(media visual: V, text: T)
        mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
        input ids: i32[text] at prompt
        weight "embed": f32[2, 4]
        weight "norm": f32[4]
        weight "q": f32[4, 4]
        weight "k": f32[2, 4]
        weight "v": f32[2, 4]
        weight "o": f32[4, 4]
        state "layers.0.self_attn.k": f32[visual+text.context, 2]
        state "layers.0.self_attn.v": f32[visual+text.context, 2]

        %0 = embed %ids, @"embed" : f32[text, 4]
        %1 = rms_norm %0, @"norm" {eps = 0.00001} : f32[text, 4]
        %2 = rows %1 {rows = "text.last"} : f32[text.last, 4]
        %3 = linear %2, @"q" : f32[text.last, 4]
        %4 = linear %1, @"k" : f32[text, 2]
        %5 = linear %1, @"v" : f32[text, 2]
        %6 = row_number() {of = "position", rows = "text"} : i32[text]
        %7 = row_number() {of = "position", rows = "text.last"} : i32[text.last]
        %8 = rope %3, %7 {heads = 2, theta = 100} : f32[text.last, 4]
        %9 = rope %4, %6 {heads = 1, theta = 100} : f32[text, 2]
        %10 = store &"layers.0.self_attn.k", %9 {state = "layers.0.self_attn.k"} : f32[visual+text.context, 2]
        %11 = store &"layers.0.self_attn.v", %5 {state = "layers.0.self_attn.v"} : f32[visual+text.context, 2]
        %12 = attention %8, %10, %11 {heads = 2, kv_heads = 1, scale = 0.7, mask = "composite", relative = {kinds = ["visual"], theta = 100}} : f32[text.last, 4]
        %13 = linear %12, @"o" : f32[text.last, 4]
        %14 = rows %0 {rows = "text.last"} : f32[text.last, 4]
        %15 = add %14, %13 : f32[text.last, 4]
        %16 = linear %15, @"embed" : f32[text.last, 2]
        return logits = %16, "layers.0.self_attn.k" = %10, "layers.0.self_attn.v" = %11
      }

      graph decode {
        sequence tokens(media visual: V, text: T)
        mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
        input ids: i32[text.last] at token
        weight "embed": f32[2, 4]
        weight "norm": f32[4]
        weight "q": f32[4, 4]
        weight "k": f32[2, 4]
        weight "v": f32[2, 4]
        weight "o": f32[4, 4]
        state "layers.0.self_attn.k": f32[visual+text.context, 2]
        state "layers.0.self_attn.v": f32[visual+text.context, 2]

        %0 = embed %ids, @"embed" : f32[text.last, 4]
        %1 = rms_norm %0, @"norm" {eps = 0.00001} : f32[text.last, 4]
        %2 = linear %1, @"q" : f32[text.last, 4]
        %3 = linear %1, @"k" : f32[text.last, 2]
        %4 = linear %1, @"v" : f32[text.last, 2]
        %5 = row_number() {of = "position", rows = "text.last"} : i32[text.last]
        %6 = rope %2, %5 {heads = 2, theta = 100} : f32[text.last, 4]
        %7 = rope %3, %5 {heads = 1, theta = 100} : f32[text.last, 2]
        %8 = store &"layers.0.self_attn.k", %7 {state = "layers.0.self_attn.k"} : f32[visual+text.context, 2]
        %9 = store &"layers.0.self_attn.v", %4 {state = "layers.0.self_attn.v"} : f32[visual+text.context, 2]
        %10 = attention %6, %8, %9 {heads = 2, kv_heads = 1, scale = 0.7, mask = "composite", relative = {kinds = ["visual"], theta = 100}} : f32[text.last, 4]
        %11 = linear %10, @"o" : f32[text.last, 4]
        %12 = add %0, %11 : f32[text.last, 4]
        %13 = linear %12, @"embed" : f32[text.last, 2]
        return logits = %13, "layers.0.self_attn.k" = %8, "layers.0.self_attn.v" = %9
      }"
    `);
  });
  test('every layer\'s visual keys and values are memory, and in the last layer nothing else is made', () => {
    const p = staged(model(['composite', 'composite']));
    expect(statesOf(p, 'vision')).toEqual(['layers.0.self_attn.k', 'layers.0.self_attn.v', 'layers.1.self_attn.k', 'layers.1.self_attn.v']);
    expect(visualOps(p, 'vision').filter((op) => op === 'linear')).toHaveLength(5); // k, v, o; k, v
    expect(visualOps(p, 'prefill')).toEqual([]);
    expect(visualOps(p, 'decode')).toEqual([]);
  });
});

test('under the causal mask, the image\'s part of the first layer is computed once, and the rest waits for the prompt', () => {
  const p = staged(model(['causal', 'causal']));
  expect(statesOf(p, 'vision')).toEqual(['layers.0.self_attn.k', 'layers.0.self_attn.v', 'projector.memory', 'layers.0.self_attn.q_proj.memory']);
  expect(visualOps(p, 'vision').filter((op) => op === 'linear')).toHaveLength(3);
  expect(visualOps(p, 'prefill').filter((op) => op === 'linear')).toHaveLength(3); // o of layer 0; k, v of layer 1
  expect(visualOps(p, 'decode')).toEqual([]);
});

test('where composite layers lead and causal ones follow, the frontier lies between them', () => {
  const p = staged(model(['composite', 'causal', 'causal']));
  expect(statesOf(p, 'vision').filter((s) => s.endsWith('memory'))).toEqual(['layers.0.memory', 'layers.1.self_attn.q_proj.memory']);
});

test('images that read themselves alone are computed once, attention included', () => {
  const p = staged(model(['islands', 'islands']));
  expect(visualOps(p, 'vision')).toContain('attention');
  expect(visualOps(p, 'prefill')).toEqual([]);
});

test('what text never reads is not kept', () => {
  const p = staged(model(['composite', 'textual']));
  expect(p.graphs.get('decode')!.states.get('layers.1.self_attn.k')!.type.rows!.kinds).toEqual(['text']);
  expect(statesOf(p, 'vision')).toEqual(['layers.0.self_attn.k', 'layers.0.self_attn.v']);
});

test('what later images read of earlier ones is kept, though text does not', () => {
  const p = staged(model(['onlyText', 'causal']));
  expect(p.graphs.get('prefill')!.states.get('layers.0.self_attn.k')!.type.rows!.kinds).toEqual(['visual', 'text']);
});

test('images that read earlier images find them in the states, also those of an earlier turn', () => {
  const p = staged(model(['imagesBefore', 'imagesBefore', 'causal']));
  const attentions = p.graphs.get('prefill')!.nodes.filter((n) => n.op === 'attention');
  expect(attentions.map((n) => n.inputs[1]!.op)).toEqual(attentions.map(() => 'store'));
});

test('an attention that offers some keys alone shares no state with one that offers more', () => {
  const some = model(['causal']).replace(/( {2}%10 = attention .*)\n/, '$1\n  %90 = rows %9 {rows = "visual"}\n  %91 = rows %6 {rows = "visual"}\n  %92 = attention %8, %90, %91 {heads = 2, kv_heads = 1, scale = 0.7, mask = "causal"} in "layers.0.images"\n  %93 = add %10, %92\n').replace('linear %10,', 'linear %93,');
  expect(some).toContain('linear %93');
  const p = staged(some);
  expect([...p.graphs.get('prefill')!.states.values()].filter((n) => !String(n.attrs['name']).endsWith('memory')).map((n) => n.type.rows!.kinds.join('+')).sort()).toEqual(['visual', 'visual', 'visual+text', 'visual+text']);
});

test('a model of text alone has no vision', () => {
  const p = staged(model(['causal']).replace('media visual: V, ', '').replaceAll('visual+text', 'text').replace(/ {2}input features.*\n/, '').replace(/ {2}%1 = .*\n {2}%2 = .*\n/, '  %2 = silu %0\n'));
  expect([...p.graphs.keys()]).toEqual(['prefill', 'decode']);
  expect(printed(p)).toMatchInlineSnapshot(`
    "graph prefill {
      sequence tokens(text: T)
      mask causal(tokens) = k.pos <= q.pos where text>text: causal
      input ids: i32[text] at prompt
      weight "embed": f32[2, 4]
      weight "norm": f32[4]
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]
      state "layers.0.self_attn.k": f32[text.context, 2]
      state "layers.0.self_attn.v": f32[text.context, 2]

      %0 = embed %ids, @"embed" : f32[text, 4]
      %1 = silu %0 : f32[text, 4]
      %2 = rms_norm %1, @"norm" {eps = 0.00001} : f32[text, 4]
      %3 = rows %2 {rows = "text.last"} : f32[text.last, 4]
      %4 = linear %3, @"q" : f32[text.last, 4]
      %5 = linear %2, @"k" : f32[text, 2]
      %6 = linear %2, @"v" : f32[text, 2]
      %7 = row_number() {of = "position", rows = "text"} : i32[text]
      %8 = row_number() {of = "position", rows = "text.last"} : i32[text.last]
      %9 = rope %4, %8 {heads = 2, theta = 100} : f32[text.last, 4]
      %10 = rope %5, %7 {heads = 1, theta = 100} : f32[text, 2]
      %11 = store &"layers.0.self_attn.k", %10 {state = "layers.0.self_attn.k"} : f32[text.context, 2]
      %12 = store &"layers.0.self_attn.v", %6 {state = "layers.0.self_attn.v"} : f32[text.context, 2]
      %13 = attention %9, %11, %12 {heads = 2, kv_heads = 1, scale = 0.7, mask = "causal"} : f32[text.last, 4]
      %14 = linear %13, @"o" : f32[text.last, 4]
      %15 = rows %1 {rows = "text.last"} : f32[text.last, 4]
      %16 = add %15, %14 : f32[text.last, 4]
      %17 = linear %16, @"embed" : f32[text.last, 2]
      return logits = %17, "layers.0.self_attn.k" = %11, "layers.0.self_attn.v" = %12
    }

    graph decode {
      sequence tokens(text: T)
      mask causal(tokens) = k.pos <= q.pos where text>text: causal
      input ids: i32[text.last] at token
      weight "embed": f32[2, 4]
      weight "norm": f32[4]
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]
      state "layers.0.self_attn.k": f32[text.context, 2]
      state "layers.0.self_attn.v": f32[text.context, 2]

      %0 = embed %ids, @"embed" : f32[text.last, 4]
      %1 = silu %0 : f32[text.last, 4]
      %2 = rms_norm %1, @"norm" {eps = 0.00001} : f32[text.last, 4]
      %3 = linear %2, @"q" : f32[text.last, 4]
      %4 = linear %2, @"k" : f32[text.last, 2]
      %5 = linear %2, @"v" : f32[text.last, 2]
      %6 = row_number() {of = "position", rows = "text.last"} : i32[text.last]
      %7 = rope %3, %6 {heads = 2, theta = 100} : f32[text.last, 4]
      %8 = rope %4, %6 {heads = 1, theta = 100} : f32[text.last, 2]
      %9 = store &"layers.0.self_attn.k", %8 {state = "layers.0.self_attn.k"} : f32[text.context, 2]
      %10 = store &"layers.0.self_attn.v", %5 {state = "layers.0.self_attn.v"} : f32[text.context, 2]
      %11 = attention %7, %9, %10 {heads = 2, kv_heads = 1, scale = 0.7, mask = "causal"} : f32[text.last, 4]
      %12 = linear %11, @"o" : f32[text.last, 4]
      %13 = add %1, %12 : f32[text.last, 4]
      %14 = linear %13, @"embed" : f32[text.last, 2]
      return logits = %14, "layers.0.self_attn.k" = %9, "layers.0.self_attn.v" = %10
    }"
  `);
});

test('an output that is known with the image is vision\'s; one of text rows is each step\'s', () => {
  const p = staged(model(['composite']).replace('return logits', 'return features = %1, hidden = %12, logits'));
  expect([...p.graphs].map(([name, g]) => [name, [...g.outputs.keys()].filter((o) => !/\.[kv]$|memory$/.test(o))])).toEqual([
    ['vision', ['features']], ['prefill', ['hidden', 'logits']], ['decode', ['hidden', 'logits']],
  ]);
});

test('rows of the prompt that only a merge would hand to every step are an error at the reader', () => {
  const source = model(['causal']).replace('  %1 = silu %features in "projector"', '  %1 = silu %features in "projector"\n  %99 = as_rows %1 {rows = "text"} in "odd"').replace('rows = "text.last"}\n', 'rows = "text.last"}\n  %98 = add %13, %97\n').replace('  %98', '  %97 = rows %99 {rows = "text.last"}\n  %98').replace('linear %13', 'linear %98');
  expect(() => stageProgram(optimise(parseGraph(source)))).toThrow('as_rows (in odd) needs the rows');
});
