/** Every kernel family on Dawn's null backend, with the limits of the most modest device and each set of features. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import type { QuantisedFormat } from '../../compiler/ir/weight-format.ts';
import { int4Groups, printWeightFormat } from '../../compiler/ir/weight-format.ts';
import { leastFacts } from '../../compiler/schedule/device-facts.ts';
import { expertRow, expertTile } from '../../compiler/schedule/experts-schedule.ts';
import { matmulDefault, matmulSpace } from '../../compiler/schedule/matmul-defaults.ts';
import { inOneWorkgroup, matvecDefault, matvecSpace } from '../../compiler/schedule/matvec-schedule.ts';
import { normDefault } from '../../compiler/schedule/norm-schedule.ts';
import { argmaxKernel } from '../../compiler/wgsl/argmax.ts';
import { copyKernel } from '../../compiler/wgsl/copy.ts';
import { elementwiseKernel, ropeKernel } from '../../compiler/wgsl/elementwise.ts';
import { embedKernel } from '../../compiler/wgsl/embed.ts';
import type { ExpertsSpec } from '../../compiler/wgsl/experts.ts';
import { byPair, expertGroupsKernel, expertTileKernel } from '../../compiler/wgsl/experts.ts';
import { expertRowKernel } from '../../compiler/wgsl/experts-row.ts';
import { gatherKernel } from '../../compiler/wgsl/gather.ts';
import type { FloatStorage, Kernel, Storage, View } from '../../compiler/wgsl/kernel.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { shapeOf } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';
import { normKernel } from '../../compiler/wgsl/norm.ts';
import { keptWidth, sampleKernel } from '../../compiler/wgsl/sample.ts';
import { storeHeadsKernel } from '../../compiler/wgsl/store-heads.ts';
import type { Norm } from '../../compiler/wgsl/statistics.ts';
import { topKKernel } from '../../compiler/wgsl/top-k.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { buildKernel } from '../support/gpu.ts';
import { productKernels } from '../support/products.ts';
import { randomProduct } from '../support/random-products.ts';

const T = Poly.dim('T');
const quantised: readonly QuantisedFormat[] = [{ kind: 'int8' }, ...int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];

describe.each([['f32', []], ['f16', ['shader-f16', 'subgroups']], ['f16x2', []]] as const)('weights in %s, features [%s]', (storage: FloatStorage, features) => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'null' }); open = await found.open({ features: [...features], limits: {} }); });
  afterAll(() => { open.close(); found = undefined; });
  const options = { dims: ['V', 'T'], features: new Set<string>(features) };
  const view = (binding: string, stride: number, s: Storage = storage): View => ({ binding, storage: s, stride, offset: Poly.dim('V') });
  const valid = async (k: Kernel): Promise<void> => {
    const storageBuffers = k.bindings.filter((b) => b.access !== 'uniform').length;
    expect(new Set(k.bindings.map((b) => b.name)).size).toBe(k.bindings.length);
    if (storageBuffers > 8) return; // random products have no limit of buffers; the planner splits such groups
    expect(k.features).toEqual(Object.entries({ f16: 'shader-f16', subgroups: 'subgroups' }).flatMap(([name, feature]) => (k.wgsl.includes(`enable ${name};`) ? [feature] : [])));
    await buildKernel(open.device, k);
  };

  test.each(Array.from({ length: 24 }, (_, i) => i))('random products, all kinds of tile (%i)', async (seed) => {
    const p = randomProduct(seed, { storages: [storage, 'f32'] }), shape = shapeOf(p.spec);
    for (const device of [leastFacts('gpu', features), leastFacts('software', features)]) {
      const space = matmulSpace(shape, device);
      for (const s of [matmulDefault(shape, device), matmulDefault(shape, device, { fewRows: true }), space[(seed * 7) % space.length]!]) for (const k of productKernels(p.spec, s, options)) await valid(k);
    }
    const one = randomProduct(seed, { storages: [storage, 'f32'], oneRow: true }), oneShape = shapeOf(one.spec);
    for (const device of [leastFacts('gpu', features), leastFacts('software', features)]) {
      const space = matvecSpace(oneShape, device);
      for (const s of [matvecDefault(oneShape, device), space[(seed * 5) % space.length]!]) for (const k of productKernels(one.spec, s, options)) await valid(k);
    }
  });
  test.each(quantised.flatMap((format) => [0, 1, 2, 3].map((seed) => [printWeightFormat(format), format, seed] as const)))('%s weights', async (name, format, seed) => {
    for (const oneRow of [false, true]) {
      const p = randomProduct(200 + quantised.indexOf(format) * 8 + seed, { storages: [storage, 'f32'], weights: [format], oneRow }), shape = shapeOf(p.spec);
      expect(p.name).toContain(`w ${name}`);
      for (const device of [leastFacts('gpu', features), leastFacts('software', features)]) {
        const space = oneRow ? matvecSpace(shape, device) : matmulSpace(shape, device), own = oneRow ? matvecDefault(shape, device) : matmulDefault(shape, device);
        for (const s of [own, space[(seed * 11) % space.length]!]) for (const k of productKernels(p.spec, s, options)) await valid(k);
      }
    }
    for (const width of [1, 6, 90, 300]) await valid(embedKernel({ rows: T, ids: view('ids', 1, 'i32'), table: { binding: 'table', storage: format }, width, out: view('out', width) }, options));
  });
  const norms = [{ kind: 'rms_norm', gain: { binding: 'g', storage: 'f32' }, eps: 1e-5 }, { kind: 'layer_norm', gain: { binding: 'g', storage: 'f32' }, bias: { binding: 'b', storage: 'f32' }, eps: 1e-5 }] as const satisfies Norm[];
  test.each([1, 7, 40])('products that choose among %i columns', async (width) => {
    for (const weight of [storage, ...quantised]) for (const prologue of [undefined, ...norms]) {
      const out = { ...view('out', width, 'f32'), offset: Poly.zero };
      const spec: MatmulSpec = { rows: Poly.of(1), K: 90, a: view('a', 90, 'f32'), ...(prologue ? { prologue } : {}), weight: { binding: 'weight', storage: weight }, groups: [{ linears: 1, width, value: { op: 'acc', index: 0 }, out }], arithmetic: 'int8' };
      for (const device of [leastFacts('gpu', features), leastFacts('software', features)]) {
        const space = matvecSpace(shapeOf(spec), device);
        for (const s of [matvecDefault(shapeOf(spec), device), space[(width * 7) % space.length]!]) {
          const whole = inOneWorkgroup(s, shapeOf(spec), device);
          if (whole) await valid(matvecKernel(spec, whole, { ...options, readWrite: new Set(['out']) }, { width, top: Math.min(width, 3), from: out, out: { ...view('chosen', Math.min(width, 3), 'i32') } }));
        }
      }
    }
  });
  test.each([[1, 8], [2, 12], [2, 33]] as const)('experts of %i linears, %i columns', async (linears, width) => {
    const top = 2, experts = 5, K = 3 * width, parts = (binding: string, stride: number): View => ({ binding, storage: 'f32', stride, offset: Poly.dim('V') }), chosen = { ...parts('chosen', top), storage: 'i32' as const };
    for (const weight of [storage, ...quantised]) for (const piece of [{ expert: 0, count: experts, first: 0, rows: width }, { expert: 3, count: 1, first: 4, rows: width - 4 }]) {
      const spec: ExpertsSpec = { rows: T, top, experts, K, a: parts('a', linears === 1 ? top * K : K), aByPair: linears === 1, chosen, linears, weight: { binding: 'weight', storage: weight }, piece, width, value: { op: 'unary', fn: 'silu', x: { op: 'acc', index: linears - 1 } }, out: parts('out', top * width), groups: 'groups' };
      for (const device of ['gpu', 'software'] as const) {
        await valid(expertTileKernel(spec, expertTile(device, linears), options));
        await valid(expertRowKernel({ ...spec, rows: Poly.of(1) }, expertRow(device, linears), options));
        for (const norm of norms) await valid(expertRowKernel({ ...spec, rows: Poly.of(1), a: parts('a', K), aByPair: false, norm }, expertRow(device, linears), options));
        if (linears === 1 && piece.first === 0) await valid(expertRowKernel({ ...spec, rows: Poly.of(1), scores: parts('scores', experts), out: parts('out', width) }, expertRow(device, linears, true), options));
      }
    }
    await valid(expertGroupsKernel({ rows: T, top, experts, chosen, groups: 'groups' }, { ...options, readWrite: new Set(['groups']) }, 256));
    await valid(topKKernel({ rows: T, width: experts, top, from: parts('scores', experts), out: chosen }, options));
    await valid(elementwiseKernel({ rows: T, width, value: { op: 'mix_experts', from: byPair(parts('x', top * width), top), chosen, scores: parts('scores', experts), top }, out: parts('out', width) }, options));
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
    await valid(sampleKernel({ row: a, width, next: view('out', 1, 'i32'), draw: 'draw', kept: view('kept', keptWidth(width), 'f32') }, options));
    for (const heads of [1, 3]) await valid(storeHeadsKernel({ rows: T, values: ['', '2'].map((n) => ({ from: view(`x${n}`, heads * width, 'f32'), to: { binding: `state${n}`, storage: { kind: 'int8' as const, heads }, stride: heads * width, offset: Poly.zero, regions: [{ count: Poly.dim('V'), start: Poly.of(3) }, { count: T, start: Poly.dim('V') }] } })) }, options));
    if (width % 2 === 0) await valid(ropeKernel({ rows: T, width, a, out, rope: { table: 'angles', headDim: width, positions: numbers } }, options));
    for (const kind of ['rms_norm', 'layer_norm'] as const) for (const device of [leastFacts('gpu'), leastFacts('software')]) for (const rows of [{}, { rows: 1 }])
      await valid(normKernel({ rows: T, width, kind, a, gain: { binding: 'g', storage }, bias: { binding: 'b', storage }, eps: 1e-5, out }, normDefault({ width, ...rows }, device), options));
  });
});
