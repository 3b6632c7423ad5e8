import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Session, UserError, interpret, parseGraph, parseProgram, verify, verifyProgram } from '../../compiler/ir/index.ts';
import type { Layout, Segment } from '../../compiler/ir/index.ts';
import { roundToF16 } from '../../compiler/ir/f16.ts';
import { placeTokens } from '../../compiler/ir/layout.ts';
import { generator, randomCase } from '../support/random-graphs.ts';

const tokens = `sequence tokens(media visual: V, text: T)
  mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos`;
const weights = `weight "e": f32[6, 4]
  weight "k": f32[4, 4]
  weight "v": f32[4, 4]`;
const key = '{heads = 1, theta = 100}', attention = '{heads = 1, kv_heads = 1, scale = 0.5, mask = "composite"}';

/** As an author writes it: one graph over the whole prompt. */
const whole = parseGraph(`graph whole {
  ${tokens}
  input ids: i32[text] at prompt
  input features: f32[visual, 4] at image
  ${weights}
  %e = embed %ids, @"e"
  %x = merge %features, %e
  %p = row_number() {of = "position", rows = "visual+text"}
  %k0 = linear %x, @"k"
  %k = rope %k0, %p ${key}
  %v = linear %x, @"v"
  %a = attention %k, %k, %v ${attention}
  %l = rows %a {rows = "text.last"}
  return y = %l, all = %a
}`);

/** The same cut by hand into steps: the image's keys and values are stored before anyone knows where the image stands. */
const text = (name: string, time: string): string => `graph ${name} {
  ${tokens}
  input ids: i32[text] at ${time}
  ${weights}
  state "kv": f32[visual.context, 4]
  state "vv": f32[visual.context, 4]
  state "kt": f32[text.context, 4]
  state "vt": f32[text.context, 4]
  %e = embed %ids, @"e"
  %p = row_number() {of = "position", rows = "text"}
  %k0 = linear %e, @"k"
  %k = rope %k0, %p ${key}
  %v = linear %e, @"v"
  %kt = store &"kt", %k {state = "kt"}
  %vt = store &"vt", %v {state = "vt"}
  %ks = merge &"kv", %kt
  %vs = merge &"vv", %vt
  %a = attention %k, %ks, %vs {heads = 1, kv_heads = 1, scale = 0.5, mask = "composite", relative = {kinds = ["visual"], theta = 100}}
  %l = rows %a {rows = "text.last"}
  return y = %l, kt = %kt, vt = %vt
}`;
const staged = parseProgram(`graph vision {
  ${tokens}
  input features: f32[visual, 4] at image
  weight "k": f32[4, 4]
  weight "v": f32[4, 4]
  state "kv": f32[visual.context, 4]
  state "vv": f32[visual.context, 4]
  %p = row_number() {of = "index", rows = "visual"}
  %k0 = linear %features, @"k"
  %k = rope %k0, %p ${key}
  %v = linear %features, @"v"
  %0 = store &"kv", %k {state = "kv"}
  %1 = store &"vv", %v {state = "vv"}
  return kv = %0, vv = %1
}
${text('prefill', 'prompt')}
${text('decode', 'token')}`);
const [vision, prefill, decode] = ['vision', 'prefill', 'decode'].map((n) => staged.graphs.get(n)!) as [typeof whole, typeof whole, typeof whole];

const random = generator(1);
const floats = (n: number): Float32Array => Float32Array.from({ length: n }, random.normal);
const values = new Map([['e', floats(24)], ['k', floats(16)], ['v', floats(16)]]);
const visual = (image: number, length: number): Segment => ({ kind: 'visual', image, length });
const words = (length: number): Segment => ({ kind: 'text', length });

