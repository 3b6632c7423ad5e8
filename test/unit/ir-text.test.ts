import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UserError, parseGraph, parseProgram, printGraph, printProgram, printType, verify, verifyProgram } from '../../compiler/ir/index.ts';
import type { Graph, Node } from '../../compiler/ir/index.ts';
import { randomCase } from '../support/random-graphs.ts';

const llava = `graph llava {
  sequence tokens(media visual: V, text: T)
  sequence patches(media class: 1, media patch: 64)
  mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty
  input ids: i32[text] at prompt
  input pixels: f32[patch, 3, 8, 8] at image
  input features: f32[visual, 8] at image
  weight "embed": f32[80, 8]
  weight "w": f16[8, 8]
  state "kv.0.k": f32[visual+text.context, 8]

  %0 = embed %ids, @"embed" : f32[text, 8] in "embed_tokens"
  %1 = merge %features, %0 : f32[visual+text, 8]
  %2 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
  %3 = linear %1, @"w" : f32[visual+text, 8] in "layers.0.self_attn.q_proj"
  %4 = rope %3, %2 {heads = 2, theta = 10000, scaling = {type = "linear", factor = 2.5}} : f32[visual+text, 8] in "layers.0.self_attn"
  %5 = store &"kv.0.k", %4 {state = "kv.0.k"} : f32[visual+text.context, 8] in "layers.0.self_attn"
  %6 = attention %4, %5, %5 {heads = 2, kv_heads = 2, scale = 0.17677669529663687, mask = "composite", relative = {kinds = ["visual"], theta = 10000}} : f32[visual+text, 8] in "layers.0.self_attn"
  %7 = fused(%6, @"w", %1) {family = "matmul"} {
    %7.0 = linear $0, $1 : f32[visual+text, 8] in "layers.0.self_attn.o_proj"
    %7.1 = add %7.0, $2 : f32[visual+text, 8]
    return %7.1, %7.0
  } : f32[visual+text, 8], f32[visual+text, 8] in "layers.0"
  %8 = result %7 {index = 1} : f32[visual+text, 8]
  %9 = rows %8 {rows = "text.last"} : f32[text.last, 8]
  return logits = %9, "kv.0.k" = %5
}`;

/** What a graph is, without the text: ops, wiring, attributes, types. */
function shape(g: Graph): unknown {
  const list = (nodes: readonly Node[], known: Map<Node, string>, prefix: string): unknown[] => nodes.map((n, i) => {
    known.set(n, `${prefix}${i}`);
    const name = (x: Node): unknown => known.get(x) ?? `${x.op} ${String(x.attrs['name'])}`;
    const inner = new Map(n.body?.params.map((p, j) => [p, `$${j}`]));
    return [n.op, n.inputs.map(name), n.attrs, printType(n.type), n.path, n.body && [list(n.body.nodes, inner, `${prefix}${i}.`), n.body.results.map((r) => inner.get(r))]];
  });
  const known = new Map<Node, string>();
  return { nodes: list(g.nodes, known, ''), outputs: [...g.outputs].map(([name, n]) => [name, known.get(n)]), masks: [...g.masks.values()], sequences: [...g.sequences.values()].map((s) => ({ ...s, kinds: s.kinds.map((k) => ({ ...k, count: String(k.count) })) })) };
}
const comparable = (g: Graph): unknown => JSON.parse(JSON.stringify(shape(g), (k, v) => (k === 'count' ? String(v) : v)));

