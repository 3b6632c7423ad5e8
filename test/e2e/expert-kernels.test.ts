/** The kernels of mixtures of experts on SwiftShader, against sums over plain numbers: odd sizes, every storage, pieces of the weights. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { int4Groups } from '../../compiler/ir/weight-format.ts';
import { largestOf } from '../../compiler/ir/ops/experts.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import type { ExpertRowSchedule, ExpertTileSchedule } from '../../compiler/schedule/experts-schedule.ts';
import { expertRow, expertTile, expertTileBytes } from '../../compiler/schedule/experts-schedule.ts';
import { elementwiseKernel } from '../../compiler/wgsl/elementwise.ts';
import type { ElementExpr } from '../../compiler/wgsl/expr.ts';
import type { ExpertPiece, ExpertsSpec } from '../../compiler/wgsl/experts.ts';
import { byPair, expertGroupsKernel, expertTileKernel, groupsLength } from '../../compiler/wgsl/experts.ts';
import { expertRowKernel } from '../../compiler/wgsl/experts-row.ts';
import type { View, WeightStorage } from '../../compiler/wgsl/kernel.ts';
import { topKKernel } from '../../compiler/wgsl/top-k.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { runKernels } from '../support/gpu.ts';
import { softmax } from '../support/hf-decoder.ts';
import { Buffers, evaluate } from '../support/kernel-reference.ts';
import { generator } from '../support/random-graphs.ts';

const T = Poly.dim('T'), view = (binding: string, stride: number, storage: View['storage'] = 'f32', offset = 0): View => ({ binding, storage, stride, offset: Poly.of(offset) });
const gated: ElementExpr = { op: 'mul', a: { op: 'unary', fn: 'silu', x: { op: 'acc', index: 0 } }, b: { op: 'acc', index: 1 } }, plain: ElementExpr = { op: 'acc', index: 0 };

interface Size { readonly rows: number; readonly top: number; readonly experts: number; readonly K: number; readonly width: number; readonly linears: 1 | 2; readonly aByPair: boolean; readonly storage: WeightStorage; readonly readWrite?: boolean }

/** A product with random choices, the buffers of each piece of its weights, and what it must give. */
function product(s: Size, pieces: readonly ExpertPiece[], seed = 1) {
  const random = generator(seed), { rows, top, experts, K, width, linears } = s, values = (n: number): Float32Array => Float32Array.from({ length: n }, () => random.normal() * 0.5);
  const b = new Buffers().add('a', 'f32', values((rows + 1) * K * (s.aByPair ? top : 1))).add('out', 'f32', new Float32Array((rows + 2) * top * width).fill(7));
  // Some experts get no row, and one gets most.
  b.add('chosen', 'i32', Array.from({ length: rows }, (_, r) => largestOf(Array.from({ length: experts }, (_, e) => random.uniform() + (e === r % 2 ? 1 : 0) - (e === 2 ? 9 : 0)), top)).flat());
  const matrices = values(experts * linears * width * K), all = new Buffers().addWeight('w', s.storage, matrices, K);
  pieces.forEach((p, i) => b.addWeight(`weight${i}`, s.storage, Float32Array.from({ length: p.count * p.rows * linears * K }, (_, at) => {
    const k = at % K, r = Math.floor(at / K), e = p.expert + Math.floor(r / (p.rows * linears));
    return matrices[((e * width + p.first) * linears + (r % (p.rows * linears))) * K + k]!;
  }), K));
  const a = { ...view('a', s.aByPair ? top * K : K), offset: Poly.of(1) }, out = { ...view('out', top * width), offset: Poly.of(1) }, value = linears === 2 ? gated : plain;
  const spec = (i: number): ExpertsSpec => ({ rows: rows === 1 ? Poly.of(1) : T, top, experts, K, a, aByPair: s.aByPair, chosen: view('chosen', top, 'i32'), linears, weight: { binding: `weight${i}`, storage: s.storage }, piece: pieces[i]!, width, value, out, ...(rows === 1 ? {} : { groups: 'groups' }) });
  const want = new Float64Array(b.get('out'));
  for (let r = 0; r < rows; r++) for (let j = 0; j < top; j++) for (let c = 0; c < width; c++) {
    const e = b.get('chosen')[r * top + j]!, acc = Array.from({ length: linears }, (_, l) => {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += b.get('a')[(1 + r) * K * (s.aByPair ? top : 1) + (s.aByPair ? j * K : 0) + k]! * all.get('w')[((e * width + c) * linears + l) * K + k]!;
      return sum;
    });
    want[(1 + r) * top * width + j * width + c] = evaluate(value, b, {}, 0, 0, width, acc);
  }
  return { b, spec, want };
}

