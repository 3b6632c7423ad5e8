/** The kernel families of one class of device: how it reads each format of weights, features, and the schedule of every spec. */
import type { Sequence } from '../ir/rows.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { attentionShape, attentionScratch, attentionKernels } from '../wgsl/attention.ts';
import type { AttentionSpec } from '../wgsl/attention.ts';
import { argmaxKernel } from '../wgsl/argmax.ts';
import type { ArgmaxSpec } from '../wgsl/argmax.ts';
import { copyKernel } from '../wgsl/copy.ts';
import type { CopySpec } from '../wgsl/copy.ts';
import type { ElementwiseSpec } from '../wgsl/elementwise.ts';
import { elementwiseKernel, ropeKernel } from '../wgsl/elementwise.ts';
import type { EmbedSpec } from '../wgsl/embed.ts';
import { embedKernel } from '../wgsl/embed.ts';
import type { GatherSpec } from '../wgsl/gather.ts';
import { gatherKernel } from '../wgsl/gather.ts';
import type { Kernel, WeightStorage } from '../wgsl/kernel.ts';
import type { MatmulSpec } from '../wgsl/matmul.ts';
import { matmulKernel, shapeOf } from '../wgsl/matmul.ts';
import { matvecKernel } from '../wgsl/matvec.ts';
import type { NormSpec } from '../wgsl/norm.ts';
import { normKernel } from '../wgsl/norm.ts';
import type { AttentionSchedule, DeviceClass } from '../schedule/attention-schedule.ts';
import { defaultAttentionSchedule } from '../schedule/attention-schedule.ts';
import { matmulDefault, matvecDefault, normDefault, normInMatmul } from '../schedule/matmul-defaults.ts';
import { tilesDim } from './operands.ts';
import type { TargetOptions } from './target.ts';

export type { DeviceClass } from '../schedule/attention-schedule.ts';
type Writable = ReadonlySet<string>;

/** What lowering asks of the kernel families. `writable`: bindings that must be read_write whatever the kernel does. */
export interface Families {
  /** Fields of the dims uniform. */
  readonly dims: readonly string[];
  /** How kernels see weights of a format. */
  storageOf(format: WeightFormat): WeightStorage;
  matmul(spec: MatmulSpec, writable: Writable): Kernel;
  /** Whether a norm in front of this product is better a kernel of its own. */
  normApart(spec: MatmulSpec): boolean;
  attention(spec: AttentionSpec, writable: Writable): Kernel[];
  attentionSchedule(spec: AttentionSpec): AttentionSchedule;
  /** f32 elements of scratch memory that the attention needs. */
  attentionScratch(spec: AttentionSpec): number;
  elementwise(spec: ElementwiseSpec, writable: Writable): Kernel;
  norm(spec: NormSpec, writable: Writable): Kernel;
  embed(spec: EmbedSpec, writable: Writable): Kernel;
  argmax(spec: ArgmaxSpec, writable: Writable): Kernel;
  copy(spec: CopySpec, writable: Writable): Kernel;
  gather(spec: GatherSpec, writable: Writable): Kernel;
  rope(spec: Parameters<typeof ropeKernel>[0], writable: Writable): Kernel;
}

/** Dims of the uniform: new and context rows of every kind that varies, the tiles seen if there are such, then the number of key spans of each sequence. */
export const dimsOf = (sequences: readonly Sequence[], tiled = false): string[] => {
  const variables = [...new Set(sequences.flatMap((s) => s.kinds.flatMap((k) => k.count.variables)))];
  return [...variables, ...variables.map((v) => `C${v}`), ...(tiled ? [tilesDim] : []), ...sequences.map((s) => `spans_${s.name}`)];
};

function families(device: DeviceClass, features: readonly string[], half: 'f16' | 'f16x2', dims: readonly string[]): Families {
  const options = (readWrite: Writable) => ({ dims, features: new Set(features), readWrite });
  const schedule = (spec: AttentionSpec) => defaultAttentionSchedule(attentionShape(spec), device);
  return {
    dims, storageOf: (format) => (format.kind === 'f32' ? 'f32' : format.kind === 'f16' ? half : format),
    matmul: (spec, w) => (spec.rows.constant() === 1 ? matvecKernel(spec, matvecDefault(shapeOf(spec), device), options(w)) : matmulKernel(spec, matmulDefault(shapeOf(spec), device), options(w))),
    normApart: (spec) => !normInMatmul[device] && spec.rows.constant() !== 1,
    attentionSchedule: schedule,
    attention: (spec, w) => attentionKernels(spec, schedule(spec), options(w)),
    attentionScratch: (spec) => attentionScratch(spec, schedule(spec)),
    elementwise: (spec, w) => elementwiseKernel(spec, options(w)),
    norm: (spec, w) => normKernel(spec, normDefault(device, { oneRow: spec.rows.constant() === 1 }), options(w)),
    embed: (spec, w) => embedKernel(spec, options(w)),
    argmax: (spec, w) => argmaxKernel(spec, options(w)),
    copy: (spec, w) => copyKernel(spec, options(w)),
    gather: (spec, w) => gatherKernel(spec, options(w)),
    rope: (spec, w) => ropeKernel(spec, options(w)),
  };
}

/**
 * The targets of a bundle whose weight matrices have these formats: every class of device, and for f16 devices with and without
 * `shader-f16`. Quantised rows are words, which all devices read alike.
 */
export function familiesFor(formats: Iterable<WeightFormat>, sequences: readonly Sequence[], devices: readonly DeviceClass[] = ['gpu', 'software'], tiled = false): TargetOptions[] {
  const dims = dimsOf(sequences, tiled), found = new Set([...formats].map((f) => f.kind)), kinds = (['int4', 'int8', 'f16', 'f32'] as const).filter((k) => found.has(k));
  const halves = found.has('f16') ? [['f16', ['shader-f16'], ''], ['f16x2', [], '-packed']] as const : [['f16x2', [], '']] as const;
  return halves.flatMap(([half, features, ending]) => devices.map((device) => ({
    name: `${device}-${kinds.join('-') || 'f32'}${ending}`, device, features, families: families(device, features, half, dims),
  })));
}
