/** The matmul form on subgroup matrices: legality, and every kind of product on Dawn's null backend, which knows the feature. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceFacts, SubgroupMatrixConfig } from '../../compiler/schedule/device-facts.ts';
import { defaultLimits } from '../../compiler/schedule/device-facts.ts';
import { matmulSpace } from '../../compiler/schedule/matmul-defaults.ts';
import type { MatmulShape } from '../../compiler/schedule/product-shape.ts';
import type { SubgroupMatrixSchedule } from '../../compiler/schedule/subgroup-matrix.ts';
import { whyNotSubgroupMatrix } from '../../compiler/schedule/subgroup-matrix.ts';
import { matmulKernels, shapeOf } from '../../compiler/wgsl/matmul.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { buildKernel } from '../support/gpu.ts';
import { randomProduct } from '../support/random-products.ts';

const features = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
const square = (n: number, component: 'f16' | 'f32', result: 'f16' | 'f32' = 'f32'): SubgroupMatrixConfig => ({ M: n, N: n, K: n, component, result });
/** As Dawn reports them on NVIDIA by Vulkan, and on Apple by Metal. */
const devices: Readonly<Record<string, DeviceFacts>> = {
  'matrices of 16': { class: 'gpu', limits: { ...defaultLimits, maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024 }, features: new Set(features), subgroups: { min: 32, max: 32 }, subgroupMatrix: [square(16, 'f16'), square(16, 'f16', 'f16')] },
  'matrices of 8': { class: 'gpu', limits: { ...defaultLimits, maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024 }, features: new Set(features), subgroups: { min: 4, max: 64 }, subgroupMatrix: [square(8, 'f32'), square(8, 'f16', 'f16')] },
};
const shape: MatmulShape = { K: 64, weightRows: 64, a: 'f32', weight: 'f16', linears: [1], arithmetic: 'f16' };
const schedule: SubgroupMatrixSchedule = { family: 'matmul', form: 'subgroup-matrix', M: 16, N: 16, K: 16, component: 'f16', grid: [2, 2], matrices: [2, 2], depth: 32, subgroup: 32 };
const big = devices['matrices of 16']!, small = devices['matrices of 8']!;

describe('legality', () => {
  test.each<[string, Partial<SubgroupMatrixSchedule>, MatmulShape, DeviceFacts, string | undefined]>([
    ['as it should be', {}, shape, big, undefined],
    ['another device', {}, shape, small, 'The device multiplies no 16×16×16 matrices of f16 with sums in f32.'],
    ['sums in f16', { M: 8, N: 8, K: 8 }, shape, small, 'The device multiplies no 8×8×8 matrices of f16 with sums in f32.'],
    ['no feature', {}, shape, { ...big, features: new Set(['shader-f16', 'subgroups']) }, 'Subgroup matrices of f16 need the feature chromium-experimental-subgroup-matrix, which the device lacks.'],
    ['an exact product', {}, { ...shape, arithmetic: 'f32' }, big, 'Matrices of f16 would round the operands of a product that is to be computed in f32.'],
    ['large subgroups', { subgroup: 8, grid: [1, 1] }, shape, big, '8 invocations are no whole number of the device\'s largest subgroups, of 32.'],
    ['odd panels', { depth: 24 }, shape, big, 'Panels of 24 are not cut into matrices 16 deep, or not shared evenly by 128 invocations.'],
    ['three linears', {}, { ...shape, linears: [3] }, big, 'Matrices of 16 weight rows do not hold whole outputs of 3 linear(s).'],
    ['little memory', {}, shape, { ...big, limits: { ...big.limits, maxComputeWorkgroupStorageSize: 16384 } }, 'It takes 18944 bytes of workgroup memory; the device has 16384.'],
  ])('%s', (_name, change, of, facts, why) => expect(whyNotSubgroupMatrix({ ...schedule, ...change }, of, facts)).toBe(why));
  test('the space has such tiles exactly where the device has such matrices', () => {
    const count = (facts: DeviceFacts, s = shape): number => matmulSpace(s, facts).filter((x) => x.form === 'subgroup-matrix').length;
    expect(count(big)).toBeGreaterThan(20);
    expect(count(small)).toBeGreaterThan(20);
    expect(count(big, { ...shape, arithmetic: 'f32' })).toBe(0);
    expect(count({ ...big, subgroupMatrix: [] })).toBe(0);
  });
});

describe.each(Object.entries(devices))('%s', (_name, facts) => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'null' }); open = await found.open({ features, limits: {} }); });
  afterAll(() => { open.close(); found = undefined; });
  // Dawn's null adapter has the least workgroup memory and invocations.
  const modest: DeviceFacts = { ...facts, limits: defaultLimits };

  test.each(Array.from({ length: 16 }, (_, i) => i))('random product %i', async (seed) => {
    const { spec } = randomProduct(seed, { storages: ['f32', 'f16', 'f16x2'], weights: seed % 2 ? ['f16', { kind: 'int8' }] : ['f16x2', { kind: 'int4', group: 32, symmetric: seed % 4 > 0 }] });
    const list = matmulSpace(shapeOf(spec), modest).filter((s) => s.form === 'subgroup-matrix');
    for (const s of list.length ? [list[seed % list.length]!, list[(seed * 13) % list.length]!] : []) for (const k of matmulKernels(spec, s, { dims: ['V', 'T'], features: new Set(features) })) {
      if (k.bindings.filter((b) => b.access !== 'uniform').length > 8) continue;
      expect(k.features).toEqual(s.component === 'f16' || k.wgsl.includes('<f16>') ? features : features.slice(1));
      await buildKernel(open.device, k);
    }
  });
});
