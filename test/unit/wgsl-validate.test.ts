/** Every kernel family on Dawn's null backend, with the limits of the most modest device and each set of features. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import type { QuantisedFormat } from '../../compiler/ir/weight-format.ts';
import { int4Groups, printWeightFormat } from '../../compiler/ir/weight-format.ts';
import { matmulDefault, matmulSpace, matvecDefault, matvecSpace, normDefault } from '../../compiler/schedule/matmul-defaults.ts';
import { argmaxKernel } from '../../compiler/wgsl/argmax.ts';
import { copyKernel } from '../../compiler/wgsl/copy.ts';
import { elementwiseKernel, ropeKernel } from '../../compiler/wgsl/elementwise.ts';
import { embedKernel } from '../../compiler/wgsl/embed.ts';
import { gatherKernel } from '../../compiler/wgsl/gather.ts';
import type { FloatStorage, Kernel, Storage, View } from '../../compiler/wgsl/kernel.ts';
import { matmulKernel, shapeOf } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';
import { normKernel } from '../../compiler/wgsl/norm.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { buildKernel } from '../support/gpu.ts';
import { randomProduct } from '../support/random-products.ts';

const T = Poly.dim('T');
const quantised: readonly QuantisedFormat[] = [{ kind: 'int8' }, ...int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];

describe.each([['f32', []], ['f16', ['shader-f16']], ['f16x2', []]] as const)('weights in %s, features [%s]', (storage: FloatStorage, features) => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'null' }); open = await found.open({ features: [...features], limits: {} }); });
  afterAll(() => { open.close(); found = undefined; });
  const options = { dims: ['V', 'T'], features: new Set<string>(features) };
  const view = (binding: string, stride: number, s: Storage = storage): View => ({ binding, storage: s, stride, offset: Poly.dim('V') });
  const valid = async (k: Kernel): Promise<void> => {
    const storageBuffers = k.bindings.filter((b) => b.access !== 'uniform').length;
    expect(new Set(k.bindings.map((b) => b.name)).size).toBe(k.bindings.length);
    if (storageBuffers > 8) return; // random products have no limit of buffers; the planner splits such groups
    expect(k.features).toEqual(k.wgsl.includes('enable f16') ? ['shader-f16'] : []);
    await buildKernel(open.device, k);
  };

  test.each(Array.from({ length: 24 }, (_, i) => i))('random products, all kinds of tile (%i)', async (seed) => {
    const p = randomProduct(seed, { storages: [storage, 'f32'] }), shape = shapeOf(p.spec);
    for (const device of ['gpu', 'software'] as const) {
      const space = matmulSpace(shape, device);
      for (const s of [matmulDefault(shape, device), matmulDefault(shape, device, { fewRows: true }), space[(seed * 7) % space.length]!]) await valid(matmulKernel(p.spec, s, options));
    }
    const one = randomProduct(seed, { storages: [storage, 'f32'], oneRow: true }), oneShape = shapeOf(one.spec);
    for (const device of ['gpu', 'software'] as const) {
      const space = matvecSpace(oneShape, device);
      for (const s of [matvecDefault(oneShape, device), space[(seed * 5) % space.length]!]) await valid(matvecKernel(one.spec, s, options));
    }
  });
  test.each(quantised.flatMap((format) => [0, 1, 2, 3].map((seed) => [printWeightFormat(format), format, seed] as const)))('%s weights', async (name, format, seed) => {
    for (const oneRow of [false, true]) {
      const p = randomProduct(200 + quantised.indexOf(format) * 8 + seed, { storages: [storage, 'f32'], weights: [format], oneRow }), shape = shapeOf(p.spec);
      expect(p.name).toContain(`w ${name}`);
      for (const device of ['gpu', 'software'] as const) {
        const space = oneRow ? matvecSpace(shape, device) : matmulSpace(shape, device), own = oneRow ? matvecDefault(shape, device) : matmulDefault(shape, device);
        for (const s of [own, space[(seed * 11) % space.length]!]) await valid(s.family === 'matvec' ? matvecKernel(p.spec, s, options) : matmulKernel(p.spec, s, options));
      }
    }
    for (const width of [1, 6, 90, 300]) await valid(embedKernel({ rows: T, ids: view('ids', 1, 'i32'), table: { binding: 'table', storage: format }, width, out: view('out', width) }, options));
  });
  test.each([1, 2, 11, 90, 128])('kernels of rows, %i columns', async (width) => {
    const a = view('a', width), out = view('out', width), numbers = { binding: 'rows', component: 'index' as const, offset: Poly.zero };
    await valid(elementwiseKernel({ rows: T, width, value: { op: 'unary', fn: 'gelu', x: { op: 'load', view: a } }, out }, options));
    await valid(copyKernel({ rows: T, width, from: a, to: view('out', width, 'f32') }, options));
    await valid(copyKernel({ rows: T, width: width * 2, from: a, to: view('out', width * 2), repeat: { heads: 2, kvHeads: 1, headDim: width } }, options));
    await valid(copyKernel({ rows: T, width: width * 4, from: a, to: view('out', width * 4), shuffle: { side: 6, factor: 2, width } }, options));
    await valid(embedKernel({ rows: T, ids: numbers, table: { binding: 'table', storage }, width, out }, options));
    await valid(embedKernel({ rows: T, ids: view('ids', 1, 'i32'), table: { binding: 'table', storage }, width, out }, options));
    await valid(gatherKernel({ rows: T, width, from: a, map: view('map', 1, 'i32'), sources: 1, out: view('out', width, 'f32') }, options));
    await valid(gatherKernel({ rows: T, width, from: a, map: view('map', 4, 'i32'), sources: 4, weights: view('shares', 4, 'f32'), learned: { binding: 'learned', storage: 'f32' }, out }, options));
    await valid(argmaxKernel({ row: a, width, out: view('out', 1, 'i32') }, options));
    if (width % 2 === 0) await valid(ropeKernel({ rows: T, width, a, out, rope: { table: 'angles', headDim: width, positions: numbers } }, options));
    for (const kind of ['rms_norm', 'layer_norm'] as const) for (const device of ['gpu', 'software'] as const) for (const oneRow of [false, true])
      await valid(normKernel({ rows: T, width, kind, a, gain: { binding: 'g', storage }, bias: { binding: 'b', storage }, eps: 1e-5, out }, normDefault(device, { oneRow }), options));
  });
});
