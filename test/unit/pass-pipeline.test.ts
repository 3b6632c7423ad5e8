import fc from 'fast-check';
import { expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { parseGraph, printGraph, program } from '../../compiler/ir/index.ts';
import { llavaConfig } from '../../models/config/llava.ts';
import { EeMllm } from '../../models/ee-mllm.ts';
import { published } from '../../models/published.ts';
import { demand } from '../../passes/demand.ts';
import { allPasses, optimise, runPass, stageProgram } from '../../passes/pipeline.ts';
import { stage } from '../../passes/stage.ts';
import { knownMask, randomCase } from '../support/random-graphs.ts';

const small = (): ReturnType<typeof parseGraph> => parseGraph(`graph small {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
  input x: f32[visual+text, 4] at prompt
  weight "w": f32[4, 4]
  %0 = linear %x, @"w"
  %1 = attention %0, %x, %x {heads = 2, kv_heads = 2, scale = 0.7, mask = "m"}
  return out = %1
}`);

test('after every pass the graph is shown, with what it took off', () => {
  const seen: string[] = [];
  stageProgram(optimise(small(), (pass, _g, { before, after }) => seen.push(`${pass}: ops ${before.ops} > ${after.ops}, flops ${after.flops}, bytes ${after.bytes}`)), (pass) => seen.push(pass));
  expect(seen.join('\n')).toMatchInlineSnapshot(`
    "dead-code: ops 2 > 2, flops 32*T + 32*V + 16*pairs(m:text>text) + 16*pairs(m:text>visual) + 16*pairs(m:visual>text) + 16*pairs(m:visual>visual), bytes 80*T + 80*V + 64
    split-kept: ops 2 > 2, flops 32*T + 32*V + 16*pairs(m:text>text) + 16*pairs(m:text>visual) + 16*pairs(m:visual>text) + 16*pairs(m:visual>visual), bytes 80*T + 80*V + 64
    mask-analysis: ops 2 > 2, flops 16*T*V + 8*T^2 + 40*T + 48*V, bytes 80*T + 80*V + 64
    constants: ops 2 > 2, flops 16*T*V + 8*T^2 + 40*T + 48*V, bytes 80*T + 80*V + 64
    cse: ops 2 > 2, flops 16*T*V + 8*T^2 + 40*T + 48*V, bytes 80*T + 80*V + 64
    prune-by-mask: ops 2 > 6, flops 16*T*V + 8*T^2 + 40*T + 32*V, bytes 80*T + 80*V + 64
    zero-rows: ops 6 > 6, flops 16*T*V + 8*T^2 + 40*T + 32*V, bytes 80*T + 80*V + 64
    relative-rope: ops 6 > 6, flops 16*T*V + 8*T^2 + 40*T + 32*V, bytes 80*T + 80*V + 64
    demand: ops 6 > 6, flops 16*T*V + 8*T^2 + 40*T, bytes 80*T + 48*V + 64
    constants: ops 6 > 5, flops 16*T*V + 8*T^2 + 40*T, bytes 80*T + 16*V + 64
    cse: ops 5 > 5, flops 16*T*V + 8*T^2 + 40*T, bytes 80*T + 16*V + 64
    dead-code: ops 5 > 5, flops 16*T*V + 8*T^2 + 40*T, bytes 80*T + 16*V + 64
    prefill: stage
    prefill: constants
    prefill: cse
    prefill: dead-code
    decode: stage
    decode: constants
    decode: cse
    decode: dead-code"
  `);
});

test('every pass has a name of its own and says what it proves, in one sentence', () => {
  expect(new Set(allPasses.map((p) => p.name)).size).toBe(allPasses.length);
  for (const p of allPasses) expect(p.proves).toMatch(/^[A-Z].*\.$/);
});

test('a pass runs on a graph or on each graph of a program; staging only on a graph', () => {
  const staged = runPass(stage, optimise(small()));
  expect('graphs' in staged).toBe(true);
  const again = runPass(demand, staged);
  expect('graphs' in again && [...again.graphs.keys()]).toEqual(['prefill', 'decode']);
  expect(() => runPass(stage, program([small()]))).toThrow('a program already');
});

test('passes are pure, and twice gives the same text', () => {
  fc.assert(fc.property(randomCase({ masks: knownMask }), (c) => {
    const before = printGraph(c.graph), once = optimise(c.graph);
    expect(printGraph(c.graph)).toBe(before);
    expect(printGraph(optimise(c.graph))).toBe(printGraph(once));
    expect(printGraph(optimise(once))).toBe(printGraph(once));
  }), { numRuns: 60 });
});

test('a 7B model passes all of them in well under two seconds', () => {
  const { graph } = trace(new EeMllm(llavaConfig(published['llava-1.5-7b'])));
  const start = process.cpuUsage();
  const { graphs } = stageProgram(optimise(graph));
  const { user, system } = process.cpuUsage(start);
  expect((user + system) / 1e6).toBeLessThan(2);
  expect([...graphs.keys()]).toEqual(['vision', 'prefill', 'decode']);
  const visual = (name: string): number => graphs.get(name)!.nodes.filter((n) => n.type.rows!.kinds.includes('visual') && !n.type.rows!.context).length;
  expect([visual('prefill'), visual('decode')]).toEqual([0, 0]);
});
