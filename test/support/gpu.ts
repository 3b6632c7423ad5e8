import { toF16, fromF16 } from '../../runtime/half.ts';
import type { GridSize, Kernel } from '../../compiler/wgsl/kernel.ts';

/**
 * Runs generated kernels on a device as the runtime would: explicit bind group layouts, whole buffers, the dims uniform,
 * error scopes. For tests and benchmarks of kernel families.
 */
export type BufferData = Float32Array | Uint16Array | Uint32Array | Int32Array;
export interface RunOptions {
  /** Contents of every buffer but the dims uniform, by the binding's name. f16 travels as its bits in a Uint16Array. */
  readonly buffers: Readonly<Record<string, BufferData>>;
  readonly dims: Readonly<Record<string, number>>;
  /** Field order of the dims uniform; by default the order of the keys of `dims`. */
  readonly dimsOrder?: readonly string[];
  /** Run the whole list of kernels this often (benchmarks); 1 by default. */
  readonly repeat?: number;
}
export interface RunResult {
  /** What the read_write buffers hold afterwards, in the type that they were given in. */
  readonly outputs: Record<string, BufferData>;
  /** Median milliseconds of one run of all kernels, the first one left out when there are several. */
  readonly ms: number;
  /** The fastest run: on a shared machine the steadier figure. */
  readonly best: number;
  /** Milliseconds to make the pipelines. */
  readonly compile: number;
}

/** WGSL with line numbers, and the compiler's messages at their lines. */
export function numbered(wgsl: string, messages: readonly GPUCompilationMessage[] = []): string {
  return wgsl.split('\n').flatMap((line, i) => [
    `${String(i + 1).padStart(4)} | ${line}`,
    ...messages.filter((m) => m.lineNum === i + 1).map((m) => `     ^ ${m.type}, column ${m.linePos}: ${m.message}`),
  ]).join('\n');
}

export const gridSize = (g: GridSize, dims: Readonly<Record<string, number>>): number =>
  typeof g === 'number' ? g : Math.ceil(g.ceil.at(dims) / g.by);

/** Layout and pipeline of a kernel; a compile error shows the numbered text. */
export async function buildKernel(device: GPUDevice, kernel: Kernel): Promise<{ layout: GPUBindGroupLayout; pipeline: GPUComputePipeline }> {
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  const module = device.createShaderModule({ code: kernel.wgsl });
  const types = { read: 'read-only-storage', read_write: 'storage', uniform: 'uniform' } as const;
  const layout = device.createBindGroupLayout({
    entries: kernel.bindings.map((b, binding) => ({ binding, visibility: 4 /* GPUShaderStage.COMPUTE */, buffer: { type: types[b.access] } })),
  });
  let pipeline: GPUComputePipeline | undefined, thrown: unknown;
  try {
    pipeline = await device.createComputePipelineAsync({ layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module } });
  } catch (e) { thrown = e; }
  const errors = [await device.popErrorScope(), await device.popErrorScope()].filter((e) => e !== null);
  if (!pipeline || errors.length) {
    const { messages } = await module.getCompilationInfo();
    throw new Error([`The kernel '${kernel.family}' does not compile:`, ...errors.map((e) => e!.message), ...(thrown ? [String(thrown)] : []), numbered(kernel.wgsl, messages)].join('\n'));
  }
  return { layout, pipeline };
}

/** Kernels with their buffers on a device, ready to run as often as one likes. */
export interface Prepared {
  /** Milliseconds to make the pipelines. Some drivers put the work off until the first run. */
  readonly compile: number;
  /** Runs all kernels, one after another; milliseconds until the device has done them. */
  run(): Promise<number>;
  /** What the read_write buffers hold, in the type that they were given in. Throws what went wrong until now. */
  read(): Promise<Record<string, BufferData>>;
  destroy(): void;
}

