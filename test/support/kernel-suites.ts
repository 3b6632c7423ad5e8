/** Numeric tests of the kernel families (attention aside) on one adapter, against plain TypeScript. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import type { QuantisedFormat } from '../../compiler/ir/weight-format.ts';
import { int4Groups, printWeightFormat } from '../../compiler/ir/weight-format.ts';
import { unaryFunctions } from '../../compiler/ir/ops/elementwise.ts';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { boundless, factsOf, leastFacts } from '../../compiler/schedule/device-facts.ts';
import { matmulDefault } from '../../compiler/schedule/matmul-defaults.ts';
import type { MatmulSchedule } from '../../compiler/schedule/matmul-schedule.ts';
import { whyNotMatmul } from '../../compiler/schedule/matmul-schedule.ts';
import type { TileSchedule } from '../../compiler/schedule/matmul-tile.ts';
import type { SubgroupMatrixSchedule } from '../../compiler/schedule/subgroup-matrix.ts';
import type { MatvecSchedule } from '../../compiler/schedule/matvec-schedule.ts';
import { matvecDefault, whyNotMatvec } from '../../compiler/schedule/matvec-schedule.ts';
import { argmaxKernel } from '../../compiler/wgsl/argmax.ts';
import { copyKernel } from '../../compiler/wgsl/copy.ts';
import { elementwiseKernel, ropeKernel } from '../../compiler/wgsl/elementwise.ts';
import { embedKernel } from '../../compiler/wgsl/embed.ts';
import type { UnaryName } from '../../compiler/wgsl/expr.ts';
import { gatherKernel } from '../../compiler/wgsl/gather.ts';
import type { FloatStorage, Kernel, Storage, View } from '../../compiler/wgsl/kernel.ts';
import { matmulKernels, shapeOf } from '../../compiler/wgsl/matmul.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { normKernel } from '../../compiler/wgsl/norm.ts';
import type { KernelOptions } from '../../compiler/wgsl/printer.ts';
import { range } from '../../compiler/wgsl/printer.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { runKernel } from './gpu.ts';
import { Buffers, elementwiseReference, matmulReference, normed, numbers, worstError } from './kernel-reference.ts';
import { emulateMatrices } from './emulate-matrices.ts';
import { productError } from './products.ts';
import { randomProduct } from './random-products.ts';

type Writes = ReturnType<typeof elementwiseReference>;
const quantised: readonly QuantisedFormat[] = [{ kind: 'int8' }, ...int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];
const least = { gpu: leastFacts('gpu'), software: leastFacts('software') };
const f32 = 'f32' as const, zero = Poly.zero, T = Poly.dim('T');
const view = (binding: string, stride: number, storage: Storage = f32, more: Partial<View> = {}): View => ({ binding, storage, stride, offset: zero, ...more });

/** Rounding of one operator in f32 stays far below the 1e-5 that fixtures allow; results stored as f16 round to 2⁻¹¹. */
const tolerance = (outs: readonly Storage[]): number => (outs.some((s) => s.startsWith('f16')) ? 6e-4 : 2e-6);

