import { expect, test } from 'vitest';
import { parseGraph } from '../../compiler/ir/index.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { after } from '../support/golden.ts';

const attend = (mask: string): string => `graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = ${mask}
  input q: f32[visual+text, 4] at prompt
  %0 = attention %q, %q, %q {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
  return out = %0
}`;

test('writes beside a mask what is proven of each pair of kinds', () => {
  expect(after([maskAnalysis], attend('q.kind == text ? k.pos <= q.pos : k.pos == q.pos'))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos where visual>visual: diagonal, visual>text: empty, text>visual: causal, text>text: causal
      input q: f32[visual+text, 4] at prompt

      %0 = attention %q, %q, %q {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"} : f32[visual+text, 4]
      return out = %0
    }"
  `);
});

test.each([
  ['true', "a 'visual' token read a 'text' token"],
  ['k.pos <= q.pos + 1', "a 'visual' token read a 'text' token"],
  ['q.kind == visual ? k.pos <= q.pos : k.pos - q.pos < 2', "a 'text' token read a 'text' token"],
])('%s lets a token read text that comes later: an error at the mask', (mask, what) => {
  expect(() => maskAnalysis.run(parseGraph(attend(mask), 'model.ir'))).toThrow(what);
  expect(() => maskAnalysis.run(parseGraph(attend(mask), 'model.ir'))).toThrow(/^model\.ir:3:\d+: .*decoding is impossible\. Allow keys of kind 'text' only where k\.pos <= q\.pos\.$/);
});

test('images may be read from before them, and a mask that nobody uses is nobody\'s error', () => {
  expect(() => maskAnalysis.run(parseGraph(attend('k.kind == visual || k.pos <= q.pos')))).not.toThrow();
  expect(() => maskAnalysis.run(parseGraph(attend('k.pos <= q.pos').replace('  input', '  mask unused(tokens) = true\n  input')))).not.toThrow();
});
