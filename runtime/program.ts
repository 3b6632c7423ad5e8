/**
 * A bundle on a device: buffers, pipelines and bind groups, all made here, once. A step only encodes.
 */
import { checkBindingLimit } from './binding-limit.ts';
import type { Bundle } from './bundle.ts';
import type { LoadedEntry, Loading } from './entry.ts';
import { loadEntry } from './entry.ts';
import { RuntimeError, reasonOf } from './errors.ts';
import type { BufferDecl, Dispatch, Entry, EntryName, Target } from './manifest.ts';
import { caught, createPipelines } from './pipelines.ts';
import type { Dims } from './polynomial.ts';

export { newCounters } from './counters.ts';
export type { Counters } from './counters.ts';

// The flags by value: Node has no global GPUBufferUsage.
const usage = { copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80 } as const;

export class Program {
  private readonly inputs = new Map<string, GPUBuffer>();
  private sampling: Promise<void> | undefined;
  private made: Readonly<Partial<Record<EntryName, LoadedEntry>>> = {};
  private readonly dimWords: Uint32Array<ArrayBuffer>;

  private constructor(readonly bundle: Bundle, readonly device: GPUDevice, readonly target: Target, readonly buffers: ReadonlyMap<string, GPUBuffer>) {
    this.dimWords = new Uint32Array(Math.ceil(target.dims.length / 4) * 4);
    for (const [name, b] of Object.entries(target.buffers)) {
      if (b.kind !== 'input') continue;
      for (const key of [b.source, `${b.source} of ${b.sequence}`]) if (!this.inputs.has(key)) this.inputs.set(key, buffers.get(name)!);
    }
  }

  /**
   * Makes every buffer of a target; `buffers` has those of the weights, empty. Pipelines may be made while weights are uploaded.
   * @throws RuntimeError `device` when the device is too small for a buffer.
   */
  static async allocate(bundle: Bundle, target: Target, device: GPUDevice): Promise<Program> {
    checkBindingLimit(bundle.label, target, device);
    const buffers = new Map<string, GPUBuffer>();
    const memory = await caught(device, 'out-of-memory', () => {
      for (const [name, decl] of Object.entries(target.buffers)) buffers.set(name, createBuffer(device, name, decl));
    });
    const program = new Program(bundle, device, target, buffers);
    if (!memory) return program;
    program.destroy();
    throw new RuntimeError('device', `The device has too little memory for ${bundle.label} (${Object.values(target.buffers).reduce((s, b) => s + b.bytes, 0)} bytes): ${reasonOf(memory)}. Compile with smaller limits (--max-visual, --max-text) or dtype.`);
  }

  /** Compiles the kernels and makes the bind groups. @throws RuntimeError as `create` */
  async prepare(): Promise<void> {
    const { target } = this, entries = Object.entries(target.entries) as [EntryName, Entry][];
    const prepared = this.load(entries.flatMap(([, e]) => e.dispatches), (loading) => {
      this.made = Object.fromEntries(entries.map(([name, e]) => [name, loadEntry(e, loading)]));
    });
    // A driver on the CPU takes long for kernels that many never run: they wait until somebody draws a token.
    await (target.device === 'software' ? prepared : Promise.all([prepared, this.prepareSampling(prepared)]));
  }

  /** Compiles what draws tokens; once, and for GPUs as a part of `prepare`. @throws RuntimeError as `create` */
  prepareSampling(prepared: Promise<void> = Promise.resolve()): Promise<void> {
    const entries = Object.entries(this.target.entries).flatMap(([name, e]) => (e?.sampling ? [[name as EntryName, e.sampling] as const] : []));
    return (this.sampling ??= this.load(entries.flatMap(([, list]) => list), (loading) => { for (const [name, list] of entries) this.made[name]!.addSampling(list, loading); }, prepared));
  }

  private async load(dispatches: readonly Dispatch[], make: (loading: Loading) => void, after?: Promise<void>): Promise<void> {
    const { bundle, device, target, buffers } = this, pipelines = await createPipelines(bundle, target, device, dispatches.flatMap((d) => [d.kernel, ...(d.few ? [d.few.kernel] : [])]));
    await after;
    const invalid = await caught(device, 'validation', () => make({ bundle, target, device, buffers, pipelines }));
    if (invalid) throw new RuntimeError('device', `The device refused a part of ${bundle.label}: ${reasonOf(invalid)}.`);
  }

  /**
   * `allocate` and `prepare`.
   * @throws RuntimeError `device` when the device refuses a kernel or is too small for a buffer, `bundle` when a kernel
   *   file was changed.
   */
  static async create(bundle: Bundle, target: Target, device: GPUDevice): Promise<Program> {
    const program = await Program.allocate(bundle, target, device);
    try {
      await program.prepare();
      return program;
    } catch (e) {
      program.destroy();
      throw e;
    }
  }

  /** Entry points by name; none before `prepare`. */
  get entries(): Readonly<Partial<Record<EntryName, LoadedEntry>>> { return this.made; }

  buffer(name: string): GPUBuffer {
    const b = this.buffers.get(name);
    if (!b) throw new RuntimeError('bundle', `The bundle's program '${this.target.name}' has no buffer '${name}'. Compile it anew.`);
    return b;
  }

  /** The input buffer with the given source (and sequence), if this program reads it. */
  input(source: string, sequence?: string): GPUBuffer | undefined {
    return this.inputs.get(sequence === undefined ? source : `${source} of ${sequence}`);
  }

  /** Writes the dims uniform. It holds until the next step that is submitted after this call. */
  writeDims(dims: Dims): void {
    const { dims: names } = this.target, words = this.dimWords;
    for (let i = 0; i < names.length; i++) words[i] = dims[names[i]!] ?? 0;
    const buffer = this.input('dims');
    if (buffer) this.device.queue.writeBuffer(buffer, 0, words);
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
