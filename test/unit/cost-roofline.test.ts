/** Time at best: LLM-Viewer's printed figures from graphs, and sums over decode against one step after another. */
import { describe, expect, test } from 'vitest';
import { conventions } from '../../compiler/cost/conventions.ts';
import type { DeviceProfile } from '../../compiler/cost/device-profiles.ts';
import { deviceProfiles, peakOf, profileNamed, readProfile } from '../../compiler/cost/device-profiles.ts';
import { inTotal, sumOf } from '../../compiler/cost/grouping.ts';
import { llmViewerMemory } from '../../compiler/cost/memory-rules.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import { rooflineTime } from '../../compiler/cost/roofline.ts';
import { compiled } from '../../compiler/cost/storage.ts';
import { movedBytes } from '../../compiler/cost/traffic.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { Poly, program } from '../../compiler/ir/index.ts';
import { openModel } from '../../compiler/load-model.ts';
import { countedProgram, fuseProgram } from '../../passes/cost-program.ts';
import { counted } from '../../passes/flops.ts';

const exact = conventions['exact']!, viewer = conventions['llm-viewer']!;
const graphOf = async (name: string, variant?: string) => trace((await openModel(name)).create(variant)).graph;

describe('the survey of efficient MLLMs and LLaVA-PruMerge, which used LLM-Viewer (V100, 700 and 70 rows)', () => {
  test.each([
    ['vicuna-7b', 700, 16, 9.3276, 23.348, 4.6449, 88.614], ['vicuna-7b', 70, 16, 0.90953, 13.748, 0.28392, 15.276],
    ['vicuna-13b', 700, 16, 18.171, 41.589, 7.2648, 170.53], ['vicuna-13b', 700, 4, 18.171, 10.52, 1.8162, 294.9], ['vicuna-13b', 616, 16, 15.948, 39, undefined, undefined],
  ])('%s, %i rows, %i bits', async (name, rows, bits, tera, moved, stored, ms) => {
    const g = counted(await graphOf(name), viewer), cost = programCost(program([g]), viewer, { memory: llmViewerMemory(bits) }), sizes = { dims: { V: 0, T: rows } };
    const ops = inTotal(cost.ops, viewer), at = (p: Poly): number => Number(p.mul(8).evaluate(cost.dims(sizes))) / 8, all = sumOf(ops);
    expect(at(all.flops) / 1e12 / tera).toBeCloseTo(1, 4);
    expect(at(movedBytes(all)) / 1e9 / moved).toBeCloseTo(1, 4);
    // Keys and values go into the cache; everything else that is written counts as stored.
    if (stored) expect(at(Poly.sum(ops.filter((op) => !/\.[kv]_proj$/.test(op.path)).map((op) => op.traffic.written))) / 1e9 / stored).toBeCloseTo(1, 4);
    if (ms) expect((rooflineTime(cost, profileNamed('v100'), sizes, { math: bits === 4 ? 'int8' : 'f16', ops }).seconds * 1e3) / ms).toBeCloseTo(1, 4);
  });
  // published-numbers.md, section 2, says 82, 137 and 66 ms without naming the text; 40 rows of it give these.
  test('EE-MLLM at 4900 visual rows: fused attention is bound by arithmetic, scores in memory are what makes the baseline slow', async () => {
    const device: DeviceProfile = { name: 'H100-class', source: 'published-numbers.md', peak: { f16: 989e12 }, bandwidth: 3.07e12 };
    const ms = async (variant: string, attention: 'fused' | 'apart') => {
      const cost = programCost(program([counted(await graphOf('vicuna-7b', variant), viewer)]), viewer, { memory: { ...llmViewerMemory(16), attention } });
      return Math.round(rooflineTime(cost, device, { dims: { V: 4900, T: 40 } }, { ops: inTotal(cost.ops, viewer) }).seconds * 1e3);
    };
    expect([await ms('self', 'fused'), await ms('self', 'apart'), await ms('composite', 'apart')]).toEqual([82, 136, 66]);
  });
});

/** A device whose ridge lies so that attention goes from bound by arithmetic to bound by memory, or back, as the context grows. */
const small: DeviceProfile = { name: 'small', source: 'test', peak: { f32: 2e9, f16: 4e9 }, bandwidth: 2e9 };