const whole = (s: Size): ExpertPiece[] => [{ expert: 0, count: s.experts, first: 0, rows: s.width }];
/** Whole experts, and the last one in slices. */
const cut = (s: Size): ExpertPiece[] => [{ expert: 0, count: s.experts - 1, first: 0, rows: s.width }, { expert: s.experts - 1, count: 1, first: 0, rows: 4 }, { expert: s.experts - 1, count: 1, first: 4, rows: s.width - 4 }];

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('on SwiftShader', () => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'swiftshader' }); open = await found.open(); });
  afterAll(() => { open.close(); found = undefined; });
  const options = (written: readonly string[] = []) => ({ dims: ['T'], features: open.features, readWrite: new Set(['groups', ...written]) });

  async function error(s: Size, pieces: readonly ExpertPiece[], tile: ExpertTileSchedule | ExpertRowSchedule): Promise<number> {
    const { b, spec, want } = product(s, pieces), { rows, top, experts } = s, pairs = rows * top;
    const sorted = rows === 1 ? [] : [expertGroupsKernel({ rows: T, top, experts, chosen: view('chosen', top, 'i32'), groups: 'groups' }, options(), tile.form === 'tile' && tile.depth ? 256 : 16)];
    const kernels = [...sorted, ...pieces.map((_, i) => (tile.form === 'tile' ? expertTileKernel(spec(i), tile, options()) : expertRowKernel(spec(i), tile, options())))];
    const { outputs } = await runKernels(open.device, kernels, { buffers: { ...b.encode(), groups: new Uint32Array(groupsLength(experts, pairs)) }, dims: { T: rows } });
    const got = b.decode('out', outputs['out']!);
    return Math.max(...want.map((w, i) => (Number.isFinite(got[i]!) ? Math.abs(w - got[i]!) / Math.max(1, Math.abs(w)) : Infinity)));
  }

  const odd: Size = { rows: 19, top: 3, experts: 7, K: 22, width: 13, linears: 2, aByPair: false, storage: 'f32' };
  const tiles: ExpertTileSchedule[] = [expertTile('software', 2), { family: 'experts', form: 'tile', threads: [8, 4], outputs: [4, 2], depth: 8 }, { family: 'experts', form: 'tile', threads: [4, 4], outputs: [2, 4], depth: 16 }];
  test.each(tiles.map((t) => [JSON.stringify(t), t] as const))('many rows: %s', async (_name, tile) => {
    expect(await error(odd, whole(odd), tile)).toBeLessThan(2e-6);
    expect(await error({ ...odd, linears: 1, aByPair: true, K: 9, width: 10 }, cut({ ...odd, width: 10 }), tile)).toBeLessThan(2e-6);
  });
  test('the default for GPUs, within the smallest workgroup memory', async () => {
    for (const linears of [1, 2] as const) {
      expect(expertTileBytes(expertTile('gpu', linears))).toBeLessThanOrEqual(16384);
      const s: Size = { ...odd, rows: 90, K: 40, width: 70, linears };
      expect(await error(s, whole(s), expertTile('gpu', linears))).toBeLessThan(2e-6);
    }
  });
  const rows: ExpertRowSchedule[] = [expertRow('software', 2), expertRow('gpu', 2), { family: 'experts', form: 'row', lanes: 4, outputs: 6, teams: 2 }];
  test.each(rows.map((r) => [JSON.stringify(r), r] as const))('one row: %s', async (_name, row) => {
    const one = { ...odd, rows: 1 };
    expect(await error(one, whole(one), row)).toBeLessThan(2e-6);
    expect(await error({ ...one, linears: 1, aByPair: true }, cut(one), { ...row, outputs: 4 })).toBeLessThan(2e-6);
  });
  const formats: readonly WeightStorage[] = ['f16x2', { kind: 'int8' }, ...int4Groups.slice(0, 2).flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];
  test.each(formats.map((f) => [JSON.stringify(f), f] as const))('weights as %s', async (_name, storage) => {
    const s: Size = { ...odd, K: 70, storage };
    expect(await error(s, whole(s), tiles[0]!)).toBeLessThan(1e-5);
    expect(await error(s, whole(s), tiles[2]!)).toBeLessThan(1e-5);
    for (const row of rows.slice(0, 2)) expect(await error({ ...s, rows: 1 }, whole(s), row)).toBeLessThan(1e-5);
  });

  test('choices are the largest scores, the earlier of equals first, and mix by their softmax', async () => {
    const random = generator(3), experts = 9, top = 4, width = 6, count = 21;
    const scores = Float32Array.from({ length: count * experts }, (_, i) => (i % 5 ? random.normal() : 0.25)), given = Float32Array.from({ length: count * top * width }, random.normal);
    const chosen = Array.from({ length: count }, (_, r) => largestOf(scores.subarray(r * experts, (r + 1) * experts), top));
    const choose = topKKernel({ rows: T, width: experts, top, from: view('scores', experts), out: view('chosen', top, 'i32') }, options(['scores']));
    const mix = elementwiseKernel({ rows: T, width, value: { op: 'mix_experts', from: byPair(view('given', top * width), top), chosen: view('chosen', top, 'i32'), scores: view('scores', experts), top }, out: view('mixed', width) }, options(['chosen', 'scores']));
    const { outputs } = await runKernels(open.device, [choose, mix], { buffers: { scores, given, chosen: new Int32Array(count * top), mixed: new Float32Array(count * width) }, dims: { T: count } });
    expect([...outputs['chosen']!]).toEqual(chosen.flat());
    const want = chosen.flatMap((row, r) => { const p = softmax(row.map((e) => scores[r * experts + e]!)); return Array.from({ length: width }, (_, c) => p.reduce((s, x, j) => s + x * given[(r * top + j) * width + c]!, 0)); });
    expect(Math.max(...want.map((w, i) => Math.abs(w - outputs['mixed']![i]!)))).toBeLessThan(1e-6);
  });
});