describe('a session', () => {
  const pictures = new Map([[7, floats(12)], [3, floats(8)]]);
  const lengths = new Map([[7, 3], [3, 2]]);
  /** The last row's values by the whole graph over a whole prompt. */
  const expected = (prompt: Segment[], ids: number[]): number[] =>
    [...interpret(whole, { weights: values, layout: { tokens: prompt }, inputs: { ids, features: prompt.flatMap((s) => (s.image === undefined ? [] : [...pictures.get(s.image)!])) } }).outputs.get('y')!.data];
  const last = (s: Session, g: typeof whole, layout: Segment[], ids: number[]): number[] => [...s.extend(g, { layout: { tokens: layout }, inputs: { ids }, guard: true }).outputs.get('y')!.data];
  const same = (a: number[], b: number[]): void => a.forEach((x, i) => expect(x).toBeCloseTo(b[i]!, 5));
  const session = new Session(values);
  test('the program is sound', () => verifyProgram(staged));

  test('vision, prefill and decode give what one graph over the whole prompt gives', () => {
    for (const image of [7, 3]) session.image(vision, { layout: { tokens: [visual(image, lengths.get(image)!)] }, inputs: { features: pictures.get(image)! }, guard: true });
    const prompt = [words(2), visual(7, 3), words(1), visual(3, 2), words(2)], ids = [1, 2, 3, 4, 5];
    same(last(session, prefill, prompt, ids), expected(prompt, ids));
    same(last(session, decode, [words(1)], [0]), expected([...prompt, words(1)], [...ids, 0]));
    same(last(session, decode, [words(1)], [2]), expected([...prompt, words(2)], [...ids, 0, 2]));
  });
  test('a later turn is another prefill', () => {
    same(last(session, prefill, [words(3)], [1, 1, 4]), expected([words(2), visual(7, 3), words(1), visual(3, 2), words(7)], [1, 2, 3, 4, 5, 0, 2, 1, 1, 4]));
  });
  test('a new prompt finds an image again, elsewhere, and nothing of the old text', () => {
    session.begin();
    const prompt = [visual(3, 2), words(4)], ids = [5, 4, 3, 2];
    same(last(session, prefill, prompt, ids), expected(prompt, ids));
    same(last(session, decode, [words(1)], [1]), expected([...prompt, words(1)], [...ids, 1]));
  });
  test('an image that no step has stored is missed by name', () => {
    const s = new Session(values);
    expect(() => last(s, prefill, [visual(7, 3), words(1)], [1])).toThrow(/%\d+ \(attention\) is the first op to give NaN in the graph 'prefill', at row 0 \(text at position 3\), entry 0\. The state 'kv' has 3 row\(s\) that no step has stored\./);
  });
  test('an image step has no text rows', () => {
    expect(() => new Session(values).image(vision, { layout: { tokens: [words(2)] } })).toThrow("The graph 'vision' runs once an image, so its layout of sequence 'tokens' cannot hold 2 rows of kind 'text'.");
  });
});

describe('layouts', () => {
  const s = whole.sequences.get('tokens')!;
  test('places: positions, indices, images numbered in order; empty runs are not there', () => {
    const placed = placeTokens(s, [words(1), visual(9, 2), words(0), words(1), visual(4, 0), words(1)], false);
    expect(placed.map((t) => [t.kind, t.pos, t.index, t.image])).toEqual([['text', 0, 0, -1], ['visual', 1, 0, 0], ['visual', 2, 1, 0], ['text', 3, 0, -1], ['text', 4, 1, -1]]);
  });
  test.each<[string, Layout, string]>([
    ['an unknown sequence', { token: [] }, "The layout speaks of a sequence 'token', which the graph 'whole' has not. Did you mean 'tokens'? Its sequences are: tokens."],
    ['an unknown kind', { tokens: [{ kind: 'texts', length: 1 }] }, "A segment of kind 'texts' in the layout of sequence 'tokens' is of a kind that the sequence has not. Did you mean 'text'?"],
    ['a length that is none', { tokens: [words(1.5)] }, 'has length 1.5; a length is an integer of at least 0.'],
    ['media without an image', { tokens: [{ kind: 'visual', length: 1 }] }, 'must say to which image it belongs'],
    ['text with an image', { tokens: [{ kind: 'text', length: 1, image: 0 }] }, "belongs to image 0, but 'text' is not declared as media."],
    ['an image twice', { tokens: [visual(1, 2), words(1), visual(1, 2)] }, "In the layout of sequence 'tokens' the tokens of kind 'visual' of image 1 come too late."],
  ])('%s', (_what, layout, message) => {
    expect(() => interpret(whole, { weights: values, layout, inputs: { ids: [0], features: [] } })).toThrow(message);
  });
  test('images in different orders', () => {
    const g = parseGraph('graph g {\n sequence tokens(media visual: V, text: T)\n sequence patches(media patch: P)\n input x: f32[patch, 1] at image\n %0 = as_rows %x {rows = "visual"}\n return y = %0\n}');
    expect(() => interpret(g, { weights: new Map(), inputs: { x: [1, 2] }, layout: { patches: [{ kind: 'patch', image: 1, length: 1 }, { kind: 'patch', image: 2, length: 1 }], tokens: [visual(2, 1), visual(1, 1)] } }))
      .toThrow("The layout has the images 1, 2 in sequence 'patches', but 2, 1 in sequence 'tokens'. Give the images of a step to every sequence in one order.");
  });
});