export function kernelSuites(kind: 'swiftshader' | 'lavapipe'): void {
  // Dawn's entry must be held as long as its devices are used.
  let found: FoundAdapter | undefined;
  let open: OpenDevice | undefined, options: KernelOptions, storages: FloatStorage[], device: DeviceFacts;
  beforeAll(async () => {
    found = await findAdapter({ prefer: kind });
    open = await found.open();
    options = { dims: ['V', 'T'], features: open.features };
    device = factsOf(open, found.adapter.info, true);
    storages = open.features.has('shader-f16') ? ['f32', 'f16', 'f16x2'] : ['f32', 'f16x2'];
  });
  afterAll(() => { open?.close(); found = undefined; });
  const error = async (kernel: Kernel, b: Buffers, writes: Writes, dims: Record<string, number>): Promise<number> =>
    worstError(b, writes, await runKernel(open!.device, kernel, { buffers: b.encode(), dims: { V: 0, ...dims } }));

  const product = (spec: MatmulSpec, s: MatmulSchedule | MatvecSchedule, b: Buffers, writes: Writes, dims: Record<string, number>): Promise<number> => productError(open!.device, spec, s, b, writes, { V: 0, ...dims }, options);

  const matmul = (threads: readonly [number, number], outputs: readonly [number, number], depth: number, sum: 'dot' | 'vec4' = 'dot', splits = 1): TileSchedule => ({ family: 'matmul', form: 'tile', threads, outputs, depth, sum, panels: 'f32', splits, splitRows: splits > 1 ? 40 : 0 });
  const rows = (n: number, lanes: number, outputs: number, teams: number, subgroup = false): MatmulSchedule => ({ family: 'matmul', form: 'rows', rows: n, lanes, outputs, teams, sum: 'dot', subgroup });
  const tiles: MatmulSchedule[] = [matmul([8, 4], [4, 8], 0, 'vec4'), matmul([4, 4], [2, 2], 0), matmul([4, 4], [4, 4], 8), matmul([8, 2], [8, 2], 16, 'vec4'), matmul([4, 8], [4, 1], 32), matmul([4, 4], [2, 2], 4, 'dot', 3), rows(4, 8, 2, 2), rows(8, 4, 4, 4, true), rows(3, 16, 2, 1)];
  describe('matmul', () => {
    // Mesa takes seconds to compile a kernel anew: there every product is tried with one schedule.
    test.each(Array.from({ length: 48 }, (_, seed) => seed))('random product %i', async (seed) => {
      const { name, spec, buffers, dims } = randomProduct(seed, { storages });
      const shape = shapeOf(spec), writes = matmulReference(spec, buffers, dims), tried = [tiles[seed % tiles.length]!, matmulDefault(shape, least.software)].filter((t) => !whyNotMatmul(t, shape, device));
      for (const s of kind === 'swiftshader' ? tried : [tried[seed % tried.length]!])
        expect(await product(spec, s, buffers, writes, dims), `${name}, ${JSON.stringify(s)}`).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
    });
    test('the default for GPUs, and the one for few rows', async () => {
      for (const seed of [3, 4]) {
        const { name, spec, buffers, dims } = randomProduct(seed, { storages });
        for (const fewRows of [false, true])
          expect(await product(spec, matmulDefault(shapeOf(spec), least.gpu, { fewRows }), buffers, matmulReference(spec, buffers, dims), dims), name).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
      }
    });
  });

  // Teams that are a whole subgroup or a part of one, alone in a workgroup or side by side.
  const exchange = (lanes: number, rows: number, outputs: number, teams: number): MatmulSchedule => ({ family: 'matmul', form: 'exchange', lanes, rows, outputs, teams });
  const exchanges = [exchange(4, 1, 4, 1), exchange(8, 2, 2, 1), exchange(4, 3, 2, 4), exchange(8, 1, 6, 2), exchange(2, 2, 4, 8), exchange(4, 4, 8, 1)];
  describe('rows exchanged within subgroups', () => {
    // Twice each schedule; Mesa takes seconds to compile one.
    test.each(range(kind === 'lavapipe' ? 12 : 24))('random product %i', async (n) => {
      const { name, spec, buffers, dims } = randomProduct(600 + n, { storages, ...(n % 3 ? {} : { weights: [quantised[n % quantised.length]!] }) });
      const writes = matmulReference(spec, buffers, dims), legal = exchanges.filter((s) => !whyNotMatmul(s, shapeOf(spec), device)), s = legal[n % legal.length]!;
      expect(await product(spec, s, buffers, writes, dims), `${name}, ${JSON.stringify(s)}`).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
    });
  });

  describe.runIf(kind === 'lavapipe')('panels of f16', () => {
    test.each(range(5))('random product %i: off by no more than the rounding of its operands', async (n) => {
      const { name, spec, buffers, dims } = randomProduct(500 + n, { storages, weights: n % 2 ? ['f16'] : [{ kind: 'int4', group: 32, symmetric: true }] });
      const linear = { ...spec, groups: spec.groups.map((g) => ({ ...g, value: { op: 'acc' as const, index: 0 } })) }, s: MatmulSchedule = { ...matmul([4, 4], [4, 2], 8), panels: 'f16' };
      const shape = shapeOf(linear), largest = buffers.get('a').reduce((m, x) => Math.max(m, Math.abs(x)), 1);
      // Each operand is off by 2⁻¹¹ of itself; weights are below 1/2, and a norm makes rows of about 1.
      if (!whyNotMatmul(s, shape, device)) expect(await product(linear, s, buffers, matmulReference(linear, buffers, dims), dims), name).toBeLessThan(2 * 2 ** -11 * Math.sqrt(spec.K) * largest);
      expect(whyNotMatmul(s, { ...shape, arithmetic: 'f32' }, device)).toMatch(/would round the operands/);
    });
  });

  describe.runIf(kind === 'swiftshader')('subgroup matrices, emulated', () => {
    const matrices = (n: number, grid: readonly [number, number], counts: readonly [number, number], depth: number): SubgroupMatrixSchedule =>
      ({ family: 'matmul', form: 'subgroup-matrix', M: n, N: n, K: n, component: 'f32', grid, matrices: counts, depth, subgroup: 4 });
    // As many subgroups as pieces, fewer, and more.
    const tried = [[matrices(4, [2, 2], [1, 2], 8), 4], [matrices(8, [2, 1], [2, 1], 16), 8], [matrices(4, [1, 2], [2, 1], 4), 2]] as const;
    test.each(range(6))('random product %i', async (n) => {
      const [s, size] = tried[n % 3]!, seed = 300 + n;
      const { name, spec, buffers, dims } = randomProduct(seed, { storages, weights: n % 2 ? ['f32', 'f16x2'] : [{ kind: 'int8' }, { kind: 'int4', group: 32, symmetric: false }] });
      if (whyNotMatmul(s, shapeOf(spec), boundless(new Set(['subgroups', 'chromium-experimental-subgroup-matrix'])))) return;
      const [kernel] = matmulKernels(spec, s, { ...options, features: new Set([...options.features, 'subgroups', 'chromium-experimental-subgroup-matrix']) });
      expect(await error(emulateMatrices(kernel!, s, size, false), buffers, matmulReference(spec, buffers, dims), dims), name).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
    });
  });

  const vec = (lanes: number, outputs: number, teams: number, sum: 'dot' | 'vec4' = 'dot', form: MatvecSchedule['form'] = 'workgroup', dot4 = false): MatvecSchedule => ({ family: 'matvec', form, lanes, outputs, teams, sum, dot4 });
  const teams = [vec(8, 4, 2), vec(32, 8, 2, 'vec4'), vec(64, 2, 1), vec(4, 12, 4), vec(1, 4, 8, 'vec4'), vec(16, 1, 4), vec(2, 4, 4, 'dot', 'subgroup'), vec(32, 2, 2, 'vec4', 'subgroup'), vec(8, 12, 4, 'dot', 'subgroup')];
  describe('matvec', () => {
    test.each(Array.from({ length: 36 }, (_, i) => 100 + i))('random product %i', async (seed) => {
      const { name, spec, buffers, dims } = randomProduct(seed, { storages, oneRow: true });
      const shape = shapeOf(spec), writes = matmulReference(spec, buffers, dims), tried = [matvecDefault(shape, least.software), matvecDefault(shape, least.gpu), teams[seed % teams.length]!].filter((t) => !whyNotMatvec(t, shape, device));
      for (const s of kind === 'swiftshader' ? tried : [tried[seed % tried.length]!])
        expect(await product(spec, s, buffers, writes, dims), `${name}, ${JSON.stringify(s)}`).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
    });
  });

  describe('quantised weights', () => {
    test.each(quantised.flatMap((f, i) => range(kind === 'swiftshader' ? 4 : 2).map((n) => [printWeightFormat(f), f, 200 + i * 8 + n] as const)))('%s, random product %#', async (_name, format, seed) => {
      const many = randomProduct(seed, { storages, weights: [format] }), shape = shapeOf(many.spec), writes = matmulReference(many.spec, many.buffers, many.dims);
      const tried = [matmulDefault(shape, least.software), tiles[seed % tiles.length]!, ...(seed % 4 ? [] : [matmulDefault(shape, least.gpu)])].filter((t) => !whyNotMatmul(t, shape, device));
      for (const s of kind === 'swiftshader' ? tried : [tried[seed % tried.length]!])
        expect(await product(many.spec, s, many.buffers, writes, many.dims), `${many.name}, ${JSON.stringify(s)}`).toBeLessThan(tolerance(many.spec.groups.map((g) => g.out.storage)));
      const one = randomProduct(seed, { storages, weights: [format], oneRow: true }), oneShape = shapeOf(one.spec), oneWrites = matmulReference(one.spec, one.buffers, one.dims);
      const ways = [matvecDefault(oneShape, least.software), matvecDefault(oneShape, least.gpu), teams[seed % teams.length]!].filter((t) => !whyNotMatvec(t, oneShape, device));
      for (const s of kind === 'swiftshader' ? ways : [ways[seed % ways.length]!])
        expect(await product(one.spec, s, one.buffers, oneWrites, one.dims), `${one.name}, ${JSON.stringify(s)}`).toBeLessThan(tolerance(one.spec.groups.map((g) => g.out.storage)));
    });
    test.runIf(kind === 'swiftshader').each(quantised.map((f, i) => [printWeightFormat(f), f, i] as const))('%s by activations that are rounded to int8', async (_name, format, i) => {
      for (const [n, s] of [vec(8, 4, 2, 'dot', 'workgroup', true), vec(4, 12, 4, 'dot', 'subgroup', true)].entries()) {
        const { name, spec, buffers, dims } = randomProduct(400 + 2 * i + n, { storages, weights: [format], oneRow: true });
        if (!whyNotMatvec(s, { ...shapeOf(spec), arithmetic: 'int8' }, device)) expect(await product({ ...spec, arithmetic: 'int8' }, s, buffers, matmulReference(spec, buffers, dims, { int8: true }), dims), name).toBeLessThan(tolerance(spec.groups.map((g) => g.out.storage)));
      }
    });
    test.each(quantised.map((f) => [printWeightFormat(f), f] as const))('rows of a table in %s', async (_name, format) => {
      for (const width of [1, 6, 90, 201]) {
        const b = new Buffers().add('ids', 'i32', [3, 0, 11, 5]).addWeight('table', format, numbers(12 * width, width), width).add('out', f32, numbers(4 * width, 2));
        const spec = { rows: T, ids: view('ids', 1, 'i32'), table: { binding: 'table', storage: format }, width, out: view('out', width) };
        const writes = elementwiseReference({ rows: T, width, value: { op: 'gather', table: spec.table, rows: spec.ids }, out: spec.out }, b, { T: 4 });
        expect(await error(embedKernel(spec, options), b, writes, { T: 4 })).toBeLessThan(2e-7);
      }
    });
  });

  describe('epilogue functions', () => {
    test.each(Object.keys(unaryFunctions) as UnaryName[])('%s keeps its accuracy and passes through no infinity', async (fn) => {
      const n = 4096, xs = Float64Array.from({ length: n }, (_, i) => (i < n - 8 ? (i / n - 0.5) * 24 : [-1e4, -1e18, -100, -88.8, 88.8, 100, 1e4, 1e18][i - n + 8]!));
      // Squares and cubes of the largest f32 leave its range in any formula; gelu_tanh is asked up to 1e4.
      if (fn === 'gelu_tanh') xs.forEach((x, i) => { if (Math.abs(x) > 1e4) xs[i] = 0; });
      const b = new Buffers().add('x', f32, xs).add('out', f32, new Float32Array(n));
      const spec = { rows: Poly.of(1), width: n, value: { op: 'unary' as const, fn, x: { op: 'load' as const, view: view('x', n) } }, out: view('out', n) };
      const out = b.decode('out', (await runKernel(open!.device, elementwiseKernel(spec, options), { buffers: b.encode(), dims: { V: 0, T: 0 } }))['out']!);
      let worst = 0;
      out.forEach((y, i) => { const want = unaryFunctions[fn]!(b.get('x')[i]!), e = Math.abs(y - want) / Math.max(1, Math.abs(want)); worst = Number.isFinite(e) ? Math.max(worst, e) : Infinity; });
      expect(worst).toBeLessThan(1e-6);
    });
  });

  describe('elementwise', () => {
    test.each([[1, 1], [5, 2], [3, 11], [17, 90], [9, 128], [2, 331]])('%i rows of %i columns, in every storage, in place', async (rows, width) => {
      for (const from of storages) for (const to of storages) {
        const b = new Buffers().add('x', from, numbers((rows + 2) * width, 1)).add('out', to, numbers((rows + 1) * (width + 1), 2)).add('bias', to, numbers(width, 3));
        const out = view('out', width + 1, to, { column: 1, offset: Poly.dim('V') });
        const spec = { rows: T, width, out, value: { op: 'sub' as const, a: { op: 'add' as const, a: { op: 'load' as const, view: view('x', width, from, { offset: Poly.of(2) }) }, b: { op: 'load' as const, view: out } }, b: { op: 'vector' as const, binding: 'bias', storage: to } } };
        const dims = { V: 1, T: rows };
        expect(await error(elementwiseKernel(spec, options), b, elementwiseReference(spec, b, dims), dims), `${from} to ${to}`).toBeLessThan(tolerance([to]));
      }
    });
    test('a constant for every row', async () => {
      const b = new Buffers().add('out', f32, numbers(7 * 13, 1)), spec = { rows: T, width: 13, value: { op: 'constant' as const, value: 0 }, out: view('out', 13) };
      expect(await error(elementwiseKernel(spec, options), b, elementwiseReference(spec, b, { T: 6 }), { T: 6 })).toBe(0);
    });
  });

  describe('rope', () => {
    test.each([[7, 14, 3], [5, 16, 2], [1, 2, 5]])('%i rows, heads of %i', async (rows, headDim, heads) => {
      const width = headDim * heads, positions = 9;
      const b = new Buffers().add('x', f32, numbers(rows * width, 1)).add('out', f32, numbers(rows * width, 2)).add('rows', 'i32', numbers((rows + 1) * 4, 5, positions).map((v) => Math.floor(Math.abs(v))))
        .add('angles', f32, Float64Array.from({ length: positions * headDim }, (_, i) => (i % 2 ? Math.sin(i - 1) : Math.cos(i)))); // prettier-ignore
      const rope = { table: 'angles', headDim, positions: { binding: 'rows', component: 'position' as const, offset: Poly.of(1) } };
      const spec = { rows: T, width, a: view('x', width), rope, out: view('out', width) };
      expect(await error(ropeKernel(spec, options), b, elementwiseReference({ ...spec, value: { op: 'load', view: spec.a, halves: headDim } }, b, { T: rows }), { T: rows })).toBeLessThan(1e-6);
    });
  });

  describe('norm', () => {
    test.each([[1, 90], [7, 93], [19, 64], [3, 1024], [9, 2]])('%i rows of %i columns', async (rows, width) => {
      for (const kind of ['rms_norm', 'layer_norm'] as const) for (const [n, lanes] of [[8, 1], [4, 4], [1, 64]] as const) for (const to of storages) {
        const b = new Buffers().add('x', f32, numbers(rows * width, 1).map((x) => x + 3)).add('gain', to, numbers(width, 2)).add('shift', to, numbers(width, 3)).add('out', to, numbers(rows * width + 3, 4));
        const spec = { rows: T, width, kind, eps: 1e-6, a: view('x', width), gain: { binding: 'gain', storage: to }, ...(kind === 'layer_norm' ? { bias: { binding: 'shift', storage: to } } : {}), out: view('out', width, to) };
        const writes: Writes = Array.from({ length: rows }, (_, r) => [...normed(b.get('x').subarray(r * width, (r + 1) * width), kind, b.get('gain'), kind === 'layer_norm' ? b.get('shift') : undefined, 1e-6)].map((value, c) => ({ binding: 'out', at: r * width + c, value }))).flat();
        expect(await error(normKernel(spec, { family: 'norm', rows: n, lanes }, options), b, writes, { T: rows }), `${kind}, ${lanes} lanes, ${to}`).toBeLessThan(tolerance([to]));
      }
    });
  });

  describe('embed', () => {
    test.each([[1, 90], [6, 128], [5, 11]])('%i rows of %i columns, by id and by position', async (rows, width) => {
      for (const storage of storages) for (const byPosition of [false, true]) {
        const ids = Array.from({ length: (rows + 2) * 4 }, (_, i) => (i * 7) % 12);
        const b = new Buffers().add('ids', 'i32', ids).add('table', storage, numbers(12 * width, 1)).add('out', f32, numbers((rows + 1) * width, 2));
        const numbered = byPosition ? { binding: 'ids', component: 'position' as const, offset: Poly.of(2) } : view('ids', 1, 'i32', { offset: Poly.of(2) });
        const spec = { rows: T, ids: numbered, table: { binding: 'table', storage }, width, out: view('out', width, f32, { offset: Poly.of(1) }) };
        const writes = elementwiseReference({ rows: T, width, value: { op: 'gather', table: spec.table, rows: numbered }, out: spec.out }, b, { T: rows });
        expect(await error(embedKernel(spec, options), b, writes, { T: rows }), storage).toBe(0);
      }
    });
  });

  describe('copy', () => {
    test.each([[4, 6, 2, 14], [3, 4, 4, 8], [5, 4, 1, 3], [2, 8, 2, 16]])('%i rows, %i heads of %i key-value heads of %i', async (rows, heads, kvHeads, headDim) => {
      const width = heads * headDim;
      for (const from of storages) for (const to of storages) {
        const b = new Buffers().add('x', from, numbers(rows * kvHeads * headDim, 1)).add('out', to, numbers((rows + 3) * width, 2));
        const spec = { rows: T, width, from: view('x', kvHeads * headDim, from), to: view('out', width, to, { regions: [{ count: Poly.of(1), start: Poly.of(0) }, { count: T.sub(1), start: Poly.of(4) }] }), repeat: { heads, kvHeads, headDim } };
        const writes = elementwiseReference({ rows: T, width, value: { op: 'load', view: spec.from, repeat: { group: heads / kvHeads, headDim } }, out: spec.to }, b, { T: rows });
        expect(await error(copyKernel(spec, options), b, writes, { T: rows }), `${from} to ${to}`).toBeLessThan(tolerance([to]));
      }
    });
  });

  describe('copy of blocks of a picture', () => {
    test.each([[6, 3, 5], [4, 2, 8], [8, 4, 3], [3, 1, 6]])('a grid of side %i, factor %i, rows of %i, two pictures', async (side, factor, width) => {
      const rows = 2 * (side / factor) ** 2, columns = factor ** 2 * width, shuffle = { side, factor, width };
      for (const from of storages) for (const to of storages) {
        const b = new Buffers().add('x', from, numbers((2 * side ** 2 + 1) * width, 1)).add('out', to, numbers((rows + 1) * columns, 2));
        const spec = { rows: T, width: columns, from: view('x', width, from, { offset: Poly.of(1) }), to: view('out', columns, to), shuffle };
        const writes = elementwiseReference({ rows: T, width: columns, value: { op: 'load', view: spec.from, shuffle }, out: spec.to }, b, { T: rows });
        expect(await error(copyKernel(spec, options), b, writes, { T: rows }), `${from} to ${to}`).toBeLessThan(tolerance([to]));
      }
    });
  });

  describe('gather', () => {
    test.each([[1, 5, 1, 0], [7, 12, 1, 1], [6, 9, 4, 2], [3, 1, 4, 1], [5, 30, 2, 0]])('%i rows of %i columns, each of %i sources, %i learned rows', async (rows, width, sources, known) => {
      const have = 11;
      for (const from of storages) for (const to of storages) for (const table of known ? storages : [f32]) {
        const b = new Buffers().add('x', from, numbers((have + 1) * width, 1)).add('map', 'i32', Array.from({ length: rows * sources }, (_, i) => ((i * 7 + 3) % (have + known)) - known))
          .add('shares', f32, numbers(rows * sources, 3)).add('learned', table, numbers(Math.max(1, known) * width, 4)).add('out', to, numbers((rows + 2) * width, 2));
        const mix = {
          from: view('x', width, from, { offset: Poly.of(1) }), map: view('map', sources, 'i32'), sources,
          ...(sources > 1 && { weights: view('shares', sources) }), ...(known && { learned: { binding: 'learned', storage: table } }),
        };
        const spec = { rows: T, width, ...mix, out: view('out', width, to, { offset: Poly.of(2) }) };
        const writes = elementwiseReference({ rows: T, width, value: { op: 'mix', ...mix }, out: spec.out }, b, { T: rows });
        expect(await error(gatherKernel(spec, options), b, writes, { T: rows }), `${from} and ${table} to ${to}`).toBeLessThan(tolerance([to]));
      }
    });
  });

  describe('argmax', () => {
    test.each([1, 3, 64, 331, 5000])('of %i columns, the first one on a tie', async (width) => {
      for (const storage of storages) {
        const values = numbers(3 * width, width).map((x) => x - 2);
        for (const [row, at] of [[0, width - 1], [1, Math.floor(width / 2)], [1, Math.floor(width / 3)]] as const) values[row * width + at] = 1.5;
        const b = new Buffers().add('x', storage, values).add('out', 'i32', [7, 7, 7, 7, 7]);
        const writes: Writes = [0, 1, 2].map((r) => {
          const row = [...b.get('x').subarray(r * width, (r + 1) * width)];
          return { binding: 'out', at: r + 1, value: row.indexOf(Math.max(...row)) };
        });
        expect(await error(argmaxKernel({ row: view('x', width, storage), width, rows: T, out: view('out', 1, 'i32', { offset: Poly.of(1) }) }, options), b, writes, { T: 3 }), storage).toBe(0);
      }
    });
  });
}
