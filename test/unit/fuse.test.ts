/** Fusion: text in, text out, both executed; and random graphs give the same fused as unfused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import { fuse } from '../../passes/fuse.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { after, caseOf } from '../support/golden.ts';
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

describe('one row with experts', () => {
  const weights = { norm: 'f32[4]', gate: 'f32[3, 4]', ...Object.fromEntries(['up', 'down'].flatMap((w) => [0, 1, 2].map((e) => [`${w}${e}`, w === 'up' ? 'f32[5, 4]' : 'f32[4, 5]']))) };
  /** A norm, a router and experts over `rows`, and the residual. */
  const block = (rows: string, more: { readonly between?: string; readonly returns?: string; readonly chosen?: string } = {}): string => graph(weights, `  %0 = rows %x {rows = "${rows}"} : f32[${rows}, 4]
  %1 = rms_norm %0, @"norm" {eps = 0.00001} : f32[${rows}, 4]
  %2 = linear %1, @"gate" : f32[${rows}, 3]
  %3 = top_k %2 {top = 2} : i32[${rows}, 2]
  %4 = expert_linear %1, %3, @"up0", @"up1", @"up2" {experts = 3} : f32[${rows}, 10]
  %5 = silu %4 : f32[${rows}, 10]
  %6 = expert_linear %5, %3, @"down0", @"down1", @"down2" {experts = 3} : f32[${rows}, 8]
${more.between ?? ''}  %7 = mix_experts ${more.chosen ?? '%6, %3, %2'} : f32[${rows}, 4]
  %8 = add %0, %7 : f32[${rows}, 4]
  return logits = %8${more.returns ?? ''}`);
  /** What kernels there are, and that they compute what the ops do. */
  function kernels(text: string): string[] {
    const g = parseGraph(text), c = caseOf(g, [{ kind: 'visual', image: 0, length: 3 }, { kind: 'text', length: 4 }], {}, 3), fused = fuse.run(g);
    verify(fused, { pass: fuse.name });
    expect(farthest(outputsOf(g, c), outputsOf(fused, c))).toBeLessThan(1e-6);
    expect(printGraph(parseGraph(printGraph(fused)))).toBe(printGraph(fused));
    return fused.nodes.filter((n) => n.op !== 'rows' && n.op !== 'result').map((n) => (n.body ? n.body.nodes.map((m) => m.op).join(' ') : n.op));
  }

  test('norm and choice with the router, norm with the experts, mixing and residual with the last product', () => {
    expect(kernels(block('text.last'))).toEqual(['rms_norm linear top_k', 'rms_norm expert_linear silu', 'expert_linear mix_experts add']);
    expect(after([fuse], block('text.last'))).toMatchInlineSnapshot(`
      "graph g {
        sequence tokens(media visual: V, text: T)
        mask causal(tokens) = k.pos <= q.pos
        input x: f32[visual+text, 4] at prompt
        weight "norm": f32[4]
        weight "gate": f32[3, 4]
        weight "up0": f32[5, 4]
        weight "up1": f32[5, 4]
        weight "up2": f32[5, 4]
        weight "down0": f32[4, 5]
        weight "down1": f32[4, 5]
        weight "down2": f32[4, 5]

        %0 = rows %x {rows = "text.last"} : f32[text.last, 4]
        %1 = fused(%0, @"norm", @"gate") {family = "matmul"} {
          %1.0 = rms_norm $0, $1 {eps = 0.00001} : f32[text.last, 4]
          %1.1 = linear %1.0, $2 : f32[text.last, 3]
          %1.2 = top_k %1.1 {top = 2} : i32[text.last, 2]
          return %1.1, %1.2
        } : f32[text.last, 3], i32[text.last, 2]
        %2 = result %1 {index = 0} : f32[text.last, 3]
        %3 = result %1 {index = 1} : i32[text.last, 2]
        %4 = fused(%0, @"norm", %3, @"up0", @"up1", @"up2") {family = "experts"} {
          %4.0 = rms_norm $0, $1 {eps = 0.00001} : f32[text.last, 4]
          %4.1 = expert_linear %4.0, $2, $3, $4, $5 {experts = 3} : f32[text.last, 10]
          %4.2 = silu %4.1 : f32[text.last, 10]
          return %4.2
        } : f32[text.last, 10]
        %5 = fused(%0, %4, %3, @"down0", @"down1", @"down2", %2) {family = "experts"} {
          %5.0 = expert_linear $1, $2, $3, $4, $5 {experts = 3} : f32[text.last, 8]
          %5.1 = mix_experts %5.0, $2, $6 : f32[text.last, 4]
          %5.2 = add $0, %5.1 : f32[text.last, 4]
          return %5.2
        } : f32[text.last, 4]
        return logits = %5
      }"
    `);
  });
  test('many rows share one norm, and choose and mix in kernels of their own', () => {
    expect(kernels(block('text'))).toEqual(['rms_norm', 'linear', 'top_k', 'expert_linear silu', 'expert_linear', 'mix_experts add']);
  });
  test('a norm that anybody else reads stays', () => {
    expect(kernels(block('text.last', { returns: ', normed = %1' }))).toEqual(['rms_norm', 'linear top_k', 'expert_linear silu', 'expert_linear mix_experts add']);
  });
  test('a norm over the parts of all choices is none of the part that an expert reads', () => {
    const parts = block('text.last').replace('%5 = silu %4', '%5 = rms_norm %4, @"wide" {eps = 0.00001}').replace('  weight "norm"', '  weight "wide": f32[10]\n  weight "norm"');
    expect(kernels(parts)).toEqual(['rms_norm linear top_k', 'rms_norm expert_linear', 'rms_norm', 'expert_linear mix_experts add']);
  });
  test('what the experts gave is not mixed in their product where anybody else reads it, or others are mixed', () => {
    expect(kernels(block('text.last', { returns: ', given = %6' }))).toEqual(['rms_norm linear top_k', 'rms_norm expert_linear silu', 'expert_linear', 'mix_experts add']);
    const other = block('text.last', { between: '  %9 = silu %2 : f32[text.last, 3]\n  %10 = top_k %9 {top = 2} : i32[text.last, 2]\n', chosen: '%6, %10, %2' });
    expect(kernels(other)).toEqual(['rms_norm linear top_k', 'rms_norm expert_linear silu', 'expert_linear', 'silu', 'top_k', 'mix_experts add']);
  });
  test('scores that only the choice reads are stored by the kernel that it follows', () => {
    const alone = graph({ gate: 'f32[3, 4]' }, `  %0 = rows %x {rows = "text.last"} : f32[text.last, 4]
  %1 = linear %0, @"gate" : f32[text.last, 3]
  %2 = top_k %1 {top = 2} : i32[text.last, 2]
  return chosen = %2`);
    expect(kernels(alone)).toEqual(['linear', 'top_k']);
    expect(kernels(alone.replace('return chosen = %2', '%3 = top_k %1 {top = 1} : i32[text.last, 1]\n  return chosen = %2, first = %3'))).toEqual(['linear', 'top_k', 'top_k']);
    expect(kernels(alone.replace('return chosen = %2', 'return chosen = %2, scores = %1'))).toEqual(['linear top_k']);
  });
  test('other products of the router\'s row lie in its kernel, and what follows the scores goes before the choice', () => {
    const shared = graph({ gate: 'f32[3, 4]', bias: 'f32[3]', own: 'f32[5, 4]' }, `  %0 = rows %x {rows = "text.last"} : f32[text.last, 4]
  %1 = linear %0, @"gate", @"bias" : f32[text.last, 3]
  %2 = sigmoid %1 : f32[text.last, 3]
  %3 = top_k %2 {top = 2} : i32[text.last, 2]
  %4 = linear %0, @"own" : f32[text.last, 5]
  return chosen = %3, scores = %2, own = %4`);
    expect(kernels(shared)).toEqual(['linear sigmoid linear top_k']);
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