describe('what a run is given', () => {
  const step = { layout: { tokens: [words(2)] }, inputs: { ids: [0, 1] } };
  test.each<[string, Parameters<typeof interpret>[1], string]>([
    ['an input too few', { ...step, weights: values, inputs: {} }, "The graph 'whole' needs the input 'ids', i32[text], but none was given."],
    ['an input too many', { ...step, weights: values, inputs: { idz: [0] } }, "The graph 'whole' has no input 'idz'. Did you mean 'ids'? Its inputs are: ids, features."],
    ['an input of another length', { ...step, weights: values, inputs: { ids: [0] } }, "The input 'ids' of the graph 'whole' is i32[text], 2 entries here, but 1 were given."],
    ['a weight too few', { ...step, weights: new Map() }, "needs the weight 'e', f32[6, 4], but none was given."],
    ['a weight of another length', { ...step, weights: new Map([...values, ['e', floats(5)]]) }, "The weight 'e' of the graph 'whole' is f32[6, 4], 24 entries here, but 5 were given."],
    ['an index outside the table', { ...step, weights: values, inputs: { ids: [0, 6] } }, "%0 (embed) of the graph 'whole' cannot be computed: index 6 lies outside the table's 6 entries."],
    ['a NaN in a weight', { ...step, weights: new Map([...values, ['k', floats(16).fill(NaN, 5, 6)]]), guard: true }, "The weight 'k' holds NaN in the graph 'whole', at entry 5."],
  ])('%s', (_what, options, message) => {
    try { interpret(whole, options); } catch (e) { expect(e).toBeInstanceOf(UserError); expect((e as Error).message).toContain(message); return; }
    throw new Error('Nothing was thrown.');
  });
  test('an input without rows may be left out; weights may be a function', () => {
    const { outputs, tokens: rowsOf } = interpret(whole, { ...step, weights: (name) => values.get(name) });
    expect(outputs.get('all')!.data).toHaveLength(8);
    expect(rowsOf(outputs.get('y')!.type.rows!)).toMatchObject([{ kind: 'text', pos: 1, index: 1, image: -1 }]);
  });
});

describe('looking inside', () => {
  const g = parseGraph(`graph g {
    sequence tokens(text: T)
    input x: f32[text, 2] at prompt
    weight "w": f32[2, 2]
    %0 = linear %x, @"w" in "mlp.up"
    %1 = scale %0 {by = 1e38} in "mlp"
    %2 = fused(%1) {family = "elementwise"} {
      %a = scale $0 {by = 1e38} in "mlp"
      %b = relu %a in "mlp.act"
      return %b
    }
    return y = %2
  }`);
  const run = { layout: { tokens: [words(1)] }, inputs: { x: [1, -2] }, weights: new Map([['w', Float32Array.of(1, 0, 0, 1)]]) };
  test('taps give the last value of a module, inside fused ops too; watch sees all', () => {
    const seen: string[] = [];
    const { taps } = interpret(g, { ...run, taps: ['mlp', 'mlp.up', 'mlp.act', 'elsewhere'], watch: (n) => seen.push(n.op) });
    expect([...taps].map(([path, t]) => [path, [...t.data]])).toEqual([['mlp.up', [1, -2]], ['mlp', [Infinity, -Infinity]], ['mlp.act', [Infinity, 0]]]);
    expect(seen).toEqual(['linear', 'scale', 'scale', 'relu', 'fused']);
  });
  test('the guard names the first op that gives what is not finite', () => {
    expect(() => interpret(g, { ...run, guard: true })).toThrow("%2.0 (scale, in mlp) is the first op to give Infinity in the graph 'g', at row 0 (text at position 0), entry 0.");
  });
});

describe('f16', () => {
  test('nearest, ties to even, small ones too', () => {
    const table: [number, number][] = [[1 + 2 ** -11, 1], [1 + 3 * 2 ** -11, 1 + 2 ** -9], [1 + 2 ** -11 + 2 ** -20, 1 + 2 ** -10], [0.1, 0.0999755859375], [65504, 65504], [65519, 65504], [65520, Infinity], [-1e9, -Infinity], [2 ** -24, 2 ** -24], [2 ** -25, 0], [3 * 2 ** -25, 2 ** -23], [2 ** -14 - 2 ** -26, 2 ** -14], [-0.3, -0.300048828125], [NaN, NaN], [0, 0]];
    for (const [x, y] of table) expect(roundToF16(x), `${x}`).toEqual(y);
  });
  test('a node of type f16 is rounded, and so are inputs and weights of that type', () => {
    const g = parseGraph('graph g {\n sequence tokens(text: T)\n input x: f16[text, 1] at prompt\n weight "w": f16[1, 1]\n %0 = linear %x, @"w"\n return y = %0\n}');
    verify(g);
    const x = 0.1, w = 1.3, y = roundToF16(roundToF16(x) * roundToF16(w));
    expect([...interpret(g, { layout: { tokens: [words(1)] }, inputs: { x: [x] }, weights: new Map([['w', Float32Array.of(w)]]) }).outputs.get('y')!.data]).toEqual([y]);
  });
});

test('random graphs run on random layouts, and give finite values', () => {
  fc.assert(fc.property(randomCase(), ({ graph, layout, inputs, weights: w }) => {
    const { outputs, tokens: rowsOf } = interpret(graph, { layout, inputs, weights: w, guard: true });
    for (const t of outputs.values()) expect(t.data.length).toBe(rowsOf(t.type.rows!).length * t.type.dims.reduce((a, b) => a * b, 1));
  }), { numRuns: 60 });
});
