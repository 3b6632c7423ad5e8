import { describe, expect, test } from 'vitest';
import { UserError, parseGraph, program, rowSet, verify, verifyProgram } from '../../compiler/ir/index.ts';
import type { Graph, MaskDecl, Node, Sequence } from '../../compiler/ir/index.ts';
import { kind } from '../../compiler/ir/mask/index.ts';

const g = parseGraph(`graph g {
  sequence tokens(media visual: V, text: T)
  mask causal(tokens) = k.pos <= q.pos where text>text: causal
  input x: f32[visual+text, 4] at prompt
  weight "w": f32[4, 4]
  state "kv": f32[visual+text.context, 4]

  %0 = linear %x, @"w" : f32[visual+text, 4] in "q"
  %1 = store &"kv", %0 {state = "kv"} : f32[visual+text.context, 4]
  %2 = attention %0, %1, %1 {heads = 1, kv_heads = 1, scale = 0.5, mask = "causal"} : f32[visual+text, 4] in "attn"
  %3 = fused(%2, @"w", &"kv") {family = "matmul"} {
    %3.0 = linear $0, $1 : f32[visual+text, 4]
    %3.1 = store $2, %3.0 {state = "kv"} : f32[visual+text.context, 4]
    return %3.0, %3.1
  } : f32[visual+text, 4], f32[visual+text.context, 4] in "o"
  %4 = result %3 {index = 1} : f32[visual+text.context, 4]
  return y = %3, kv = %4
}`);
const [linear, store, attention, fused, result] = g.nodes as [Node, Node, Node, Node, Node];
const tokens = g.sequences.get('tokens')!, causal = g.masks.get('causal')!, x = g.inputs.get('x')!, w = g.weights.get('w')!, kv = g.states.get('kv')!;

/** The graph with one node in another's place, everywhere. */
const swap = (old: Node, fresh: Node): Graph => {
  const done = new Map<Node, Node>([[old, fresh]]);
  const nodes = g.nodes.map((n) => {
    const made = done.get(n) ?? (n.inputs.some((i) => done.has(i)) ? { ...n, inputs: n.inputs.map((i) => done.get(i) ?? i) } : n);
    if (made !== n) done.set(n, made);
    return made;
  });
  return { ...g, nodes, outputs: new Map([...g.outputs].map(([name, n]) => [name, done.get(n) ?? n])) };
};
const withMask = (m: Partial<MaskDecl>): Graph => ({ ...g, masks: new Map([['causal', { ...causal, ...m }]]) });
const other: Sequence = { name: 'tokens', kinds: [{ ...tokens.kinds[0]!, media: false }, tokens.kinds[1]!] };
const body = fused.body!;

test('a good graph passes', () => expect(() => verify(g, { pass: 'parse' })).not.toThrow());

