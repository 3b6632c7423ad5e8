import { expect, test } from 'vitest';
import { parseGraph, printGraph } from '../../compiler/ir/index.ts';
import { demand } from '../../passes/demand.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { after } from '../support/golden.ts';

test('in the last layer one row passes beyond keys and values', () => {
  expect(after([maskAnalysis, demand], `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = k.pos <= q.pos
  input x: f32[visual+text, 4] at prompt
  weight "norm": f32[4]
  weight "w": f32[4, 4]
  %0 = rms_norm %x, @"norm" {eps = 0.00001}
  %1 = linear %0, @"w"
  %2 = row_number() {of = "position", rows = "visual+text"}
  %3 = rope %1, %2 {heads = 1, theta = 10000}
  %4 = attention %3, %3, %1 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
  %5 = add %x, %4
  %6 = silu %5
  %7 = add %5, %6
  %8 = rows %7 {rows = "text.last"}
  return logits = %8
}`)).toMatchInlineSnapshot(`
  "graph g {
    sequence tokens(media visual: V, text: T)
    mask m(tokens) = k.pos <= q.pos where visual>visual: causal, visual>text: causal, text>visual: causal, text>text: causal
    input x: f32[visual+text, 4] at prompt
    weight "norm": f32[4]
    weight "w": f32[4, 4]

    %0 = rms_norm %x, @"norm" {eps = 0.00001} : f32[visual+text, 4]
    %1 = linear %0, @"w" : f32[visual+text, 4]
    %2 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
    %3 = rope %1, %2 {heads = 1, theta = 10000} : f32[visual+text, 4]
    %4 = rows %3 {rows = "text.last"} : f32[text.last, 4]
    %5 = attention %4, %3, %1 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"} : f32[text.last, 4]
    %6 = rows %x {rows = "text.last"} : f32[text.last, 4]
    %7 = add %6, %5 : f32[text.last, 4]
    %8 = silu %7 : f32[text.last, 4]
    %9 = add %7, %8 : f32[text.last, 4]
    return logits = %9
  }"
`);
});

test('a tower keeps what the wanted layer needs, and its last layer only the rows that are wanted', () => {
  const text = `graph g {
  sequence tokens(media visual: V, text: T)
  sequence patches(media class: 1, media patch: 4)
  mask picture(patches) = true
  input patch: f32[patch, 4] at image
  weight "class": f32[4]
  weight "w": f32[4, 4]
  %0 = broadcast @"class" {rows = "class"}
  %1 = merge %0, %patch
  %2 = linear %1, @"w"
  %3 = attention %2, %1, %1 {heads = 2, kv_heads = 2, scale = 0.5, mask = "picture"}
  %4 = add %1, %3
  %5 = linear %4, @"w"
  %6 = rows %4 {rows = "patch"}
  %7 = as_rows %6 {rows = "visual"}
  return features = %7
}`;
  const printed = printGraph(demand.run(maskAnalysis.run(parseGraph(text))), { paths: false });
  expect(printed).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      sequence patches(media class: 1, media patch: 4)
      mask picture(patches) = true where class>class: full, class>patch: full, patch>class: full, patch>patch: full
      input patch: f32[patch, 4] at image
      weight "class": f32[4]
      weight "w": f32[4, 4]

      %0 = broadcast @"class" {rows = "class"} : f32[class, 4]
      %1 = merge %0, %patch : f32[class+patch, 4]
      %2 = linear %patch, @"w" : f32[patch, 4]
      %3 = attention %2, %1, %1 {heads = 2, kv_heads = 2, scale = 0.5, mask = "picture"} : f32[patch, 4]
      %4 = add %patch, %3 : f32[patch, 4]
      %5 = as_rows %4 {rows = "visual"} : f32[visual, 4]
      return features = %5
    }"
  `);
});

test('rows that only a mask leaves out are not computed, and an attention that reads nothing is zeros', () => {
  const printed = after([maskAnalysis, demand], `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = q.kind == visual && k.kind == text && k.pos <= q.pos
  input x: f32[visual+text, 4] at prompt
  %0 = silu %x
  %1 = attention %x, %0, %0 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
  %2 = rows %1 {rows = "text"}
  return out = %2
}`);
  expect(printed).toContain('zeros');
  expect(printed).not.toContain('silu');
});
