/**
 * A bundle on a device: buffers, pipelines and bind groups, all made here, once. A step only encodes.
 */
import type { Bundle } from './bundle.ts';
import { readChecked } from './bundle.ts';
import { RuntimeError, reasonOf } from './errors.ts';
import type { BufferDecl, EntryName, Target } from './manifest.ts';
import type { Dims, Polynomial } from './polynomial.ts';
import { parseGrid, parsePolynomial } from './polynomial.ts';

// The flags by value: Node has no global GPUBufferUsage.
const usage = { copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80 } as const;
const compute = 0x4;

export interface LoadedDispatch {
  readonly label: string;
  readonly path: string;
  readonly family: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly grid: readonly [Polynomial, Polynomial, Polynomial];
  readonly rows: readonly (readonly [kind: string, count: Polynomial])[];
  readonly flops: Polynomial;
}
export interface LoadedEntry {
  readonly dispatches: readonly LoadedDispatch[];
  readonly outputs: Readonly<Record<string, { readonly buffer: GPUBuffer; readonly offset: number; readonly row: Polynomial; readonly rows: Polynomial; readonly width: number; readonly dtype: 'f32' | 'f16' | 'i32' }>>;
}

/** What ran so far; the proof that a second question about an image does no work on its rows. */
export interface Counters {
  steps: number;
  dispatches: number;
  flops: number;
  /** Rows computed, by kind, summed over dispatches. */
  rows: Record<string, number>;
}
export const newCounters = (): Counters => ({ steps: 0, dispatches: 0, flops: 0, rows: {} });

export class Program {
  private constructor(
    readonly device: GPUDevice,
    readonly target: Target,
    readonly buffers: ReadonlyMap<string, GPUBuffer>,
    readonly entries: Readonly<Partial<Record<EntryName, LoadedEntry>>>,
  ) {}

  /**
   * Makes every buffer, pipeline and bind group of a target. Weights are not read here: `buffers` has theirs, empty.
   * @throws RuntimeError `device` when the device refuses a kernel or is too small for a buffer, `bundle` when a kernel
   *   file was changed.
   */
  static async create(bundle: Bundle, target: Target, device: GPUDevice): Promise<Program> {
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    const buffers = new Map<string, GPUBuffer>();
    for (const [name, decl] of Object.entries(target.buffers)) buffers.set(name, createBuffer(device, name, decl));
    const pipelines = await createPipelines(bundle, target, device);
    const entries: Partial<Record<EntryName, LoadedEntry>> = {};
    for (const [name, entry] of Object.entries(target.entries) as [EntryName, Target['entries'][EntryName]][]) {
      if (!entry) continue;
      const outputs = Object.fromEntries(Object.entries(entry.outputs).map(([k, o]) => [k, { ...o, buffer: buffers.get(o.buffer)!, row: parsePolynomial(o.row), rows: parsePolynomial(o.rows) }]));
      const dispatches = entry.dispatches.map((d): LoadedDispatch => {
        const kernel = target.kernels[d.kernel], pipeline = pipelines.get(d.kernel);
        if (!kernel || !pipeline) throw new RuntimeError('bundle', `${bundle.label}: dispatch '${d.label}' names the kernel '${d.kernel}', which the bundle does not have. Compile it anew.`);
        const bindGroup = device.createBindGroup({
          label: d.label,
          layout: pipeline.layout,
          entries: d.bind.map((b, binding) => {
            const buffer = buffers.get(b.buffer);
            if (!buffer || b.offset + b.bytes > buffer.size) throw new RuntimeError('bundle', `${bundle.label}: dispatch '${d.label}' binds bytes ${b.offset} to ${b.offset + b.bytes} of '${b.buffer}', which ${buffer ? `has ${buffer.size}` : 'the bundle does not have'}. Compile it anew.`);
            return { binding, resource: { buffer, offset: b.offset, size: b.bytes } };
          }),
        });
        return {
          label: d.label, path: d.path, family: kernel.family, pipeline: pipeline.pipeline, bindGroup,
          grid: kernel.grid.map(parseGrid) as unknown as LoadedDispatch['grid'],
          rows: Object.entries(d.rows).map(([k, p]) => [k, parsePolynomial(p)] as const),
          flops: parsePolynomial(d.flops),
        };
      });
      entries[name] = { dispatches, outputs };
    }
    const invalid = await device.popErrorScope();
    const memory = await device.popErrorScope();
    if (memory) throw new RuntimeError('device', `The device has too little memory for ${bundle.label} (${Object.values(target.buffers).reduce((s, b) => s + b.bytes, 0)} bytes): ${reasonOf(memory)}. Compile with smaller limits (--max-visual, --max-text) or dtype.`);
    if (invalid) throw new RuntimeError('device', `The device refused a part of ${bundle.label}: ${reasonOf(invalid)}.`);
    return new Program(device, target, buffers, entries);
  }