describe('what is wrong is named, with the node and the pass', () => {
  test.each<[string, Graph, string]>([
    ['an input after its reader', { ...g, nodes: [store, linear, attention, fused, result] }, "%0 (store) of the graph 'g' is wrong after the pass 'p': its input 1 (linear) is defined after it, or not at all."],
    ['a node twice', { ...g, nodes: [linear, linear, store, attention, fused, result] }, 'it stands in the list of nodes twice.'],
    ['a node left out', { ...g, nodes: [store, attention, fused, result] }, '%0 (store) of'],
    ['a type that is not inferred', swap(linear, { ...linear, type: { ...linear.type, dtype: 'f16' } }), "%0 (linear, in q) of the graph 'g' is wrong after the pass 'p': it is marked f16[visual+text, 4], but linear gives f32[visual+text, 4] here."],
    ['inputs that disagree', swap(linear, { ...linear, inputs: [w, x] }), '%0 (linear, in q) of the graph \'g\' is wrong after the pass \'p\': the input must be rows of vectors, not f32[4, 4].'],
    ['an unknown op', swap(linear, { ...linear, op: 'linaer' }), "'linaer' is no op. Did you mean 'linear'?"],
    ['too few inputs', swap(linear, { ...linear, inputs: [x] }), 'takes 2 to 3 inputs, but was given 1.'],
    ['a leaf that is not declared', { ...g, weights: new Map() }, "%0 (linear, in q) of the graph 'g' is wrong after the pass 'p': its input 1 (weight 'w') is not declared in the graph."],
    ['another leaf of the same name', { ...g, weights: new Map([['w', { ...w }]]) }, "its input 1 (weight 'w') is not declared in the graph."],
    ['a leaf under another name', { ...g, weights: new Map([['w', w], ['v', w]]) }, "weight 'w' of the graph 'g' is wrong after the pass 'p': it stands under the name 'v' among the weights."],
    ['a weight with rows', { ...g, weights: new Map([['w', w], ['v', { ...w, attrs: { name: 'v' }, type: x.type }]]) }, 'a weight has no rows'],
    ['a state of new rows', { ...g, states: new Map([['kv', kv], ['new', { ...kv, attrs: { name: 'new' }, type: x.type }]]) }, "state 'new' of the graph 'g' is wrong after the pass 'p': a state holds all rows of the context"],
    ['an input of past rows', { ...g, inputs: new Map([['x', x], ['past', { ...x, attrs: { name: 'past', time: 'prompt' }, type: kv.type }]]) }, 'are rows of the past, which only a state holds.'],
    ['an unknown time', { ...g, inputs: new Map([['x', x], ['y', { ...x, attrs: { name: 'y', time: 'soon' } }]]) }, "'soon' is no time at which an input is known"],
    ['dims that are no sizes', { ...g, weights: new Map([['w', w], ['v', { ...w, attrs: { name: 'v' }, type: { dtype: 'f32', dims: [2 ** 40, 2 ** 40] } }]]) }, 'must be integers of at least 1'],
    ['a missing attribute', swap(attention, { ...attention, attrs: { ...attention.attrs, heads: 'one' } }), "%2 (attention, in attn) of the graph 'g' is wrong after the pass 'p': the attribute 'heads' must be an integer of at least 1, not \"one\"."],
    ['an unknown attribute', swap(attention, { ...attention, attrs: { ...attention.attrs, masc: 'causal' } }), "has no attribute 'masc'. Did you mean 'mask'?"],
    ['an attribute that is no value', swap(fused, { ...fused, attrs: { family: 'matmul', size: NaN } }), "the attribute 'size' must be text, a boolean, a finite number"],
    ['an unknown mask', { ...g, masks: new Map() }, "the mask 'causal' is not declared."],
    ['a mask under another name', { ...g, masks: new Map([['causal', causal], ['other', causal]]) }, "The graph 'g' is wrong after the pass 'p': the mask 'causal' stands under the name 'other'."],
    ['a mask of an unknown sequence', withMask({ sequence: { ...tokens, name: 'words' } }), "the mask 'causal' speaks of a sequence 'words' that is not declared like that."],
    ['a mask of an unknown kind', withMask({ expr: { is: 'operation', type: 'bool', op: 'eq', args: [{ is: 'variable', type: 'kind', token: 'q', field: 'kind' }, kind([{ name: 'audio', hasImages: true }], 'audio')] } }), "the mask 'causal' speaks of a kind 'audio', which sequence 'tokens' has not."],
    ['a proof about no pair', withMask({ pairs: { 'text>texts': 'full' } }), "the mask 'causal' proves something of 'text>texts', which is no pair of kinds. Did you mean 'text>text'?"],
    ['a proof of no class', withMask({ pairs: { 'text>text': 'whole' as 'full' } }), "the mask 'causal' gives 'text>text' the class 'whole'."],
    ['rows of another sequence of that name', swap(linear, { ...linear, type: { ...linear.type, rows: rowSet(other, ['visual', 'text']) } }), "'visual+text' are no rows of a sequence of this graph."],
    ['a kind in two sequences', { ...g, sequences: new Map([['tokens', tokens], ['more', { name: 'more', kinds: [tokens.kinds[1]!] }]]) }, "the kind 'text' belongs to sequence 'tokens' and to sequence 'more'"],
    ['a kind with a name that cannot be read', { ...g, sequences: new Map([['tokens', tokens], ['more', { name: 'more', kinds: [{ ...tokens.kinds[1]!, name: 'two words' }] }]]) }, "a kind cannot be called 'two words'"],
    ['a sequence without kinds', { ...g, sequences: new Map([['tokens', tokens], ['more', { name: 'more', kinds: [] }]]) }, "the sequence 'more' has no kinds."],
    ['an output from elsewhere', { ...g, outputs: new Map([['y', { ...linear }]]) }, "The graph 'g' is wrong after the pass 'p': its output 'y' (linear, in q) is no value of the graph."],
    ['a store into an unknown state', swap(store, { ...store, attrs: { state: 'vk' } }), "it stores into the state 'vk', which is not declared."],
    ['a store that names another state', { ...swap(store, { ...store, attrs: { state: 'other' } }), states: new Map([['kv', kv], ['other', { ...kv, attrs: { name: 'other' } }]]) }, "it names the state 'other', but its first input is the state 'kv'."],
    ['a store into a value', swap(result, { ...result, op: 'store', inputs: [attention, linear], attrs: { state: 'kv' } }), 'the first input must be a state, not f32[visual+text, 4].'],
    ['a result of an op that is not fused', swap(result, { ...result, inputs: [linear] }), "'result' picks a result of a fused op, not of linear."],
    ['a result too many', swap(result, { ...result, attrs: { index: 2 } }), 'the fused node has no result 2.'],
    ['a body of an op that is not fused', swap(linear, { ...linear, body }), 'only a fused op has a body.'],
    ['a fused op without a body', swap(fused, { ...fused, body: undefined }), 'needs a body with one parameter an input'],
    ['a parameter too few', swap(fused, { ...fused, inputs: fused.inputs.slice(0, 2) }), 'needs a body with one parameter an input'],
    ['a parameter of another type', swap(fused, { ...fused, inputs: [attention, attention, kv] }), 'parameter 1 of its body is f32[4, 4], but its input 1 is f32[visual+text, 4].'],
    ['a body that reads from outside', swap(fused, { ...fused, body: { ...body, nodes: [{ ...body.nodes[0]!, inputs: [attention, w] }, body.nodes[1]!] } }), '%3.0 (linear) of the graph \'g\' is wrong after the pass \'p\': its input 0 (attention) is neither a parameter of the body nor defined before it there.'],
    ['a result from outside', swap(fused, { ...fused, body: { ...body, results: [attention] } }), 'result 0 of its body (attention) is no value of the body.'],
    ['a store inside a body that names another state', { ...swap(fused, { ...fused, body: { ...body, nodes: [body.nodes[0]!, { ...body.nodes[1]!, attrs: { state: 'other' } }] } }), states: new Map([['kv', kv], ['other', { ...kv, attrs: { name: 'other' } }]]) }, "it names the state 'other', but its first input is the state 'kv'."],
  ])('%s', (_what, graph, message) => {
    let error: unknown;
    try { verify(graph, { pass: 'p' }); } catch (e) { error = e; }
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).toContain("after the pass 'p'");
  });
});

test('the node\'s place in the author\'s file leads the message', () => {
  const here = { file: 'model.ts', line: 3, column: 9 };
  expect(() => verify(swap(linear, { ...linear, op: 'linaer', where: here }))).toThrow(/^model\.ts:3:9: %0 \(linaer, in q\) of the graph 'g' is wrong: 'linaer' is no op\./);
});

test('the graphs of a program agree on what they share', () => {
  verifyProgram(program([g, { ...g, name: 'again' }]));
  const wide = parseGraph('graph wide {\n sequence tokens(media visual: V, text: T)\n input x: f32[text, 5] at prompt\n weight "w": f32[5, 5]\n %0 = linear %x, @"w"\n return y = %0\n}');
  expect(() => verifyProgram(program([g, wide]))).toThrow("The graphs 'g' and 'wide' of one program disagree on weight 'w': f32[4, 4] in the one, f32[5, 5] in the other.");
  expect(() => verifyProgram({ graphs: new Map([['h', g]]) })).toThrow("The graph 'g' stands in its program under the name 'h'.");
});
