/** Fusion: text in, text out, both executed; and random graphs give the same fused as unfused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import { fuse } from '../../passes/fuse.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { after } from '../support/golden.ts';
import { randomCase } from '../support/random-graphs.ts';
import { farthest, outputsOf, runnable } from '../support/run-case.ts';
import { StagedRun, promptSequence } from '../support/run-program.ts';

const graph = (weights: Readonly<Record<string, string>>, body: string): string => `graph g {
  sequence tokens(media visual: V, text: T)
  mask causal(tokens) = k.pos <= q.pos
  input x: f32[visual+text, 4] at prompt
${Object.entries(weights).map(([name, type]) => `  weight "${name}": ${type}`).join('\n')}

${body}
}`;

describe('one kernel for', () => {
  test('a norm, gate and up, and their product', () => {
    expect(after([fuse], graph({ norm: 'f32[4]', gate: 'f32[6, 4]', up: 'f32[6, 4]' }, `  %0 = rms_norm %x, @"norm" {eps = 0.00001} : f32[visual+text, 4]
  %1 = linear %0, @"gate" : f32[visual+text, 6]
  %2 = silu %1 : f32[visual+text, 6]
  %3 = linear %0, @"up" : f32[visual+text, 6]
  %4 = mul %2, %3 : f32[visual+text, 6]
  return logits = %4`))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask causal(tokens) = k.pos <= q.pos
      input x: f32[visual+text, 4] at prompt
      weight "norm": f32[4]
      weight "gate": f32[6, 4]
      weight "up": f32[6, 4]

      %0 = fused(%x, @"norm", @"gate", @"up") {family = "matmul"} {
        %0.0 = rms_norm $0, $1 {eps = 0.00001} : f32[visual+text, 4]
        %0.1 = linear %0.0, $2 : f32[visual+text, 6]
        %0.2 = silu %0.1 : f32[visual+text, 6]
        %0.3 = linear %0.0, $3 : f32[visual+text, 6]
        %0.4 = mul %0.2, %0.3 : f32[visual+text, 6]
        return %0.4
      } : f32[visual+text, 6]
      return logits = %0
    }"
  `);
  });

  test('a linear with bias, activation and residual', () => {
    expect(after([fuse], graph({ w: 'f32[4, 4]', b: 'f32[4]' }, `  %0 = linear %x, @"w", @"b" : f32[visual+text, 4]
  %1 = gelu %0 : f32[visual+text, 4]
  %2 = add %x, %1 : f32[visual+text, 4]
  return logits = %2`))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask causal(tokens) = k.pos <= q.pos
      input x: f32[visual+text, 4] at prompt
      weight "w": f32[4, 4]
      weight "b": f32[4]

      %0 = fused(%x, @"w", @"b") {family = "matmul"} {
        %0.0 = linear $0, $1, $2 : f32[visual+text, 4]
        %0.1 = gelu %0.0 : f32[visual+text, 4]
        %0.2 = add $0, %0.1 : f32[visual+text, 4]
        return %0.2
      } : f32[visual+text, 4]
      return logits = %0
    }"
  `);
  });

  test('queries, keys and values of the same rows, with their rotation', () => {
    expect(after([fuse], graph({ q: 'f32[4, 4]', k: 'f32[2, 4]', v: 'f32[2, 4]' }, `  %0 = linear %x, @"q" : f32[visual+text, 4]
  %1 = linear %x, @"k" : f32[visual+text, 2]
  %2 = linear %x, @"v" : f32[visual+text, 2]
  %3 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
  %4 = rope %0, %3 {heads = 2, theta = 100} : f32[visual+text, 4]
  %5 = rope %1, %3 {heads = 1, theta = 100} : f32[visual+text, 2]
  %6 = attention %4, %5, %2 {heads = 2, kv_heads = 1, scale = 0.7, mask = "causal"} : f32[visual+text, 4]
  return logits = %6`))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask causal(tokens) = k.pos <= q.pos
      input x: f32[visual+text, 4] at prompt
      weight "q": f32[4, 4]
      weight "k": f32[2, 4]
      weight "v": f32[2, 4]

      %0 = row_number() {of = "position", rows = "visual+text"} : i32[visual+text]
      %1 = fused(%x, @"k", %0, @"q", @"v") {family = "matmul"} {
        %1.0 = linear $0, $1 : f32[visual+text, 2]
        %1.1 = rope %1.0, $2 {heads = 1, theta = 100} : f32[visual+text, 2]
        %1.2 = linear $0, $3 : f32[visual+text, 4]
        %1.3 = rope %1.2, $2 {heads = 2, theta = 100} : f32[visual+text, 4]
        %1.4 = linear $0, $4 : f32[visual+text, 2]
        return %1.1, %1.3, %1.4
      } : f32[visual+text, 2], f32[visual+text, 4], f32[visual+text, 2]
      %2 = result %1 {index = 0} : f32[visual+text, 2]
      %3 = result %1 {index = 1} : f32[visual+text, 4]
      %4 = result %1 {index = 2} : f32[visual+text, 2]
      %5 = attention %3, %2, %4 {heads = 2, kv_heads = 1, scale = 0.7, mask = "causal"} : f32[visual+text, 4]
      return logits = %5
    }"
  `);
  });
});

describe('apart stay', () => {
  test('a value that somebody else reads, and what reads it', () => {
    expect(after([fuse], graph({ w: 'f32[4, 4]' }, `  %0 = linear %x, @"w" : f32[visual+text, 4]
  %1 = silu %0 : f32[visual+text, 4]
  %2 = mul %0, %1 : f32[visual+text, 4]
  return logits = %2, other = %0`))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask causal(tokens) = k.pos <= q.pos
      input x: f32[visual+text, 4] at prompt
      weight "w": f32[4, 4]

      %0 = fused(%x, @"w") {family = "matmul"} {
        %0.0 = linear $0, $1 : f32[visual+text, 4]
        return %0.0
      } : f32[visual+text, 4]
      %1 = fused(%0) {family = "elementwise"} {
        %1.0 = silu $0 : f32[visual+text, 4]
        %1.1 = mul $0, %1.0 : f32[visual+text, 4]
        return %1.1
      } : f32[visual+text, 4]
      return logits = %1, other = %0
    }"
  `);
  });

  test('linears of different rows of one value', () => {
    expect(after([fuse], graph({ a: 'f32[4, 4]', b: 'f32[4, 4]' }, `  %0 = rows %x {rows = "text"} : f32[text, 4]
  %1 = linear %0, @"a" : f32[text, 4]
  %2 = linear %x, @"b" : f32[visual+text, 4]
  %3 = rows %2 {rows = "text"} : f32[text, 4]
  %4 = add %1, %3 : f32[text, 4]
  return logits = %4`))).toMatchInlineSnapshot(`
    "graph g {
      sequence tokens(media visual: V, text: T)
      mask causal(tokens) = k.pos <= q.pos
      input x: f32[visual+text, 4] at prompt
      weight "a": f32[4, 4]
      weight "b": f32[4, 4]

      %0 = rows %x {rows = "text"} : f32[text, 4]
      %1 = fused(%x, @"b") {family = "matmul"} {
        %1.0 = linear $0, $1 : f32[visual+text, 4]
        return %1.0
      } : f32[visual+text, 4]
      %2 = rows %1 {rows = "text"} : f32[text, 4]
      %3 = fused(%0, @"a", %2) {family = "matmul"} {
        %3.0 = linear $0, $1 : f32[text, 4]
        %3.1 = add %3.0, $2 : f32[text, 4]
        return %3.1
      } : f32[text, 4]
      return logits = %3
    }"
  `);
  });
});

const runs = { numRuns: Number(process.env['PASS_RUNS'] ?? 30) };
test('random definitions, fused, give what they gave', () => {
  fc.assert(fc.property(randomCase(), (c) => {
    fc.pre(runnable(c));
    const fused = fuse.run(c.graph);
    verify(fused, { pass: fuse.name });
    expect(farthest(outputsOf(c.graph, c), outputsOf(fused, c))).toBeLessThan(1e-5);
    expect(printGraph(parseGraph(printGraph(fused)))).toBe(printGraph(fused));
  }), runs);
});

test('random programs, fused behind all passes and staging, give what the definition gives', () => {
  fc.assert(fc.property(randomCase({ generates: true }), (c) => {
    fc.pre(runnable(c));
    try { maskAnalysis.run(c.graph); } catch { return; }
    const staged = stageProgram(optimise(c.graph));
    const fused = { graphs: new Map([...staged.graphs].map(([name, g]) => [name, fuse.run(g)])) };
    for (const g of fused.graphs.values()) verify(g, { pass: fuse.name });
    const run = new StagedRun(c.graph, fused, c), total = c.layout[promptSequence]!.reduce((n, s) => n + s.length, 0);
    run.say(c, [total]);
    expect(run.worst).toBeLessThan(1e-4);
  }), runs);
});
