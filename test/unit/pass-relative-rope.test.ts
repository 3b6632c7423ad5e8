import { expect, test } from 'vitest';
import { cse } from '../../passes/cse.ts';
import { demand } from '../../passes/demand.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { pruneByMask } from '../../passes/prune-by-mask.ts';
import { relativeRope } from '../../passes/relative-rope.ts';
import { after } from '../support/golden.ts';

const rotated = (mask: string, visualAt = 'image'): string => `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = ${mask}
  input visual: f32[visual, 4] at ${visualAt}
  input text: f32[text, 4] at prompt
  %0 = merge %visual, %text
  %1 = row_number() {of = "position", rows = "visual+text"}
  %2 = rope %0, %1 {heads = 1, theta = 100}
  %3 = attention %2, %2, %0 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
  return out = %3
}`;
const passes = [maskAnalysis, pruneByMask, demand, relativeRope, cse];

test('keys of an image are rotated by their place in it, and text turns its queries back', () => {
  expect(after(passes, rotated('q.kind == text ? k.pos <= q.pos : k.pos == q.pos'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
      input visual: f32[visual, 4] at image
      input text: f32[text, 4] at prompt

      %0 = merge %visual, %text : f32[visual+text, 4]
      %1 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
      %2 = rope %0, %1 {heads = 1, theta = 100} : f32[visual+text, 4]
      %3 = repeat_heads %visual {heads = 1, kv_heads = 1} : f32[visual, 4]
      %4 = rows %2 {rows = "text"} : f32[text, 4]
      %5 = row_number() {of = "index", rows = "visual"} : i32[visual]
      %6 = rope %visual, %5 {heads = 1, theta = 100} : f32[visual, 4]
      %7 = merge %6, %4 : f32[visual+text, 4]
      %8 = attention %4, %7, %0 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m", relative = {kinds = ["visual"], theta = 100}} : f32[text, 4]
      %9 = merge %3, %8 : f32[visual+text, 4]
      return out = %9
    }"
  `);
});

test('rows that stay in their image are rotated by their place on both sides, and nothing turns back', () => {
  expect(after(passes, rotated('q.kind == text ? k.pos <= q.pos : k.image == q.image'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.image == q.image where visual>visual: mixed, visual>text: empty, text>visual: causal, text>text: causal
      input visual: f32[visual, 4] at image
      input text: f32[text, 4] at prompt

      %0 = merge %visual, %text : f32[visual+text, 4]
      %1 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
      %2 = rope %0, %1 {heads = 1, theta = 100} : f32[visual+text, 4]
      %3 = rows %2 {rows = "visual"} : f32[visual, 4]
      %4 = row_number() {of = "index", rows = "visual"} : i32[visual]
      %5 = rope %visual, %4 {heads = 1, theta = 100} : f32[visual, 4]
      %6 = attention %5, %5, %visual {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"} : f32[visual, 4]
      %7 = rows %2 {rows = "text"} : f32[text, 4]
      %8 = merge %5, %7 : f32[visual+text, 4]
      %9 = attention %7, %8, %0 {heads = 1, kv_heads = 1, scale = 0.5, mask = "m", relative = {kinds = ["visual"], theta = 100}} : f32[text, 4]
      %10 = merge %6, %9 : f32[visual+text, 4]
      return out = %10
    }"
  `);
});

test('keys that wait for the prompt anyway keep their position', () => {
  expect(after(passes, rotated('k.pos <= q.pos', 'prompt'))).not.toContain('relative');
});

test('keys that nobody reads keep their position', () => {
  expect(after(passes, rotated('k.kind == text && k.pos <= q.pos'))).not.toContain('index');
});
