/** The kernel families of one class of device: storage of weights, features, and the schedule of every spec. */
import type { Sequence } from '../ir/rows.ts';
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
import type { Kernel, Storage } from '../wgsl/kernel.ts';
import type { MatmulSpec } from '../wgsl/matmul.ts';
import { matmulKernel, shapeOf } from '../wgsl/matmul.ts';
import { matvecKernel } from '../wgsl/matvec.ts';
import type { NormSpec } from '../wgsl/norm.ts';
import { normKernel } from '../wgsl/norm.ts';
import type { AttentionSchedule, DeviceClass } from '../schedule/attention-schedule.ts';
import { defaultAttentionSchedule } from '../schedule/attention-schedule.ts';
import { matmulDefault, matvecDefault, normDefault, normInMatmul } from '../schedule/matmul-defaults.ts';
import type { TargetOptions } from './target.ts';

export type { DeviceClass } from '../schedule/attention-schedule.ts';
type Writable = ReadonlySet<string>;

/** What lowering asks of the kernel families. `writable`: bindings that must be read_write whatever the kernel does. */
export interface Families {
  /** Fields of the dims uniform. */
  readonly dims: readonly string[];
  readonly weightStorage: Storage;
  /** Bytes of a weight matrix's element. */
  readonly weightBytes: number;
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
  rope(spec: Parameters<typeof ropeKernel>[0], writable: Writable): Kernel;
}

/** Dims of the uniform: new and context rows of every kind that varies, then the number of key spans of each sequence. */
export const dimsOf = (sequences: readonly Sequence[]): string[] => {
  const variables = [...new Set(sequences.flatMap((s) => s.kinds.flatMap((k) => k.count.variables)))];
  return [...variables, ...variables.map((v) => `C${v}`), ...sequences.map((s) => `spans_${s.name}`)];
};

function families(device: DeviceClass, features: readonly string[], weightStorage: Storage, dims: readonly string[]): Families {
  const options = (readWrite: Writable) => ({ dims, features: new Set(features), readWrite });
  const schedule = (spec: AttentionSpec) => defaultAttentionSchedule(attentionShape(spec), device);
  return {
    dims, weightStorage, weightBytes: weightStorage === 'f32' ? 4 : 2,
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
    rope: (spec, w) => ropeKernel(spec, options(w)),
  };
}

/** The targets of a bundle: every class of device, and for f16 weights devices with and without `shader-f16`. */
export function familiesFor(dtype: 'f32' | 'f16', sequences: readonly Sequence[], devices: readonly DeviceClass[] = ['gpu', 'software']): TargetOptions[] {
  const dims = dimsOf(sequences);
  const storages = dtype === 'f32' ? [['f32', []]] as const : [['f16', ['shader-f16']], ['f16x2', []]] as const;
  return storages.flatMap(([storage, features]) => devices.map((device) => ({
    name: `${device}-${storage === 'f16x2' ? 'f16-packed' : storage}`, device, features, families: families(device, features, storage, dims),
  })));
}