describe('kernels of a compiled program', async () => {
  const g = await graphOf('examples/shapes/checkpoint', 'composite'), fused = fuseProgram(countedProgram(g, exact));
  const cost = programCost(fused, exact, { memory: { storage: compiled.f16 } }), prompt = { dims: { V: 64, T: 9 } };
  test('decode is the sum of its steps, each with its own context', () => {
    for (const math of ['f32', 'f16'] as const) {
      let sum = 0;
      for (let T = 9; T < 9 + 60; T++) sum += rooflineTime(cost, small, { dims: { V: 64, T }, generate: 1 }, { math, ops: cost.ops.filter((op) => op.entry === 'decode') }).seconds;
      expect(rooflineTime(cost, small, { ...prompt, generate: 60 }, { math, ops: cost.ops.filter((op) => op.entry === 'decode') }).seconds / sum).toBeCloseTo(1, 9);
    }
  });
  test('a kernel takes the longer of arithmetic and memory, and its ops share that', () => {
    const times = rooflineTime(cost, small, { ...prompt, generate: 3 }, { math: 'f32' });
    for (const k of times.kernels.filter((k) => k.entry !== 'decode')) expect(k.seconds).toBeCloseTo(Math.max(k.flops / 2e9, k.bytes / 2e9), 12);
    expect(times.ops.reduce((s, t) => s + t.seconds, 0) / times.seconds).toBeCloseTo(1, 9);
    expect(times.kernels.map((k) => k.name)).toContain('gate_proj+up_proj');
    expect(times.kernels).toHaveLength(new Set(cost.ops.map((op) => `${op.entry} ${op.kernel}`)).size);
  });
  test('scores that go to memory are written, read, written and read again', () => {
    const apart = programCost(fused, exact, { memory: { storage: compiled.f16, attention: 'apart' } }), dims = cost.dims(prompt);
    const moved = (c: typeof cost): bigint => movedBytes(sumOf(c.ops.filter((op) => op.entry !== 'decode'))).evaluate(dims);
    const scores = Poly.sum(cost.ops.filter((op) => op.entry !== 'decode' && op.node.op === 'attention').map((op) => op.counts.softmax!)).evaluate(dims);
    expect(moved(apart) - moved(cost)).toBe(4n * 4n * scores);
  });
  test('fusion moves fewer bytes and does the same work', () => {
    const ops = programCost(countedProgram(g, exact), exact, { memory: { storage: compiled.f16 } }), dims = ops.dims(prompt);
    expect(movedBytes(sumOf(cost.ops)).evaluate(dims) < movedBytes(sumOf(ops.ops)).evaluate(dims)).toBe(true);
    expect(sumOf(cost.ops).flops.equals(sumOf(ops.ops).flops)).toBe(true);
  });
});

describe('device profiles', () => {
  test.each(Object.entries(deviceProfiles))('%s is a profile that can be read, with its source', (_name, p) => {
    expect(readProfile(JSON.parse(JSON.stringify(p)), 'p.json')).toEqual(p);
    expect(p.source.length).toBeGreaterThan(20);
    expect(p.bandwidth).toBeGreaterThan(1e10);
  });
  test.each<[string, unknown, RegExp]>([
    ['no object', 3, /^p\.json is no device profile: /],
    ['no name', { peak: { f32: 1 }, bandwidth: 1 }, /'name': it is missing\./],
    ['a text for a number', { name: 'x', peak: { f32: '1e12' }, bandwidth: 1 }, /'peak\.f32': a number was expected\./],
    ['a negative bandwidth', { name: 'x', peak: { f32: 1 }, bandwidth: -1 }, /'bandwidth': a number greater than 0 was expected\./],
    ['a peak of nothing', { name: 'x', peak: {}, bandwidth: 1 }, /'peak': at least one of f32, f16 and int8 was expected\./],
    ['an unknown arithmetic', { name: 'x', peak: { fp8: 1, f32: 1 }, bandwidth: 1 }, /'peak\.fp8': no such field is known\./],
  ])('%s is an error that says where', (_, json, message) => { expect(() => readProfile(json, 'p.json')).toThrow(message); });
  test('an unknown name, or arithmetic that the device lacks, is an error that lists what there is', () => {
    expect(() => profileNamed('h100')).toThrow(/There is no device profile 'h100'\. .*h100-sxm/);
    expect(() => peakOf(profileNamed('m2-max'), 'int8')).toThrow('The profile of Apple M2 Max, 38 GPU cores has no peak for int8; it has f32 and f16.');
  });
});
