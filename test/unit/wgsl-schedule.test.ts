import { describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import { matmulDefault, matmulSpace, matvecDefault, matvecSpace } from '../../compiler/schedule/matmul-defaults.ts';
import type { MatmulSchedule } from '../../compiler/schedule/matmul-schedule.ts';
import { chunkOf, defaultLimits, matmulBytes, whyNotMatmul, whyNotMatvec } from '../../compiler/schedule/matmul-schedule.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { matmulKernel, shapeOf } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';

const matmul = (threads: readonly [number, number], outputs: readonly [number, number], depth: number): MatmulSchedule => ({ family: 'matmul', threads, outputs, depth, sum: 'dot' });
const plain = { linears: [1] }, options = { dims: ['V', 'T'], features: new Set<string>() };

describe('legality', () => {
  test.each([
    [matmul([12, 4], [4, 4], 0), plain, 'Invocations must be powers of two along each axis, not 12×4.'],
    [matmul([32, 16], [4, 4], 0), plain, 'A workgroup of 32×16 invocations is more than the device allows (256).'],
    [matmul([8, 8], [4, 4], 6), plain, 'The depth of a panel must be a power of two, at least 4, or 0 for none; it is 6.'],
    [matmul([8, 8], [3, 4], 0), { linears: [2] }, '3 weight rows an invocation do not hold whole outputs of 2 linear(s).'],
    [matmul([8, 8], [2, 4], 0), { linears: [2], pairs: true }, '2 weight rows an invocation do not hold whole outputs of 2 linear(s) in pairs.'],
    [matmul([16, 16], [8, 8], 16), plain, 'It takes 16640 bytes of workgroup memory; the device has 16384.'],
    [matmul([8, 2], [4, 12], 0), { ...plain, normed: true }, '16 invocations do not share the statistics of 24 rows evenly.'],
  ])('%j', (s, shape, why) => expect(whyNotMatmul(s, shape)).toBe(why));
  test('matvec', () => {
    expect(whyNotMatvec({ family: 'matvec', lanes: 64, outputs: 3, teams: 1, sum: 'dot' }, { linears: [2] })).toBe('3 weight rows a team do not hold whole outputs of 2 linear(s).');
    expect(whyNotMatvec({ family: 'matvec', lanes: 128, outputs: 64, teams: 2, sum: 'dot' }, plain)).toMatch(/bytes of workgroup memory/);
  });
  test('whatever is searched or taken by default is legal with the limits that every device has', () => {
    for (const linears of [[1], [2], [1, 2], [3], [1, 1, 1]]) for (const pairs of [false, true]) for (const normed of [false, true]) for (const device of ['gpu', 'software'] as const) {
      const shape = { linears, pairs, normed };
      for (const s of [...matmulSpace(shape, device), matmulDefault(shape, device), matmulDefault(shape, device, { fewRows: true })]) {
        expect(whyNotMatmul(s, shape)).toBeUndefined();
        expect(matmulBytes(s, normed)).toBeLessThanOrEqual(defaultLimits.maxComputeWorkgroupStorageSize);
        expect(chunkOf(s, shape)! % (linears.includes(2) ? 2 : 1)).toBe(0);
      }
      for (const s of [...matvecSpace(shape, device), matvecDefault(shape, device)]) expect(whyNotMatvec(s, shape)).toBeUndefined();
    }
  });
  test('a smaller device gets a smaller tile', () => {
    const small = { ...defaultLimits, maxComputeWorkgroupStorageSize: 4096, maxComputeInvocationsPerWorkgroup: 64 };
    expect(matmulDefault(plain, 'gpu', { limits: small }).depth).toBe(0);
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
    for (const [K, width, linears] of [[4096, 4096, 1], [4096, 11008, 2], [11008, 4096, 1]] as const) for (const rows of [576, 64, 640]) for (const device of ['gpu', 'software'] as const) {
      const spec = product(Poly.dim('T'), K, width, linears);
      graph += 2 * rows * K * width * linears;
      done += matmulKernel(spec, matmulDefault(shapeOf(spec), device), options).executed!({ T: rows }).flops;
    }
    expect(done / graph).toBeGreaterThanOrEqual(1);
    expect(done / graph).toBeLessThan(1.05);
  });
  test('counts tiles in full', () => {
    const k = matmulKernel(product(Poly.dim('T'), 30, 5), matmul([4, 4], [2, 2], 8), options);
    expect(k.executed!({ T: 9 })).toEqual({ flops: 2 * 16 * 8 * 32 });
    expect(matvecKernel(product(Poly.of(1), 30, 5), { family: 'matvec', lanes: 8, outputs: 2, teams: 2, sum: 'dot' }, options).executed!({})).toEqual({ flops: 2 * 8 * 32 });
  });
});

describe('specs that cannot be', () => {
  const s = matmulDefault(plain, 'software');
  test.each([
    ['no group', { ...product(Poly.of(2), 8, 8), groups: [] }, 'A matmul needs at least one group of outputs.'],
    ['patches of another width', { ...product(Poly.of(2), 8, 8), prologue: { kind: 'patches' as const, channels: 3, height: 8, width: 8, size: 2 } }, 'Patches of 3·2² pixels are 12 wide, not K = 8.'],
    ['odd heads', { ...product(Poly.of(2), 8, 9), groups: [{ ...product(Poly.of(2), 8, 9).groups[0]!, rope: { table: 't', headDim: 9, positions: { binding: 'r', component: 'position' as const, offset: Poly.zero } } }] }, 'A rope over 9 columns needs heads of even size that divide them, not 9.'],
    ['too many tiles', product(Poly.of(2), 8, 3_000_000), '3000000 weight rows make 93750 tiles of 32; a dispatch has at most 65535 a side. Use a wider tile.'],
  ])('%s', (_name, spec, message) => expect(() => matmulKernel(spec, s, options)).toThrow(message));
  test('several rows for matvec', () => expect(() => matvecKernel(product(Poly.dim('T'), 8, 8), matvecDefault(plain, 'gpu'), options)).toThrow('matvec multiplies one row, not T; use matmul.'));
});

test('layers with equal shapes share one text, whatever their buffers are called', () => {
  const text = (n: string): string => {
    const p = product(Poly.dim('T'), 64, 64);
    return matmulKernel({ ...p, weight: { binding: `w${n}`, storage: 'f32' }, groups: [{ ...p.groups[0]!, out: view(`o${n}`, 64) }] }, matmulDefault(plain, 'gpu'), options).wgsl;
  };
  expect(text('1')).toBe(text('2'));
});
