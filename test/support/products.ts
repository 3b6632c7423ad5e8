/** Products run by any schedule of their families, as the runtime would. */
import { Poly } from '../../compiler/ir/poly.ts';
import type { MatmulSchedule } from '../../compiler/schedule/matmul-schedule.ts';
import type { MatvecSchedule } from '../../compiler/schedule/matvec-schedule.ts';
import type { Kernel } from '../../compiler/wgsl/kernel.ts';
import { matmulKernels, matmulScratch } from '../../compiler/wgsl/matmul.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';
import type { KernelOptions } from '../../compiler/wgsl/printer.ts';
import type { BufferData } from './gpu.ts';
import { runKernels } from './gpu.ts';
import type { Buffers, Dims, matmulReference } from './kernel-reference.ts';
import { worstError } from './kernel-reference.ts';

/** The spec with scratch memory for the sums of shares of K, as far as the schedule needs some. */
export function withSums<B extends Readonly<Record<string, BufferData>>>(spec: MatmulSpec, schedule: MatmulSchedule, buffers: B): { spec: MatmulSpec; buffers: Record<string, BufferData> } {
  const n = matmulScratch(spec, schedule);
  if (!n) return { spec, buffers };
  return { spec: { ...spec, scratch: { binding: 'sums', storage: 'f32', stride: 4, offset: Poly.zero } }, buffers: { ...buffers, sums: new Float32Array(n) } };
}

export const productKernels = (spec: MatmulSpec, schedule: MatmulSchedule | MatvecSchedule, options: KernelOptions): Kernel[] =>
  (schedule.family === 'matvec' ? [matvecKernel(spec, schedule, options)] : matmulKernels(withSums(spec, schedule, {}).spec, schedule, options));

/** Largest error of a product by this schedule, relative to its largest element (at least 1). */
export async function productError(device: GPUDevice, spec: MatmulSpec, schedule: MatmulSchedule | MatvecSchedule, b: Buffers, writes: ReturnType<typeof matmulReference>, dims: Dims, options: KernelOptions): Promise<number> {
  const { buffers } = schedule.family === 'matmul' ? withSums(spec, schedule, b.encode()) : { buffers: b.encode() };
  const { outputs } = await runKernels(device, productKernels(spec, schedule, options), { buffers, dims });
  const { sums: _, ...written } = outputs;
  return worstError(b, writes, written);
}
