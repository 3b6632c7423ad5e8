/**
 * Criterion 5: every schedule in every family's space that is legal on a device, each on a case of odd sizes that its shape
 * allows. Spaces are long and kernels take seconds to compile on software adapters, so a run draws a few of each family;
 * `EEMLLM_SPACE=n` draws n, `EEMLLM_SPACE=all` takes the whole space, `EEMLLM_SPACE_SEED` says which few.
 */
import { Poly } from '../../compiler/ir/poly.ts';
import { int4Groups } from '../../compiler/ir/weight-format.ts';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { attentionSpace } from '../../compiler/schedule/attention-schedule.ts';
import type { FamilyName, Schedule } from '../../compiler/schedule/wanted.ts';
import { kernelFamilies, scheduleText } from '../../compiler/schedule/wanted.ts';
import { attentionShape } from '../../compiler/wgsl/attention.ts';
import type { FloatStorage, Kernel, Storage } from '../../compiler/wgsl/kernel.ts';
import { shapeOf } from '../../compiler/wgsl/matmul.ts';
import { normKernel, normShapeOf } from '../../compiler/wgsl/norm.ts';
import type { NormSpec } from '../../compiler/wgsl/norm.ts';
import type { KernelOptions } from '../../compiler/wgsl/printer.ts';
import type { CaseOptions } from './attention.ts';
import { attentionCase, kernelsOf, worstError as attentionError } from './attention.ts';
import { cases, tolerance as attentionTolerance } from './attention-cases.ts';
import { runKernel } from './gpu.ts';
import { Buffers, matmulReference, normed, numbers, worstError } from './kernel-reference.ts';
import { productError, productKernels } from './products.ts';
import type { Product } from './random-products.ts';
import { Dice, randomProduct } from './random-products.ts';

/** One schedule on one case. */
export interface Trial {
  readonly name: string;
  readonly family: FamilyName;
  readonly schedule: Schedule;
  kernels(): readonly Kernel[];
  /** Largest error on the device, and what is allowed. */
  error(device: GPUDevice): Promise<number>;
  readonly tolerance: number;
}

/** How many a run draws of a family, and by which seed. */
export interface Draw { readonly count: number; readonly seed: number }
export const drawn = (count: number): Draw => ({ count: process.env['EEMLLM_SPACE'] === 'all' ? Infinity : Number(process.env['EEMLLM_SPACE'] ?? count), seed: Number(process.env['EEMLLM_SPACE_SEED'] ?? Math.floor(Date.now() / 1000)) });

const storagesOf = (facts: DeviceFacts): FloatStorage[] => (facts.features.has('shader-f16') ? ['f32', 'f16', 'f16x2'] : ['f32', 'f16x2']);
const outTolerance = (outs: readonly Storage[]): number => (outs.some((s) => s.startsWith('f16')) ? 6e-4 : 2e-6);
/** A software adapter may run what is meant for GPUs, and the other way round: whatever is legal. */
const bothClasses = (facts: DeviceFacts): DeviceFacts[] => (['software', 'gpu'] as const).map((c) => ({ ...facts, class: c }));

/** Every distinct schedule with the cases that it is legal for. */
function gather<C, S>(list: readonly C[], space: (c: C) => readonly S[]): { schedule: S; cases: C[] }[] {
  const found = new Map<string, { schedule: S; cases: C[] }>();
  for (const c of list) for (const schedule of space(c)) {
    const text = scheduleText(schedule), old = found.get(text);
    if (old) old.cases.push(c); else found.set(text, { schedule, cases: [c] });
  }
  return [...found.values()];
}

/** The schedules of a family in the order in which they are tried: all in a row, or drawn by the seed. */
function order<T>(all: readonly T[], { count, seed }: Draw): T[] {
  if (count >= all.length) return [...all];
  const dice = new Dice(seed), rest = [...all];
  return Array.from({ length: count }, () => rest.splice(dice.below(rest.length), 1)[0]!);
}

/** Products of every kind: prologues, interleaving, pairs, formats of weights, one row and several. */
function products(facts: DeviceFacts, oneRow: boolean): Product[] {
  const storages = storagesOf(facts), int8 = { kind: 'int8' as const }, int4 = int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })));
  return [
    ...Array.from({ length: 40 }, (_, seed) => randomProduct(seed + (oneRow ? 100 : 0), { storages, oneRow })),
    ...[int8, ...int4].flatMap((format, i) => [0, 1].map((n) => {
      const p = randomProduct(200 + i * 8 + n, { storages, weights: [format], oneRow });
      return n ? { ...p, spec: { ...p.spec, arithmetic: 'int8' as const } } : p;
    })),
  ];
}

