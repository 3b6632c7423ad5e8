import { describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import { defaultLimits, leastFacts } from '../../compiler/schedule/device-facts.ts';
import { matmulDefault, matmulSpace } from '../../compiler/schedule/matmul-defaults.ts';
import type { ExchangeSchedule } from '../../compiler/schedule/matmul-exchange.ts';
import type { MatmulSchedule } from '../../compiler/schedule/matmul-schedule.ts';
import { whyNotMatmul } from '../../compiler/schedule/matmul-schedule.ts';
import type { RowsSchedule } from '../../compiler/schedule/matmul-rows.ts';
import type { TileSchedule } from '../../compiler/schedule/matmul-tile.ts';
import { chunkOf, matmulBytes } from '../../compiler/schedule/matmul-tile.ts';
import { inOneWorkgroup, matvecDefault, matvecSpace, whyNotMatvec } from '../../compiler/schedule/matvec-schedule.ts';
import type { MatmulShape } from '../../compiler/schedule/product-shape.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { matmulKernels, shapeOf } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';

const matmul = (threads: readonly [number, number], outputs: readonly [number, number], depth: number): TileSchedule => ({ family: 'matmul', form: 'tile', threads, outputs, depth, sum: 'dot', panels: 'f32', splits: 1, splitRows: 0 });
const rows = (n: number, lanes: number, subgroup = false): RowsSchedule => ({ family: 'matmul', form: 'rows', rows: n, lanes, outputs: 4, teams: 1, sum: 'dot', subgroup });
const exchange = (lanes: number, rows: number, teams = 1): ExchangeSchedule => ({ family: 'matmul', form: 'exchange', lanes, rows, outputs: 4, teams });
const plain: MatmulShape = { linears: [1], K: 64, weightRows: 64, a: 'f32', weight: 'f32', arithmetic: 'f32' }, gpu = leastFacts('gpu'), software = leastFacts('software'), options = { dims: ['V', 'T'], features: new Set<string>() };

describe('legality', () => {
  test.each<[MatmulSchedule, MatmulShape, string]>([
    [matmul([12, 4], [4, 4], 0), plain, 'Invocations must be powers of two along each axis, not 12×4.'],
    [matmul([32, 16], [4, 4], 0), plain, 'A workgroup of 32×16 invocations is more than the device allows (256).'],
    [matmul([8, 8], [4, 4], 6), plain, 'The depth of a panel must be a power of two, at least 4, or 0 for none; it is 6.'],
    [matmul([8, 8], [3, 4], 0), { ...plain, linears: [2] }, '3 weight rows an invocation do not hold whole outputs of 2 linear(s).'],
    [matmul([8, 8], [2, 4], 0), { ...plain, linears: [2], pairs: true }, '2 weight rows an invocation do not hold whole outputs of 2 linear(s) in pairs.'],
    [matmul([16, 16], [8, 8], 16), plain, 'It takes 16640 bytes of workgroup memory; the device has 16384.'],
    [matmul([8, 2], [4, 12], 0), { ...plain, normed: true }, '16 invocations do not share the statistics of 24 rows evenly.'],
    [{ ...matmul([8, 8], [4, 4], 0), panels: 'f16' }, plain, 'Without panels nothing is held as f16.'],
    [{ ...matmul([8, 8], [4, 4], 8), panels: 'f16' }, plain, 'Panels of f16 need the feature shader-f16, which the device lacks.'],
    [{ ...matmul([8, 8], [4, 4], 0), splits: 4, splitRows: 64 }, plain, 'Only tiles with panels share K among workgroups.'],
    [{ ...matmul([8, 8], [4, 4], 8), splits: 4, splitRows: 3 }, plain, 'splitRows is 3, too few for 4 splits of one row.'],
    [rows(0, 32), plain, 'A block has 0 rows, and an integer of at least 1 was expected.'],
    [rows(4, 32, true), plain, 'Sums that meet in subgroups need the feature subgroups, which the device lacks.'],
    [exchange(8, 2), plain, 'Lanes that exchange what they load need the feature subgroups, which the device lacks.'],
    [exchange(6, 2), plain, 'Lanes and teams must be powers of two, not 6 and 1.'],
    [exchange(8, 0), plain, 'A lane loads 0 rows, and an integer of at least 1 was expected.'],
    [rows(16, 64), plain, 'It takes 18432 bytes of workgroup memory; the device has 16384.'],
  ])('%j', (s, shape, why) => expect(whyNotMatmul(s, shape, gpu)).toBe(why));
  test('lanes that exchange rows fit into the smallest subgroup that the device may have', () => {
    const subgroups = new Set(['subgroups']), device = (min: number, max: number) => ({ ...software, features: subgroups, subgroups: { min, max } });
    expect(whyNotMatmul(exchange(8, 2), plain, { ...software, features: subgroups })).toBe('The size of the device\'s subgroups is not known.');
    expect(whyNotMatmul(exchange(8, 2), plain, device(4, 8))).toBe('A team of 8 lanes does not fit into a subgroup, which may have 4 only.');
    expect(whyNotMatmul(exchange(8, 2), plain, device(8, 32))).toBeUndefined();
    expect(whyNotMatmul(exchange(8, 2, 64), plain, device(8, 8))).toBe('A workgroup of 512 invocations is more than the device allows (256).');
    expect(whyNotMatmul({ ...exchange(8, 2), outputs: 3 }, { ...plain, linears: [2] }, device(8, 8))).toBe('3 weight rows an invocation do not hold whole outputs of 2 linear(s).');
    expect(matmulSpace(plain, device(4, 4)).filter((s) => s.form === 'exchange').map((s) => s.lanes)).toContain(4);
    expect(matmulSpace(plain, software).some((s) => s.form === 'exchange')).toBe(false);
  });
  test('matvec', () => {
    expect(whyNotMatvec({ family: 'matvec', form: 'workgroup', lanes: 64, outputs: 3, teams: 1, sum: 'dot', dot4: false }, { ...plain, linears: [2] }, gpu)).toBe('3 weight rows a team do not hold whole outputs of 2 linear(s).');
    const dot4 = { family: 'matvec', form: 'workgroup', lanes: 32, outputs: 4, teams: 2, sum: 'dot', dot4: true } as const;
    expect(whyNotMatvec(dot4, { ...plain, arithmetic: 'int8' }, gpu)).toBe('Weights in f32 are no whole numbers to multiply activations of int8 with.');
    expect(whyNotMatvec(dot4, { ...plain, weight: { kind: 'int8' } }, gpu)).toBe('Activations of int8 would change the results of a product that does not allow int8 arithmetic.');
    expect(whyNotMatvec(dot4, { ...plain, weight: { kind: 'int8' }, arithmetic: 'int8' }, gpu)).toBeUndefined();
    expect(matvecSpace({ ...plain, weight: { kind: 'int8' } }, gpu).some((s) => s.dot4)).toBe(false);
    expect(whyNotMatvec({ family: 'matvec', form: 'workgroup', lanes: 128, outputs: 64, teams: 2, sum: 'dot', dot4: false }, plain, gpu)).toMatch(/bytes of workgroup memory/);
  });
  test('one workgroup holds all weight rows, with more teams first, as long as they are few', () => {
    const usual = matvecDefault(plain, gpu), one = (weightRows: number, device = gpu, s = usual): unknown => inOneWorkgroup(s, { ...plain, weightRows }, device);
    expect(usual).toMatchObject({ lanes: 32, outputs: 4, teams: 4 });
    expect(one(8)).toBe(usual);
    expect(one(17)).toMatchObject({ lanes: 32, outputs: 4, teams: 8 });
    expect(one(64)).toMatchObject({ lanes: 32, outputs: 8, teams: 8 });
    expect(one(65)).toBeUndefined();
    expect(one(128, software, matvecDefault(plain, software))).toMatchObject({ lanes: 1, outputs: 8, teams: 16 });
    for (const weightRows of [1, 5, 30, 64, 100]) for (const s of matvecSpace(plain, gpu)) {
      const whole = inOneWorkgroup(s, { ...plain, weightRows }, gpu);
      if (!whole) continue;
      expect(whole.teams * whole.outputs).toBeGreaterThanOrEqual(weightRows);
      expect(whyNotMatvec(whole, { ...plain, weightRows }, gpu)).toBeUndefined();
    }
  });
  test('whatever is searched or taken by default is legal with the limits that every device has', () => {
    for (const linears of [[1], [2], [1, 2], [3], [1, 1, 1]]) for (const pairs of [false, true]) for (const normed of [false, true]) for (const device of [gpu, software]) {
      const shape = { ...plain, linears, pairs, normed };
      for (const s of [...matmulSpace(shape, device), matmulDefault(shape, device), matmulDefault(shape, device, { fewRows: true })]) {
        expect(whyNotMatmul(s, shape, device)).toBeUndefined();
        if (s.form !== 'tile') continue;
        expect(matmulBytes(s, normed)).toBeLessThanOrEqual(defaultLimits.maxComputeWorkgroupStorageSize);
        expect(chunkOf(s, shape)! % (linears.includes(2) ? 2 : 1)).toBe(0);
      }
      for (const s of [...matvecSpace(shape, device), matvecDefault(shape, device)]) expect(whyNotMatvec(s, shape, device)).toBeUndefined();
    }
  });
  test('a smaller device gets a smaller tile', () => {
    const small = { ...defaultLimits, maxComputeWorkgroupStorageSize: 4096, maxComputeInvocationsPerWorkgroup: 64 };
    expect(matmulDefault(plain, { ...gpu, limits: small })).toMatchObject({ form: 'tile', depth: 0 });
  });
});

const view = (binding: string, stride: number) => ({ binding, storage: 'f32' as const, stride, offset: Poly.zero });
const product = (rows: Poly, K: number, width: number, linears = 1): MatmulSpec => ({
  rows, K, a: view('a', K), weight: { binding: 'w', storage: 'f32' },
  groups: [{ linears, width, value: { op: 'acc', index: 0 }, out: view('out', width) }],
});

describe('work executed', () => {
  test('at the sizes of a 7B decoder with 576 visual and 64 text rows, ragged tiles add less than 5 %', () => {
    let graph = 0, done = 0;
    for (const [K, width, linears] of [[4096, 4096, 1], [4096, 11008, 2], [11008, 4096, 1]] as const) for (const rows of [576, 64, 640]) for (const device of [gpu, software]) {
      const spec = product(Poly.dim('T'), K, width, linears);
      graph += 2 * rows * K * width * linears;
      done += matmulKernels(spec, matmulDefault(shapeOf(spec), device), options)[0]!.executed!({ T: rows }).flops;
    }
    expect(done / graph).toBeGreaterThanOrEqual(1);
    expect(done / graph).toBeLessThan(1.05);
  });
  test('counts tiles in full', () => {
    const [k] = matmulKernels(product(Poly.dim('T'), 30, 5), matmul([4, 4], [2, 2], 8), options);
    expect(k!.executed!({ T: 9 })).toEqual({ flops: 2 * 16 * 8 * 32 });
    expect(matmulKernels(product(Poly.dim('T'), 30, 5), exchange(4, 2), { ...options, features: new Set(['subgroups']) })[0]!.executed!({ T: 9 })).toEqual({ flops: 2 * 16 * 16 * 32 });
    expect(matvecKernel(product(Poly.of(1), 30, 5), { family: 'matvec', form: 'workgroup', lanes: 8, outputs: 2, teams: 2, sum: 'dot', dot4: false }, options).executed!({})).toEqual({ flops: 2 * 8 * 32 });
  });
});

describe('specs that cannot be', () => {
  const s = matmulDefault(plain, software);
  test.each([
    ['no group', { ...product(Poly.of(2), 8, 8), groups: [] }, 'A matmul needs at least one group of outputs.'],
    ['patches of another width', { ...product(Poly.of(2), 8, 8), prologue: { kind: 'patches' as const, channels: 3, height: 8, width: 8, size: 2 } }, 'Patches of 3·2² pixels are 12 wide, not K = 8.'],
    ['odd heads', { ...product(Poly.of(2), 8, 9), groups: [{ ...product(Poly.of(2), 8, 9).groups[0]!, rope: { table: 't', headDim: 9, positions: { binding: 'r', component: 'position' as const, offset: Poly.zero } } }] }, 'A rope over 9 columns needs heads of even size that divide them, not 9.'],
    ['too many tiles', product(Poly.of(2), 8, 3_000_000), '3000000 weight rows make 93750 tiles of 32; a dispatch has at most 65535 a side. Use a wider tile.'],
  ])('%s', (_name, spec, message) => expect(() => matmulKernels(spec, s, options)).toThrow(message));
  test('several rows for matvec', () => expect(() => matvecKernel(product(Poly.dim('T'), 8, 8), matvecDefault(plain, gpu), options)).toThrow('matvec multiplies one row, not T; use matmul.'));
});

test('layers with equal shapes share one text, whatever their buffers are called', () => {
  const text = (n: string): string => {
    const p = product(Poly.dim('T'), 64, 64);
    return matmulKernels({ ...p, weight: { binding: `w${n}`, storage: 'f32' }, groups: [{ ...p.groups[0]!, out: view(`o${n}`, 64) }] }, matmulDefault(plain, gpu), options)[0]!.wgsl;
  };
  expect(text('1')).toBe(text('2'));
});
