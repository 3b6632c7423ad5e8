import { expect, test } from 'vitest';
import { constants } from '../../passes/constants.ts';
import { demand } from '../../passes/demand.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { pruneByMask } from '../../passes/prune-by-mask.ts';
import { zeroRows } from '../../passes/zero-rows.ts';
import { after } from '../support/golden.ts';

/** Attention with its projections and the residual: where pruning pays. */
const layer = (mask: string, bias = ''): string => `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = ${mask}
  input x: f32[visual+text, 4] at prompt
  weight "q": f32[4, 4]
  weight "k": f32[2, 4]
  weight "v": f32[2, 4]
  weight "o": f32[4, 4]${bias && '\n  weight "b": f32[4]'}
  %0 = linear %x, @"q"
  %1 = linear %x, @"k"
  %2 = linear %x, @"v"
  %3 = attention %0, %1, %2 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"}
  %4 = linear %3, @"o"${bias && ', @"b"'}
  %5 = add %x, %4
  return out = %5
}`;
const passes = [maskAnalysis, pruneByMask, zeroRows, demand];

test('a kind that reads itself alone gets its own values: no query, no key, no score', () => {
  expect(after(passes, layer('q.kind == text ? k.pos <= q.pos : k.pos == q.pos'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
      input x: f32[visual+text, 4] at prompt
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]

      %0 = rows %x {rows = "text"} : f32[text, 4]
      %1 = linear %0, @"q" : f32[text, 4]
      %2 = linear %x, @"k" : f32[visual+text, 2]
      %3 = linear %x, @"v" : f32[visual+text, 2]
      %4 = rows %3 {rows = "visual"} : f32[visual, 2]
      %5 = repeat_heads %4 {heads = 2, kv_heads = 1} : f32[visual, 4]
      %6 = attention %1, %2, %3 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"} : f32[text, 4]
      %7 = merge %5, %6 : f32[visual+text, 4]
      %8 = linear %7, @"o" : f32[visual+text, 4]
      %9 = add %x, %8 : f32[visual+text, 4]
      return out = %9
    }"
  `);
});

test('a kind that reads nothing gets zeros, and its output projection goes', () => {
  expect(after(passes, layer('q.kind == text && k.pos <= q.pos'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text && k.pos <= q.pos where visual>visual: empty, visual>text: empty, text>visual: causal, text>text: causal
      input x: f32[visual+text, 4] at prompt
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]

      %0 = rows %x {rows = "text"} : f32[text, 4]
      %1 = linear %0, @"q" : f32[text, 4]
      %2 = linear %x, @"k" : f32[visual+text, 2]
      %3 = linear %x, @"v" : f32[visual+text, 2]
      %4 = attention %1, %2, %3 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"} : f32[text, 4]
      %5 = linear %4, @"o" : f32[text, 4]
      %6 = rows %x {rows = "visual"} : f32[visual, 4]
      %7 = rows %x {rows = "text"} : f32[text, 4]
      %8 = add %7, %5 : f32[text, 4]
      %9 = merge %6, %8 : f32[visual+text, 4]
      return out = %9
    }"
  `);
});

test('with a bias, what remains of it is the bias', () => {
  expect(after(passes, layer('q.kind == text && k.pos <= q.pos', 'b'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text && k.pos <= q.pos where visual>visual: empty, visual>text: empty, text>visual: causal, text>text: causal
      input x: f32[visual+text, 4] at prompt
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]
      weight "b": f32[4]

      %0 = rows %x {rows = "text"} : f32[text, 4]
      %1 = linear %0, @"q" : f32[text, 4]
      %2 = linear %x, @"k" : f32[visual+text, 2]
      %3 = linear %x, @"v" : f32[visual+text, 2]
      %4 = attention %1, %2, %3 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"} : f32[text, 4]
      %5 = broadcast @"b" {rows = "visual"} : f32[visual, 4]
      %6 = linear %4, @"o", @"b" : f32[text, 4]
      %7 = merge %5, %6 : f32[visual+text, 4]
      %8 = add %x, %7 : f32[visual+text, 4]
      return out = %8
    }"
  `);
});

test('kinds that read different kinds are cut apart, each with the keys that it reads', () => {
  expect(after([maskAnalysis, pruneByMask], layer('q.kind == text ? k.pos <= q.pos : k.kind == visual && k.image == q.image'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.kind == visual && k.image == q.image where visual>visual: mixed, visual>text: empty, text>visual: causal, text>text: causal
      input x: f32[visual+text, 4] at prompt
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]
      weight "o": f32[4, 4]

      %0 = linear %x, @"q" : f32[visual+text, 4]
      %1 = linear %x, @"k" : f32[visual+text, 2]
      %2 = linear %x, @"v" : f32[visual+text, 2]
      %3 = rows %0 {rows = "visual"} : f32[visual, 4]
      %4 = rows %1 {rows = "visual"} : f32[visual, 2]
      %5 = rows %2 {rows = "visual"} : f32[visual, 2]
      %6 = attention %3, %4, %5 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"} : f32[visual, 4]
      %7 = rows %0 {rows = "text"} : f32[text, 4]
      %8 = attention %7, %1, %2 {heads = 2, kv_heads = 1, scale = 0.7, mask = "m"} : f32[text, 4]
      %9 = merge %6, %8 : f32[visual+text, 4]
      %10 = linear %9, @"o" : f32[visual+text, 4]
      %11 = add %x, %10 : f32[visual+text, 4]
      return out = %11
    }"
  `);
});

test('kinds that are treated alike stay in one attention', () => {
  const text = layer('k.pos <= q.pos');
  expect(after([maskAnalysis, pruneByMask], text)).toBe(after([maskAnalysis], text));
});

test('one key-value head a query head: repeating heads is nothing to do', () => {
  const text = layer('q.kind == text ? k.pos <= q.pos : k.pos == q.pos').replaceAll('f32[2, 4]', 'f32[4, 4]').replace('kv_heads = 1', 'kv_heads = 2');
  expect(after([...passes, constants], text)).not.toContain('repeat_heads');
});
