/**
 * What one row does in fewer kernels, on SwiftShader against sums over plain numbers: products with chosen experts that normalise their
 * row and mix what they give, and a router's product that chooses.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { int4Groups } from '../../compiler/ir/weight-format.ts';
import { largestOf } from '../../compiler/ir/ops/experts.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import { leastFacts } from '../../compiler/schedule/device-facts.ts';
import type { ExpertRowSchedule } from '../../compiler/schedule/experts-schedule.ts';
import { expertRow } from '../../compiler/schedule/experts-schedule.ts';
import type { MatvecSchedule } from '../../compiler/schedule/matvec-schedule.ts';
import { inOneWorkgroup, matvecDefault } from '../../compiler/schedule/matvec-schedule.ts';
import type { ElementExpr } from '../../compiler/wgsl/expr.ts';
import type { ExpertPiece, ExpertsSpec } from '../../compiler/wgsl/experts.ts';
import { expertRowKernel } from '../../compiler/wgsl/experts-row.ts';
import type { View, WeightStorage } from '../../compiler/wgsl/kernel.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { shapeOf } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';
import type { Norm } from '../../compiler/wgsl/statistics.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { runKernels } from '../support/gpu.ts';
import { softmax } from '../support/hf-decoder.ts';
import { Buffers, evaluate } from '../support/kernel-reference.ts';
import { generator } from '../support/random-graphs.ts';

const view = (binding: string, stride: number, storage: View['storage'] = 'f32', offset = 0): View => ({ binding, storage, stride, offset: Poly.of(offset) });
const acc = (index: number): ElementExpr => ({ op: 'acc', index }), gated: ElementExpr = { op: 'mul', a: { op: 'unary', fn: 'silu', x: acc(0) }, b: acc(1) };
const norms = { rms: { kind: 'rms_norm', gain: { binding: 'gain', storage: 'f32' }, eps: 1e-5 }, layer: { kind: 'layer_norm', gain: { binding: 'gain', storage: 'f32' }, bias: { binding: 'shift', storage: 'f32' }, eps: 1e-5 } } as const satisfies Record<string, Norm>;

/** A row as a norm leaves it. */
function normalised(row: readonly number[], norm: Norm | undefined, b: Buffers): number[] {
  if (!norm) return [...row];
  const mean = norm.kind === 'layer_norm' ? row.reduce((s, x) => s + x, 0) / row.length : 0, variance = row.reduce((s, x) => s + (x - mean) ** 2, 0) / row.length;
  return row.map((x, k) => ((x - mean) / Math.sqrt(variance + norm.eps)) * b.get('gain')[k]! + (norm.bias ? b.get('shift')[k]! : 0));
}
const dot = (x: readonly number[], w: ArrayLike<number>, from: number): number => x.reduce((s, v, k) => s + v * w[from + k]!, 0);

interface Size { readonly top: number; readonly experts: number; readonly K: number; readonly width: number; readonly storage: WeightStorage; readonly aByPair: boolean; readonly mixed: boolean; readonly norm?: Norm; readonly linears?: 1 | 2; readonly pieces?: readonly ExpertPiece[] }