describe('print and parse', () => {
  test('a text that was printed comes back as it is', () => expect(printGraph(parseGraph(llava))).toBe(llava));

  test('on random graphs, with each way of naming', () => {
    fc.assert(fc.property(randomCase(), ({ graph }) => {
      verify(graph);
      for (const options of [{}, { names: 'paths' }, { positions: true }, { paths: false }] as const) {
        const text = printGraph(graph, options), back = parseGraph(text);
        expect(printGraph(back, options)).toBe(text);
        if (!('paths' in options)) expect(comparable(back)).toEqual(comparable(graph));
      }
    }), { numRuns: 60 });
  });

  test('what one writes by hand may leave out types, and name values', () => {
    const g = parseGraph(`
      graph g { // a comment
        sequence tokens(text: 2*T + 1)
        input x: f32[text, 4] at prompt
        weight "w": f32[3, 4]
        %hidden = linear(%x, @"w")  // with parentheses or without
        %y = silu %hidden in "mlp"
        return y = %y
      }`);
    expect(printGraph(g)).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(text: 2*T + 1)
        input x: f32[text, 4] at prompt
        weight "w": f32[3, 4]

        %0 = linear %x, @"w" : f32[text, 3]
        %1 = silu %0 : f32[text, 3] in "mlp"
        return y = %1
      }"
    `);
  });

  test('odd names, and every sort of attribute', () => {
    const text = `graph "two words" {
  sequence "the tokens"(media media: V, text: T)
  mask "a mask"("the tokens") = q.kind == media || k.pos <= q.pos
  input "0": f32[text, 4] at constant
  input "a b": f32[text, 4] at token

  %0 = add %"0", %"a b" : f32[text, 4] in "say \\"hello\\"\\n"
  %1 = fused(%0) {family = "none", "odd key" = [1, -0, 1e-7, 1e+21, 0.1, true, "}", [], {}], mask = {state = false}} {
    return $0
  } : f32[text, 4]
  return "0" = %1, mask = %"0"
}`;
    expect(printGraph(parseGraph(text))).toBe(text);
    expect(Object.is((parseGraph(text).nodes[1]!.attrs['odd key'] as number[])[1], -0)).toBe(true);
  });

  test('places in the author\'s file, and in the text itself', () => {
    const text = `graph g {
  sequence tokens(text: T)
  mask all(tokens) = true where text>text: full at "model.ts":3:7
  input x: f32[text, 4] at prompt

  %0 = silu %x : f32[text, 4] at "model.ts":12:30
  %1 = relu %0 : f32[text, 4]
  return y = %1
}`;
    expect(printGraph(parseGraph(text), { positions: true })).toBe(text);
    expect(parseGraph(text, 'a.ir').nodes.map((n) => n.where)).toEqual([{ file: 'model.ts', line: 12, column: 30 }, { file: 'a.ir', line: 7, column: 8 }]);
  });

  test('names by path do not change when another module gets an op more', () => {
    const text = printGraph(parseGraph(llava), { names: 'paths' });
    const more = printGraph(parseGraph(llava.replace('  %1 = merge', '  %extra = scale %0 {by = 2} in "embed_tokens"\n  %1 = merge')), { names: 'paths' });
    const added = more.split('\n').filter((l) => !text.split('\n').includes(l));
    expect(added).toEqual(['  %embed_tokens/scale = scale %embed_tokens/embed {by = 2} : f32[text, 8] in "embed_tokens"']);
    expect(printGraph(parseGraph(text))).toBe(llava);
  });

  test('a program is several graphs in one text', () => {
    const graphs = ['vision', 'prefill'].map((name) => llava.replace('graph llava', `graph ${name}`)).join('\n\n');
    const p = parseProgram(graphs);
    verifyProgram(p);
    expect([...p.graphs.keys()]).toEqual(['vision', 'prefill']);
    expect(printProgram(p)).toBe(graphs);
    expect(() => parseGraph(graphs)).toThrow("text:29:7: One graph was expected, but 'prefill' is a second one.");
    expect(() => verifyProgram(parseProgram(graphs.replace('"kv.0.k": f32[visual+text.context, 8]', '"kv.0.k": f16[visual+text.context, 8]').replaceAll(': f32[visual+text.context, 8]', '')))).toThrow(UserError);
  });

  test('many outputs stand on lines of their own', () => {
    const text = llava.replace('return logits = %9, "kv.0.k" = %5', `return\n    ${Array.from({ length: 9 }, (_, i) => `a_rather_long_name_${i} = %${i === 2 ? 3 : i}`).join(',\n    ')}`);
    expect(printGraph(parseGraph(text))).toBe(text);
  });
});

describe('errors of the parser', () => {
  const error = (from: string | RegExp, to: string): string => {
    const text = llava.replace(from, to);
    expect(text).not.toBe(llava);
    try { parseGraph(text, 'llava.ir'); } catch (e) {
      expect(e).toBeInstanceOf(UserError);
      return (e as Error).message;
    }
    throw new Error('Nothing was thrown.');
  };

  test('an unknown op, with the line, a caret and the nearest spelling', () => {
    expect(error('linear %1', 'lineer %1')).toMatchInlineSnapshot(`
      "llava.ir:15:8: 'lineer' is no op. Did you mean 'linear'? The ops are: linear, linear_part, rms_norm, layer_norm, gelu, gelu_tanh, quick_gelu, silu, relu, sigmoid, tanh, scale, add, sub, mul, rope, rope_part, attention, repeat_heads, rows, merge, as_rows, broadcast, zeros, row_number, embed, store, keep, chosen, gather_rows, top_k, expert_linear, mix_experts, patches, argmax, pixel_shuffle, fused, result.

        15 |   %3 = lineer %1, @"w" : f32[visual+text, 8] in "layers.0.self_attn.q_proj"
           |        ^"
    `);
  });

  /** The sentence, and the word over the caret. */
  const sentence = (from: string | RegExp, to: string): [string, string] => {
    const [head, line, caret] = error(from, to).split(/\n+/) as [string, string, string];
    return [head.replace(/^llava\.ir:\d+:\d+: /, ''), /^(?:[\w%$]+|.?)/.exec(line.slice(caret.indexOf('^')))![0]];
  };
  test.each<[string, string | RegExp, string, string, string]>([
    ['a mask', '"composite", rel', '"compsite", rel', 'mask', "attention: the mask 'compsite' is not declared. Did you mean 'composite'? Declared are: composite."],
    ['an attribute', '{heads = 2, theta', '{head = 2, theta', 'head', "rope: has no attribute 'head'. Did you mean 'heads'? Its attributes are: heads, theta, scaling."],
    ['an attribute that is missing', 'heads = 2, theta', 'theta', 'rope', "rope: needs the attribute 'heads' (an integer of at least 1)."],
    ['an attribute of another sort', 'heads = 2, theta', 'heads = 2.5, theta', 'heads', "rope: the attribute 'heads' must be an integer of at least 1, not 2.5."],
    ['an attribute given twice', 'heads = 2, theta', 'heads = 2, heads = 2, theta', 'heads', "The attribute 'heads' stands here a second time; the first is on line 16."],
    ['rows in an attribute', 'rows = "text.last"', 'rows = "text.lsat"', 'rows', "rows: '.lsat' of the rows 'text.lsat' is not known. Did you mean 'last'? Known are: last, context."],
    ['a value', '%1, @"w" :', '%11, @"w" :', '%11', "The value %11 is not defined above. Did you mean '1'? Defined are: ids, pixels, features, 0, 1, 2."],
    ['a weight', '%1, @"w" :', '%1, @"W" :', '"', "The weight @\"W\" is not defined above. Did you mean 'w'? Defined are: embed, w."],
    ['a state', '&"kv.0.k"', '&"kv.0.v"', '"', "The state &\"kv.0.v\" is not defined above. Did you mean 'kv.0.k'? Defined are: kv.0.k."],
    ['a parameter', 'add %7.0, $2', 'add %7.0, $3', '$3', 'There is no parameter $3 here; the fused op has 3 input(s), and $0 is the first.'],
    ['a parameter outside', 'rows %8', 'rows $0', '$0', 'There is no parameter $0 here; only the body of a fused op has parameters.'],
    ['a leaf inside a body', 'linear $0, $1', 'linear $0, @"w"', '"', 'The body of a fused op reads its parameters ($0, …) and its own values alone. Give it the weight as an input.'],
    ['a value of the graph inside a body', 'linear $0, $1', 'linear %3, $1', '%3', 'The value %3 is not defined above. Defined are: none.'],
    ['a body elsewhere', 'fused(%6, @"w", %1) {family = "matmul"}', 'merge(%6, @"w", %1)', '{', "Only 'fused' has a body, 'merge' has none."],
    ['no body', / \{\n {4}%7.0[^}]*\}/, '', 'fused', 'fused: needs a body with one parameter an input and at least one result.'],
    ['a kind', 'f32[visual, 8] at', 'f32[visaul, 8] at', 'visaul', "'visaul' names rows of no sequence of this graph. Did you mean 'visual'? The kinds are: visual, text, class, patch."],
    ['a type of number', 'f16[8, 8]', 'f61[8, 8]', 'f61', "'f61' is no type of number. Did you mean 'f16'? The types are: f32, f16, i32, u32, u8."],
    ['a dim', 'f16[8, 8]', 'f16[0, 8]', '0', 'A dim must be an integer of at least 1, not 0.'],
    ['a time', 'i32[text] at prompt', 'i32[text] at promt', 'promt', "'promt' is no time at which an input is known. Did you mean 'prompt'? The times are: constant, image, prompt, token."],
    ['a class of pairs', 'visual>visual: diagonal', 'visual>visual: diagnal', 'diagnal', "'diagnal' is no class of a pair of kinds. Did you mean 'diagonal'? The classes are: empty, full, causal, diagonal, mixed."],
    ["a sequence", 'composite(tokens)', 'composite(token)', 'token', "The sequence 'token' is not declared above. Did you mean 'tokens'? Declared are: tokens, patches."],
    ["a mask's predicate", 'k.pos <=', 'k.poss <=', 'k', "A token has no 'poss'. It has kind, pos, index, image."],
    ["a mask's kind", 'q.kind == text', 'q.kind == txet', 'txet', "The sequence has no kind 'txet'. Did you mean 'text'? Its kinds are: visual, text."],
    ['no predicate', /= q.kind.*\n/, '=\n', 'input', "Found 'input', where the mask's predicate was expected."],
    ['a count', 'text: T)', 'text: T V)', 'T', "'T V' is no polynomial; an example is '12*V^2 + 3*T*V + 1/2*T'."],
    ['a written type that is wrong', '%1 = merge %features, %0 : f32[visual+text, 8]', '%1 = merge %features, %0 : f32[visual+text, 9]', 'f32', '%1 is written as f32[visual+text, 9], but merge gives f32[visual+text, 8] here.'],
    ['too few types', '} : f32[visual+text, 8], f32[visual+text, 8] in', '} : f32[visual+text, 8] in', 'f32', '%7 has 2 result(s), but 1 type(s) are written.'],
    ['shapes that disagree', 'weight "w": f16[8, 8]', 'weight "w": f16[8, 7]', 'linear', 'linear: a weight of [out, 8] was expected for f32[visual+text, 8], not f16[8, 7].'],
    ['too few inputs', 'linear %1, @"w"', 'linear %1', 'linear', 'linear: takes 2 to 3 inputs, but was given 1.'],
    ['a name taken', '%8 = result', '%6 = result', '%6', '%6 has been defined before; each value has a name of its own.'],
    ['a declaration taken', 'weight "w"', 'weight "embed"', '"', "The weight 'embed' stands here a second time; the first is on line 8."],
    ['a declaration', 'weight "w"', 'weigth "w"', 'weigth', "Found 'weigth', where a declaration ('sequence', 'mask', 'input', 'weight', 'state'), '%name = …' or 'return' was expected. Did you mean 'weight'?"],
    ['a sign', '%3 = linear', '%3 linear', 'linear', "Found 'linear', where '=' after the name of a new value (an op's inputs stand between commas) was expected."],
    ["an attribute's value", 'index = 1', 'index = ', '}', "Found '}', where a number, text in quotes, 'true', 'false', '[' or '{' was expected."],
    ['a number too large', 'theta = 10000, scaling', 'theta = 1e999, scaling', '1e999', '1e999 is larger than any number here.'],
    ['an end', /\n}$/, '', '', "Found the end of the text, where '}' was expected."],
    ['quotes without an end', 'in "layers.0"\n', 'in "layers.0\n', '"', 'The text in quotes that begins here has no end on its line.'],
    ['a character', '%8 = result', '%8 = ~result', '~', "The character '~' has no meaning here."],
    ['a store into another state', '{state = "kv.0.k"}', '{state = "kv.0.q"}', 'store', "it stores into the state 'kv.0.q', which is not declared. Did you mean 'kv.0.k'? Declared are: kv.0.k."],
    ['a kind in two sequences', 'media class: 1', 'media visual: 1', 'llava', "the kind 'visual' belongs to sequence 'tokens' and to sequence 'patches'; a kind belongs to one sequence."],
  ])('%s', (_what, from, to, word, message) => expect(sentence(from, to)).toEqual([message, word]));

  test('nesting without end', () => {
    expect(error('index = 1', `index = ${'['.repeat(5000)}`)).toContain('This is nested more than 64 deep.');
    expect(error('q.kind == text', `${'('.repeat(100_000)}true`)).toContain('nested too deeply');
  });

  test('whatever is done to a text, nothing but a UserError comes of it', () => {
    const pieces = ['%', '@', '{', '}', '(', ')', '"', '\\', ',', '=', ':', '$0', '%0', '%9', 'f32', 'text', 'where', 'at', 'in', '0', '-1', '1e999', '99999999999', 'V^99', '1/0', '\n', ' ', 'fused', 'return', 'result', 'rows', 'rope', 'q', '.', '// ', 'é', '😀', 'null', '__proto__'];
    const edit = fc.record({ at: fc.nat(llava.length), cut: fc.nat(12), add: fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 4 })) });
    const words = llava.match(/[\w.]+|\S/g)!;
    const swap = fc.record({ at: fc.nat(llava.length), word: fc.constantFrom(...words) });
    let valid = 0;
    const attempt = (text: string): void => {
      try { const g = parseGraph(text); valid++; const again = printGraph(g); expect(printGraph(parseGraph(again))).toBe(again); } catch (e) { if (!(e instanceof UserError)) throw e; }
    };
    fc.assert(fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => attempt(edits.reduce((t, e) => t.slice(0, e.at) + e.add + t.slice(e.at + e.cut), llava))), { numRuns: 400 });
    // A word in place of another keeps most of a text in order, and so reaches the deeper checks.
    fc.assert(fc.property(fc.array(swap, { minLength: 1, maxLength: 2 }), (swaps) => attempt(swaps.reduce((t, { at, word }) => t.slice(0, at).replace(/[\w.]+$/, '') + word + t.slice(at).replace(/^[\w.]+/, ''), llava))), { numRuns: 400 });
    expect(valid).toBeGreaterThan(0);
  });
});