  buffer(name: string): GPUBuffer {
    const b = this.buffers.get(name);
    if (!b) throw new RuntimeError('bundle', `The bundle's program '${this.target.name}' has no buffer '${name}'. Compile it anew.`);
    return b;
  }

  /** The input buffer with the given source (and sequence), if this program reads it. */
  input(source: string, sequence?: string): GPUBuffer | undefined {
    for (const [name, b] of Object.entries(this.target.buffers))
      if (b.kind === 'input' && b.source === source && (sequence === undefined || b.sequence === sequence)) return this.buffers.get(name);
    return undefined;
  }

  /** Writes the dims uniform. It holds until the next step that is submitted after this call. */
  writeDims(dims: Dims): void {
    const words = new Uint32Array(Math.ceil(this.target.dims.length / 4) * 4);
    this.target.dims.forEach((name, i) => { words[i] = dims[name] ?? 0; });
    const buffer = this.input('dims');
    if (buffer) this.device.queue.writeBuffer(buffer, 0, words);
  }

  /** Records all dispatches of an entry into one compute pass. */
  encode(encoder: GPUCommandEncoder, entry: LoadedEntry, dims: Dims, counters: Counters): void {
    const pass = encoder.beginComputePass();
    counters.steps++;
    for (const d of entry.dispatches) {
      const x = d.grid[0](dims), y = d.grid[1](dims), z = d.grid[2](dims);
      if (x === 0 || y === 0 || z === 0) continue;
      pass.setPipeline(d.pipeline);
      pass.setBindGroup(0, d.bindGroup);
      pass.dispatchWorkgroups(x, y, z);
      counters.dispatches++;
      counters.flops += d.flops(dims);
      for (const [kind, count] of d.rows) counters.rows[kind] = (counters.rows[kind] ?? 0) + count(dims);
    }
    pass.end();
  }

  destroy(): void {
    for (const b of this.buffers.values()) b.destroy();
  }
}

function createBuffer(device: GPUDevice, name: string, decl: BufferDecl): GPUBuffer {
  const uniform = decl.kind === 'input' && decl.source === 'dims';
  const size = Math.max(16, Math.ceil(decl.bytes / 16) * 16);
  if (size > device.limits.maxBufferSize)
    throw new RuntimeError('device', `The buffer '${name}' needs ${size} bytes, more than the device's limit of ${device.limits.maxBufferSize} (maxBufferSize). Compile with smaller limits (--max-visual, --max-text, --max-tiles) or a smaller dtype.`);
  return device.createBuffer({ label: name, size, usage: usage.copyDst | usage.copySrc | (uniform ? usage.uniform : usage.storage) });
}

interface Compiled { readonly pipeline: GPUComputePipeline; readonly layout: GPUBindGroupLayout }

/** Compiles all kernels at once; each file is checked against its hash first. */
async function createPipelines(bundle: Bundle, target: Target, device: GPUDevice): Promise<Map<string, Compiled>> {
  const types = { read: 'read-only-storage', read_write: 'storage', uniform: 'uniform' } as const;
  const made = await Promise.all(Object.entries(target.kernels).map(async ([id, kernel]) => {
    const code = new TextDecoder().decode(await readChecked(bundle, kernel));
    const module = device.createShaderModule({ label: id, code });
    const layout = device.createBindGroupLayout({ label: id, entries: kernel.bindings.map((access, binding) => ({ binding, visibility: compute, buffer: { type: types[access] } })) });
    try {
      const pipeline = await device.createComputePipelineAsync({ label: id, layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module } });
      return [id, { pipeline, layout }] as const;
    } catch (cause) {
      const { messages } = await module.getCompilationInfo();
      const first = messages.find((m) => m.type === 'error');
      throw new RuntimeError('device', `The device does not accept the kernel ${bundle.label}/${kernel.file}: ${first ? `line ${first.lineNum}, column ${first.linePos}: ${first.message}` : reasonOf(cause)}.`, { cause });
    }
  }));
  return new Map(made);
}
