/** A piece of work on a device: its buffers, and the kernels of any schedule over them, timed and read out. */
import { f16ToF32 } from '../../../runtime/half.ts';
import type { OpenDevice } from '../../../runtime/device.ts';
import type { Kernel } from '../../wgsl/kernel.ts';
import { scratchBinding } from '../../bundle/families.ts';
import type { Clock } from './clock.ts';
import { fill, wordsOf } from './fill.ts';
import type { StepData } from './prompt.ts';
import type { Bound, Work } from './work.ts';

// The flags by value: Node has no global GPUBufferUsage.
const usage = { mapRead: 0x1, copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80 } as const;

/** Kernels of one schedule, ready to run. */
export interface Ready { readonly steps: readonly { readonly pipeline: GPUComputePipeline; readonly group: GPUBindGroup; readonly grid: readonly [number, number, number] }[] }

export class Stage {
  private readonly buffers = new Map<string, GPUBuffer>();
  private readonly written: readonly string[];

  /** Scratch memory that became too small. */
  private readonly outgrown: GPUBuffer[] = [];

  /** @throws RuntimeError when the device has no room for the buffers. */
  static async open(device: OpenDevice, clock: Clock, work: Work, dims: readonly string[], step: StepData): Promise<Stage> {
    const stage = new Stage(device, clock, work, dims, step);
    try {
      await device.guard(device.device.queue.onSubmittedWorkDone());
      return stage;
    } catch (e) {
      stage.close();
      throw e;
    }
  }

  private constructor(private readonly open: OpenDevice, private readonly clock: Clock, private readonly work: Work, private readonly dims: readonly string[], private readonly step: StepData) {
    const { device } = open;
    for (const [name, { decl, range }] of work.bindings) {
      const uniform = decl.kind === 'input' && decl.source === 'dims';
      this.buffers.set(name, device.createBuffer({ label: name, size: Math.max(16, Math.ceil(range.bytes / 16) * 16), usage: usage.copyDst | usage.copySrc | (uniform ? usage.uniform : usage.storage) }));
    }
    // Made again, kernels have scratch memory of their own, and what else they write is the result.
    this.written = [...new Set(work.made.again(work.made.choice.schedule).kernels.flatMap((k) => k.bindings.filter((b) => b.access === 'read_write' && b.name !== scratchBinding).map((b) => b.name)))];
    [...work.bindings.keys()].forEach((name) => this.fill(name));
  }

  private fill(name: string): void {
    fill(this.open.device, this.buffers.get(name)!, this.work.bindings.get(name)!, this.dims, this.step, [...this.work.bindings.keys()].indexOf(name));
  }

  /** Makes pipelines and bind groups. @throws Error that says what the device does not accept */
  async prepare({ kernels, scratch }: { readonly kernels: readonly Kernel[]; readonly scratch: number }): Promise<Ready> {
    const { device } = this.open, types = { read: 'read-only-storage', read_write: 'storage', uniform: 'uniform' } as const;
    const bytes = Math.max(16, scratch * 4), old = this.buffers.get(scratchBinding);
    if (scratch && (!old || old.size < bytes)) {
      // What was made before still binds it, and may run again.
      if (old) this.outgrown.push(old);
      this.buffers.set(scratchBinding, device.createBuffer({ label: scratchBinding, size: Math.ceil(bytes / 16) * 16, usage: usage.storage | usage.copyDst | usage.copySrc }));
    }
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('internal');
    device.pushErrorScope('validation');
    let steps: Ready['steps'] | undefined, thrown: unknown;
    try {
      steps = await Promise.all(kernels.map(async (k) => {
        const layout = device.createBindGroupLayout({ entries: k.bindings.map((b, binding) => ({ binding, visibility: 4, buffer: { type: types[b.access] } })) });
        const pipeline = await device.createComputePipelineAsync({ layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module: device.createShaderModule({ code: k.wgsl }) } });
        const group = device.createBindGroup({ layout, entries: k.bindings.map((b, binding) => ({ binding, resource: { buffer: this.bufferOf(k, b.name) } })) });
        return { pipeline, group, grid: k.grid.map((g) => (typeof g === 'number' ? g : Math.ceil(g.ceil.at(this.step.dims) / g.by))) as unknown as readonly [number, number, number] };
      }));
    } catch (e) { thrown = e; }
    const errors = [await device.popErrorScope(), await device.popErrorScope(), await device.popErrorScope()].filter((e) => e !== null);
    if (errors.length || !steps) throw new Error((errors[0]?.message ?? String(thrown)).split('\n')[0]!, { cause: thrown });
    return { steps };
  }

  private bufferOf(k: Kernel, name: string): GPUBuffer {
    const b = this.buffers.get(name);
    if (!b) throw new Error(`the kernel '${k.family}' binds '${name}', which the work does not have`);
    return b;
  }

  /** Milliseconds of one run, over `times` runs one after the other. */
  async time({ steps }: Ready, times = 1): Promise<number> {
    return (await this.guard(this.clock.time(this.open.device, (pass) => {
      for (let i = 0; i < times; i++) for (const s of steps) {
        if (s.grid.includes(0)) continue;
        pass.setPipeline(s.pipeline);
        pass.setBindGroup(0, s.group);
        pass.dispatchWorkgroups(...s.grid);
      }
    }))) / times;
  }

  /** What the written buffers hold after one run over fresh contents; milliseconds of that run. */
  async result(ready: Ready): Promise<{ readonly ms: number; readonly values: ReadonlyMap<string, Float32Array> }> {
    const { device } = this.open, values = new Map<string, Float32Array>();
    this.written.forEach((name) => this.fill(name));
    const ms = await this.time(ready);
    for (const name of this.written) {
      const source = this.buffers.get(name)!, staging = device.createBuffer({ label: 'tune', size: source.size, usage: usage.mapRead | usage.copyDst });
      try {
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
        device.queue.submit([encoder.finish()]);
        await this.guard(staging.mapAsync(usage.mapRead));
        values.set(name, numbersOf(this.work.bindings.get(name)!, staging.getMappedRange().slice(0)));
        staging.unmap();
      } finally {
        staging.destroy();
      }
    }
    return { ms, values };
  }

  /** On a device that is lost already, what was begun may fail later, when nobody asks any more. */
  private guard<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return this.open.guard(work);
  }

  close(): void { for (const b of [...this.buffers.values(), ...this.outgrown]) b.destroy(); }
}

function numbersOf({ decl }: Bound, bytes: ArrayBuffer): Float32Array {
  const words = wordsOf(decl);
  return words === 'f32' ? new Float32Array(bytes) : words === 'f16' ? f16ToF32(new Uint16Array(bytes)) : Float32Array.from(new Int8Array(bytes));
}

/** The largest difference between two results, relative to the largest number of the first in that buffer. Infinite where something is no number. */
export function difference(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let worst = 0;
  for (const [name, x] of a) {
    const y = b.get(name)!;
    let scale = 1e-30, most = 0;
    for (let i = 0; i < x.length; i++) {
      const d = Math.abs(x[i]! - y[i]!);
      if (!(d <= most)) { if (Number.isNaN(d) && !(Number.isNaN(x[i]!) && Number.isNaN(y[i]!))) return Infinity; if (d > most) most = d; }
      const size = Math.abs(x[i]!);
      if (size > scale) scale = size;
    }
    worst = Math.max(worst, most / scale);
  }
  return worst;
}