function productTrials(family: 'matmul' | 'matvec', facts: DeviceFacts, options: KernelOptions, draw: Draw): Trial[] {
  const list = products(facts, family === 'matvec'), dice = new Dice(draw.seed);
  const all = gather(list, (p) => bothClasses(facts).flatMap((f) => kernelFamilies[family].space(shapeOf(p.spec), f) as readonly Schedule<'matmul' | 'matvec'>[]));
  return order(all, draw).map(({ schedule, cases: able }) => {
    const p = dice.of(able);
    return {
      name: `${p.name}, ${JSON.stringify(schedule)}`, family, schedule, tolerance: productTolerance(p, schedule),
      kernels: () => productKernels(p.spec, schedule, options),
      error: (device) => productError(device, p.spec, schedule, p.buffers, matmulReference(p.spec, p.buffers, p.dims, { int8: 'dot4' in schedule && schedule.dot4 }), { V: 0, ...p.dims }, options),
    };
  });
}

/** Operands that a schedule rounds to f16 on their way are off by 2⁻¹¹ each, and sums of K of them by less than √K as much. */
function productTolerance({ spec }: Product, s: Schedule<'matmul' | 'matvec'>): number {
  const half = ('panels' in s && s.panels === 'f16') || ('component' in s && s.component === 'f16') || ('form' in s && (s.form as string) === 'f16');
  return Math.max(outTolerance(spec.groups.map((g) => g.out.storage)), half ? 4e-3 : 0);
}

function attentionTrials(facts: DeviceFacts, draw: Draw): Trial[] {
  const dice = new Dice(draw.seed), list = Object.entries(cases).map(([name, options]): { name: string; options: CaseOptions; c: ReturnType<typeof attentionCase> } => ({ name, options, c: attentionCase(options) })).filter(({ c }) => c.features.every((f) => facts.features.has(f)));
  const all = gather(list, ({ c }) => bothClasses(facts).flatMap((f) => attentionSpace(attentionShape(c.spec), f)));
  return order(all, draw).map(({ schedule, cases: able }) => {
    const { name, options, c } = dice.of(able);
    return { name: `${name}, ${JSON.stringify(schedule)}`, family: 'attention', schedule, tolerance: attentionTolerance(options), kernels: () => kernelsOf(c, schedule, facts), error: (device) => attentionError(device, c, schedule, facts) };
  });
}

function normTrials(facts: DeviceFacts, options: KernelOptions, draw: Draw): Trial[] {
  const T = Poly.dim('T'), dice = new Dice(draw.seed), storages = storagesOf(facts);
  const list = ([[1, 90], [7, 93], [19, 64], [3, 1024], [9, 2], [33, 201]] as const).flatMap(([rows, width]) => (['rms_norm', 'layer_norm'] as const).map((kind) => {
    const to = dice.of(storages), view = (binding: string, storage: Storage) => ({ binding, storage, stride: width, offset: Poly.zero });
    const spec: NormSpec = { rows: rows === 1 ? Poly.of(1) : T, width, kind, eps: 1e-6, a: view('x', 'f32'), gain: { binding: 'gain', storage: to as 'f32' }, ...(kind === 'layer_norm' ? { bias: { binding: 'shift', storage: to as 'f32' } } : {}), out: view('out', to) };
    return { rows, width, kind, to, spec };
  }));
  const all = gather(list, ({ spec }) => bothClasses(facts).flatMap((f) => kernelFamilies.norm.space(normShapeOf(spec), f)));
  return order(all, draw).map(({ schedule, cases: able }) => {
    const { rows, width, kind, to, spec } = dice.of(able), kernel = normKernel(spec, schedule, options);
    return {
      name: `${kind} of ${rows} rows of ${width} to ${to}, ${JSON.stringify(schedule)}`, family: 'norm', schedule, tolerance: outTolerance([to]), kernels: () => [kernel],
      error: async (device) => {
        const b = new Buffers().add('x', 'f32', numbers(rows * width, 1).map((x) => x + 3)).add('gain', to, numbers(width, 2)).add('shift', to, numbers(width, 3)).add('out', to, numbers(rows * width + 3, 4));
        const writes = Array.from({ length: rows }, (_, r) => [...normed(b.get('x').subarray(r * width, (r + 1) * width), kind, b.get('gain'), kind === 'layer_norm' ? b.get('shift') : undefined, 1e-6)].map((value, c) => ({ binding: 'out', at: r * width + c, value }))).flat();
        return worstError(b, writes, await runKernel(device, kernel, { buffers: b.encode(), dims: { V: 0, T: rows } }));
      },
    };
  });
}

/** The schedules of a family on a device, each with a case. */
export function trialsOf(family: FamilyName, facts: DeviceFacts, draw: Draw): Trial[] {
  const options: KernelOptions = { dims: ['V', 'T'], features: facts.features };
  if (family === 'attention') return attentionTrials(facts, draw);
  return family === 'norm' ? normTrials(facts, options, draw) : productTrials(family, facts, options, draw);
}
