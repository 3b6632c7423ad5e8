/** Which weights the quantisation pass chooses, in text before and after. */
import { describe, expect, test } from 'vitest';
import { parseGraph, printGraph } from '../../compiler/ir/index.ts';
import type { QuantiseRules } from '../../passes/quantise.ts';
import { checkRules, matchesPath, quantise } from '../../passes/quantise.ts';

const source = `graph small {
  sequence tokens(text: T)
  input ids: i32[text] at prompt
  weight "embed_tokens.weight": f32[20, 8]
  weight "layers.0.mlp.up_proj.weight": f32[16, 8]
  weight "layers.0.norm.weight": f32[16]
  weight "layers.0.mlp.down_proj.weight": f32[8, 16]
  weight "lm_head.weight": f32[20, 8]

  %0 = embed %ids, @"embed_tokens.weight" : f32[text, 8] in "embed_tokens"
  %1 = linear %0, @"layers.0.mlp.up_proj.weight" : f32[text, 16] in "layers.0.mlp.up_proj"
  %2 = rms_norm %1, @"layers.0.norm.weight" {eps = 0.00001} : f32[text, 16] in "layers.0.norm"
  %3 = linear %2, @"layers.0.mlp.down_proj.weight" : f32[text, 8] in "layers.0.mlp.down_proj"
  %4 = linear %3, @"lm_head.weight" : f32[text, 20] in "lm_head"
  return logits = %4
}`;
const small = parseGraph(source);
const formats = (rules: QuantiseRules): string[] => [...printGraph(quantise(rules).run(small)).matchAll(/weight "([^"]*)": \S+ \S+ \{format = "([^"]*)"\}/g)].map((m) => `${m[1]} ${m[2]}`);
const int8 = { kind: 'int8' } as const, int4 = { kind: 'int4', group: 32, symmetric: true } as const, f16 = { kind: 'f16' } as const;

test('by default the products of the decoder: no table, no head, no vector', () => {
  const text = printGraph(quantise({ format: int4, keep: [] }).run(small));
  expect(text).toBe(source.replace(/(proj.weight": f32\[\d+, \d+\])/g, '$1 {format = "int4:group=32"}'));
  expect(printGraph(parseGraph(text))).toBe(text);
});

test('the first rule that fits counts, either way', () => {
  expect(formats({ format: int8, keep: [{ pattern: 'down_proj', format: f16 }, { pattern: 'layers.0', format: int4 }, { pattern: 'lm_head', format: int8 }] }))
    .toEqual(['layers.0.mlp.up_proj.weight int4:group=32', 'layers.0.mlp.down_proj.weight f16', 'lm_head.weight int8']);
  expect(formats({ format: int8, keep: [{ pattern: '*', format: int4 }] })).toHaveLength(4);
});

test('a weight that the head shares with the table is no decoder\'s', () => {
  const tied = parseGraph(source.replace(/ {2}weight "lm_head.*\n/, '').replace('@"lm_head.weight"', '@"embed_tokens.weight"'));
  expect(printGraph(quantise({ format: int8, keep: [] }).run(tied))).not.toMatch(/embed_tokens.weight": \S+ \S+ {format/);
});

test('patterns fit whole parts of a path', () => {
  expect(['layers.1', 'layers.*.mlp', 'mlp.up_proj', '*', 'weight', 'model.layers'].map((p) => matchesPath('model.layers.1.mlp.up_proj.weight', p))).toEqual(Array(6).fill(true));
  expect(['layers', 'layers.1', 'layer', 'layers.1.up_proj', 'weight.*', 'up'].map((p) => matchesPath('model.layers.11.mlp.up_proj.weight', p))).toEqual([true, false, false, false, false, false]);
});

describe('bad rules', () => {
  test.each([
    ['a misspelt name', { format: int8, keep: [{ pattern: 'lm_hed', format: f16 }] }, "No weight has 'lm_hed' in its name, so no format can be given to it. Did you mean 'lm_head'? Names are made of: embed_tokens, layers, mlp, up_proj, norm, down_proj, lm_head."],
    ['vectors alone', { format: int8, keep: [{ pattern: 'norm', format: int8 }] }, "The pattern 'norm' fits vectors alone (such as 'layers.0.norm.weight'), and vectors are f32 in every bundle: none can be stored as int8."],
  ])('%s', (_name, rules, message) => expect(() => checkRules(small, rules)).toThrow(message));
  test('nothing left', () => expect(() => quantise({ format: int8, keep: [{ pattern: 'layers', format: f16 }] }).run(small)).toThrow('No weight is left to quantise as int8: the rules keep every matrix in another format.'));
  test('a matrix that no kernel multiplies', () => {
    const added = parseGraph(source.replace('  weight "lm_head', '  weight "grid": f32[4, 4]\n  weight "lm_head'));
    expect(() => quantise({ format: int8, keep: [{ pattern: 'grid', format: int4 }] }).run(added)).toThrow("The weight 'grid' (f32[4, 4]) cannot be stored as int4:group=32: only matrices of linear layers and embedding tables can.");
  });
});

test('a format in text must be one, and vectors have none', () => {
  expect(() => parseGraph(source.replace('f32[16, 8]', 'f32[16, 8] {format = "int5"}'))).toThrow("'int5' is no format of a weight");
  expect(() => parseGraph(source.replace('"layers.0.norm.weight": f32[16]', '"layers.0.norm.weight": f32[16] {format = "int8"}'))).toThrow('a vector has no format of its own');
  expect(() => parseGraph(source.replace('f32[16, 8]', 'f32[16, 8] {shape = "int8"}'))).toThrow("a weight has no attribute 'shape'");
});