/** A product with random choices, and what it must leave in `out`, which held a residual where it is mixed. */
function product({ top, experts, K, width, storage, aByPair, mixed, norm, linears = 1, pieces }: Size) {
  const random = generator(K + top), values = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal() * 0.5);
  const aWidth = aByPair ? top * K : K, outWidth = mixed ? width : top * width, all = pieces ?? [{ expert: 0, count: experts, first: 0, rows: width }];
  const b = new Buffers().add('a', 'f32', values(2 * aWidth)).add('out', 'f32', values(3 * outWidth)).add('scores', 'f32', values(experts).map((x) => 3 * x)).add('gain', 'f32', values(K)).add('shift', 'f32', values(K)).add('by', 'f32', values(width));
  const chosen = largestOf(b.get('scores'), top), matrices = values(experts * linears * width * K), whole = new Buffers().addWeight('w', storage, matrices, K);
  b.add('chosen', 'i32', chosen);
  all.forEach((p, i) => b.addWeight(`weight${i}`, storage, Float32Array.from({ length: p.count * p.rows * linears * K }, (_, at) => {
    const r = Math.floor(at / K), e = p.expert + Math.floor(r / (p.rows * linears));
    return matrices[((e * width + p.first) * linears + (r % (p.rows * linears))) * K + (at % K)]!;
  }), K));
  const out = view('out', outWidth, 'f32', 1), a = view('a', aWidth, 'f32', 1);
  // In place: every element is read before it is written.
  const value: ElementExpr = mixed ? { op: 'add', a: { op: 'load', view: out }, b: { op: 'mul', a: { op: 'vector', binding: 'by', storage: 'f32' }, b: acc(0) } } : linears === 2 ? gated : acc(0);
  const specs = all.map((piece, i): ExpertsSpec => ({
    rows: Poly.of(1), top, experts, K, a, aByPair, chosen: view('chosen', top, 'i32'), linears, weight: { binding: `weight${i}`, storage }, piece, width, value, out,
    ...(norm ? { norm } : {}), ...(mixed ? { scores: view('scores', experts) } : {}),
  }));
  const given = chosen.map((e, j) => {
    const from = aWidth + (aByPair ? j * K : 0), x = normalised([...b.get('a').subarray(from, from + K)], norm, b);
    return Array.from({ length: width }, (_, c) => Array.from({ length: linears }, (_, l) => dot(x, whole.get('w'), ((e * width + c) * linears + l) * K)));
  });
  const shares = softmax(chosen.map((e) => b.get('scores')[e]!)), want = new Float64Array(b.get('out'));
  if (mixed) for (let c = 0; c < width; c++) want[outWidth + c] = evaluate(value, b, {}, 0, c, width, [shares.reduce((s, p, j) => s + p * given[j]![c]![0]!, 0)]);
  else given.forEach((columns, j) => columns.forEach((sums, c) => { want[outWidth + j * width + c] = evaluate(value, b, {}, 0, c, width, sums); }));
  return { b, specs, want };
}

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('on SwiftShader', () => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'swiftshader' }); open = await found.open(); });
  afterAll(() => { open.close(); found = undefined; });
  const options = (...written: string[]) => ({ dims: [], features: open.features, readWrite: new Set(written) });

  async function error(s: Size, schedule: ExpertRowSchedule): Promise<number> {
    const { b, specs, want } = product(s), { outputs } = await runKernels(open.device, specs.map((spec) => expertRowKernel(spec, schedule, options('out'))), { buffers: b.encode(), dims: {} }), got = b.decode('out', outputs['out']!);
    return Math.max(...want.map((w, i) => (Number.isFinite(got[i]!) ? Math.abs(w - got[i]!) / Math.max(1, Math.abs(w)) : Infinity)));
  }
  const schedules = (linears: 1 | 2): ExpertRowSchedule[] => [expertRow('software', linears, true), expertRow('gpu', linears, true), expertRow('gpu', linears), { family: 'experts', form: 'row', lanes: 4, outputs: 6, teams: 2 }];
  const odd: Size = { top: 3, experts: 7, K: 22, width: 13, storage: 'f32', aByPair: true, mixed: true };

  test.each([
    ['some chosen', odd], ['one chosen', { ...odd, top: 1, K: 9, width: 5 }], ['all chosen', { ...odd, top: 7, K: 35, width: 11 }], ['one expert', { ...odd, top: 1, experts: 1, K: 16, width: 1 }],
    ['the same row for all', { ...odd, aByPair: false }], ['a long row', { ...odd, K: 1027, width: 70 }],
  ] satisfies [string, Size][])('mixed: %s', async (_name, s) => {
    for (const schedule of schedules(1)) expect(await error(s, schedule)).toBeLessThan(3e-6);
  });
  const formats: readonly WeightStorage[] = ['f16x2', { kind: 'int8' }, ...int4Groups.slice(0, 2).flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];
  test.each(formats.map((f) => [JSON.stringify(f), f] as const))('mixed, and normalised, with weights as %s', async (_name, storage) => {
    for (const schedule of schedules(1).slice(0, 2)) {
      expect(await error({ ...odd, K: 70, storage }, schedule)).toBeLessThan(1e-5);
      expect(await error({ ...odd, K: 70, storage, aByPair: false, norm: norms.rms }, schedule)).toBeLessThan(1e-5);
    }
  });
  test.each(Object.entries(norms))('behind a norm: %s', async (_name, norm) => {
    const s: Size = { ...odd, aByPair: false, mixed: false, norm }, cut = [{ expert: 0, count: 6, first: 0, rows: 13 }, { expert: 6, count: 1, first: 0, rows: 4 }, { expert: 6, count: 1, first: 4, rows: 9 }];
    for (const linears of [1, 2] as const) for (const schedule of schedules(linears)) {
      for (const K of [22, 9]) expect(await error({ ...s, linears, K }, schedule)).toBeLessThan(5e-6);
      expect(await error({ ...s, linears, top: 7, pieces: cut }, schedule)).toBeLessThan(5e-6);
    }
    for (const schedule of schedules(1)) expect(await error({ ...s, mixed: true }, schedule)).toBeLessThan(5e-6);
  });
  test('only a whole product of one row is mixed', () => {
    const [spec] = product(odd).specs as [ExpertsSpec], kernel = (s: Partial<ExpertsSpec>) => () => expertRowKernel({ ...spec, ...s }, expertRow('gpu', 1, true), options('out'));
    expect(kernel({ piece: { ...spec.piece, count: 6 } })).toThrow('Only whole products of one linear');
    expect(kernel({ norm: norms.rms })).toThrow('not normalised as one');
    expect(kernel({ rows: Poly.of(2) })).toThrow('One row is multiplied here');
  });

  const matvec = (lanes: number, outputs: number, teams: number): MatvecSchedule => ({ family: 'matvec', form: 'workgroup', lanes, outputs, teams, sum: 'dot', dot4: false });
  test.each([[7, 3, 22, undefined], [1, 1, 9, norms.rms], [5, 5, 40, norms.layer], [64, 6, 130, norms.rms], [128, 1, 64, undefined]] as const)('a product of %i columns chooses %i', async (width, top, K, norm) => {
    const random = generator(width), values = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal());
    // Every third column equals the one before.
    const w = values(width * K).map((x, at, all) => (Math.floor(at / K) % 3 === 1 ? all[at - K]! : x));
    for (const storage of ['f32', { kind: 'int8' }] as const satisfies WeightStorage[]) {
      const b = new Buffers().add('a', 'f32', values(K)).add('gain', 'f32', values(K)).add('shift', 'f32', values(K)).addWeight('w', storage, w, K).add('out', 'f32', new Float32Array(width + 2)).add('chosen', 'i32', Array.from({ length: top + 2 }, () => -5));
      const spec: MatmulSpec = { rows: Poly.of(1), K, a: view('a', K), ...(norm ? { prologue: norm } : {}), weight: { binding: 'w', storage }, groups: [{ linears: 1, width, value: acc(0), out: view('out', width) }] };
      const row = normalised([...b.get('a')], norm, b), want = Array.from({ length: width }, (_, c) => dot(row, b.get('w'), c * K)), found = new Set<string>();
      for (const wish of [matvecDefault(shapeOf(spec), leastFacts('software')), matvecDefault(shapeOf(spec), leastFacts('gpu')), matvec(4, 1, 1), matvec(16, 2, 2)]) {
        const schedule = inOneWorkgroup(wish, shapeOf(spec), leastFacts('gpu'));
        if (!schedule) continue;
        found.add(JSON.stringify(schedule));
        const kernel = matvecKernel(spec, schedule, options('out', 'chosen'), { width, top, from: view('out', width), out: view('chosen', top, 'i32') });
        const { outputs } = await runKernels(open.device, [kernel], { buffers: b.encode(), dims: {} }), got = outputs['out'] as Float32Array;
        expect(Math.max(...want.map((x, i) => Math.abs(x - got[i]!) / Math.max(1, Math.abs(x))))).toBeLessThan(2e-5);
        expect([...outputs['chosen']!]).toEqual([...largestOf(got.subarray(0, width), top), -5, -5]);
      }
      expect(found.size).toBeGreaterThan(width > 64 ? 0 : 1);
    }
  });
  test('a product that takes several workgroups chooses nothing', () => {
    const spec: MatmulSpec = { rows: Poly.of(1), K: 8, a: view('a', 8), weight: { binding: 'w', storage: 'f32' }, groups: [{ linears: 1, width: 20, value: acc(0), out: view('out', 20) }] };
    expect(() => matvecKernel(spec, matvec(4, 1, 8), options('out', 'chosen'), { width: 20, top: 2, from: view('out', 20), out: view('chosen', 2, 'i32') })).toThrow('20 weight rows in one workgroup, not in 3');
  });
});