/** Makes pipelines, buffers and bind groups, once. */
export async function prepareKernels(device: GPUDevice, kernels: readonly Kernel[], options: Omit<RunOptions, 'repeat'>): Promise<Prepared> {
  const start = performance.now();
  const built = await Promise.all(kernels.map((k) => buildKernel(device, k)));
  const compile = performance.now() - start;
  const made: GPUBuffer[] = [], errors: GPUError[] = [];
  /** Errors of `work` are kept for `read`. */
  const watched = async <R>(work: () => R | Promise<R>): Promise<R> => {
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    try {
      return await work();
    } finally {
      for (const e of [await device.popErrorScope(), await device.popErrorScope()]) if (e) errors.push(e);
    }
  };
  const make = (size: number, usage: number): GPUBuffer => {
    const b = device.createBuffer({ size: Math.max(16, Math.ceil(size / 16) * 16), usage });
    made.push(b);
    return b;
  };
  const upload = (data: BufferData, usage: number): GPUBuffer => {
    const b = make(data.byteLength, usage | 8 /* COPY_DST */);
    const bytes = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    device.queue.writeBuffer(b, 0, bytes);
    return b;
  };
  const order = options.dimsOrder ?? Object.keys(options.dims);
  const { buffers, steps } = await watched(() => {
    const dims = upload(Uint32Array.from(order, (n) => options.dims[n] ?? 0), 64 /* UNIFORM */);
    const buffers = new Map(Object.entries(options.buffers).map(([n, data]) => [n, upload(data, 128 | 4 /* STORAGE | COPY_SRC */)]));
    const steps = kernels.map((k, i) => ({
      pipeline: built[i]!.pipeline,
      grid: k.grid.map((g) => gridSize(g, options.dims)) as [number, number, number],
      group: device.createBindGroup({
        layout: built[i]!.layout,
        entries: k.bindings.map((b, binding) => {
          const buffer = b.access === 'uniform' ? dims : buffers.get(b.name);
          if (!buffer) throw new Error(`The kernel '${k.family}' binds '${b.name}'; given are ${[...buffers.keys()].join(', ')}.`);
          return { binding, resource: { buffer } };
        }),
      }),
    }));
    return { buffers, steps };
  });
  const written = new Set(kernels.flatMap((k) => k.bindings.filter((b) => b.access === 'read_write').map((b) => b.name)));
  return {
    compile,
    run: () => watched(async () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const s of steps) {
        if (s.grid.includes(0)) continue;
        pass.setPipeline(s.pipeline);
        pass.setBindGroup(0, s.group);
        pass.dispatchWorkgroups(...s.grid);
      }
      pass.end();
      const begin = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - begin;
    }),
    read: async () => {
      const outputs: Record<string, BufferData> = {};
      await watched(async () => {
        for (const name of written) {
          const given = options.buffers[name]!, source = buffers.get(name)!;
          const staging = make(source.size, 1 | 8 /* MAP_READ | COPY_DST */);
          const encoder = device.createCommandEncoder();
          encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
          device.queue.submit([encoder.finish()]);
          await staging.mapAsync(1 /* READ */);
          const bytes = staging.getMappedRange().slice(0, given.byteLength);
          outputs[name] = new (given.constructor as new (b: ArrayBuffer) => BufferData)(bytes);
          staging.unmap();
        }
      });
      if (errors.length) throw new Error(errors.map((e) => e.message).join('\n'));
      return outputs;
    },
    destroy: () => { for (const b of made) b.destroy(); },
  };
}

/** Runs kernels one after another over the same named buffers. */
export async function runKernels(device: GPUDevice, kernels: readonly Kernel[], options: RunOptions): Promise<RunResult> {
  const ready = await prepareKernels(device, kernels, options);
  try {
    const times: number[] = [];
    for (let r = 0; r < (options.repeat ?? 1); r++) times.push(await ready.run());
    const outputs = await ready.read(), rest = (times.length > 1 ? times.slice(1) : times).sort((a, b) => a - b);
    return { outputs, ms: rest[rest.length >> 1]!, best: rest[0]!, compile: ready.compile };
  } finally {
    ready.destroy();
  }
}

/** `runKernels` of one kernel, outputs alone. */
export const runKernel = async (device: GPUDevice, kernel: Kernel, options: RunOptions): Promise<Record<string, BufferData>> =>
  (await runKernels(device, [kernel], options)).outputs;

/** Numbers as f16 bits (also the layout of packed f16x2: element 2i in the low half of word i), and back. */
export const toHalves = (x: ArrayLike<number>): Uint16Array => Uint16Array.from(x, toF16);
export const fromHalves = (x: ArrayLike<number>): Float32Array => Float32Array.from(x, fromF16);
