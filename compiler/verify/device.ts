/** Verification on a device: a bundle like any other, made in a temporary folder, run step by step and read out. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join as pathOf } from 'node:path';
import { chooseTarget } from '../../runtime/bundle.ts';
import { regionStarts } from '../../runtime/context.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import { f16ToF32 } from '../../runtime/half.ts';
import type { EntryName, Manifest } from '../../runtime/manifest.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import type { Dims } from '../../runtime/polynomial.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';
import { uploadWeights } from '../../runtime/weights.ts';
import { writeBundle } from '../bundle/write.ts';
import type { Compiled } from '../compile.ts';
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { rowElements } from '../ir/types.ts';
import { heldValues } from './held-values.ts';
import type { Engine, Outputs, Prompt, StateRows } from './engine.ts';
import { join } from './engine.ts';

/** A range of a device buffer, copied when asked for and read later. */
interface Piece { readonly buffer: GPUBuffer; readonly offset: number; readonly bytes: number }

export class DeviceEngine implements Engine {
  private session: Session;
  private constructor(private readonly compiled: Compiled, private readonly manifest: Manifest, private readonly program: Program, private readonly device: OpenDevice) {
    this.session = new Session(program, manifest);
  }

  /** Writes the bundle, loads it, and removes it again. */
  static async open(compiled: Compiled, adapter: FoundAdapter, device: OpenDevice): Promise<DeviceEngine> {
    const parent = await mkdtemp(pathOf(tmpdir(), 'eemllm-verify-')), folder = pathOf(parent, 'bundle');
    try {
      await writeBundle(folder, compiled.content);
      const bundle = await openBundleFolder(folder);
      const program = await device.guard(Program.create(bundle, chooseTarget(bundle, device.features, adapter.software, device.device), device.device));
      await uploadWeights(bundle, program);
      device.check();
      return new DeviceEngine(compiled, bundle.manifest, program, device);
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  }

  async prefill(prompt: Prompt): Promise<Outputs> {
    this.session.destroy();
    this.session = new Session(this.program, this.manifest);
    const seen: Promise<Map<string, Float32Array | Int32Array>>[] = [];
    this.session.onVision = (dims, entry) => { seen.push(this.outputs(entry, dims)); };
    await this.session.prefill(prompt);
    const read = this.outputs('prefill', this.session.last!.dims), images = await this.device.guard(Promise.all(seen));
    const names = new Set(images.flatMap((i) => [...i.keys()]));
    return new Map([...[...names].map((name) => [name, join(images.flatMap((i) => i.get(name) ?? []))] as const), ...await this.device.guard(read)]);
  }

  async decode(token: number): Promise<Outputs> {
    this.session.decode(token);
    return this.device.guard(this.outputs('decode', this.session.last!.dims));
  }

  async state(name: string, rotated?: number): Promise<StateRows> {
    const decl = this.program.target.buffers[`state:${name}`], buffer = this.program.buffers.get(`state:${name}`);
    if (decl?.kind !== 'state' || !buffer) return new Map();
    const sequence = this.manifest.sequences.find((s) => s.name === decl.sequence)!, starts = regionStarts(sequence), { dims } = this.session.last!;
    const kinds = sequence.kinds.flatMap((k, i) => (decl.kinds.includes(k.name) ? [{ name: k.name, at: starts[i]!, rows: k.dim ? dims[`C${k.dim}`]! : k.capacity }] : []));
    const bytes = await this.snapshot(kinds.map((k) => ({ buffer, offset: k.at * decl.rowBytes, bytes: k.rows * decl.rowBytes }))), format = decl.format ?? { kind: 'f32' };
    const { program: { target: { name: own } } } = this, width = rowElements(this.compiled.targets.find((t) => t.target.name === own)!.plans.get('prefill')!.graph.states.get(name)!.type);
    return new Map(kinds.map((k, i) => {
      const values = heldValues(format, bytes[i]!, width);
      return [k.name, rotated ? halves(values, rotated) : values];
    }));
  }

  destroy(): void {
    this.session.destroy();
    this.program.destroy();
  }

  /** All outputs of the step that was submitted last. They are copied before this returns. */
  private async outputs(entry: EntryName, dims: Dims): Promise<Map<string, Float32Array | Int32Array>> {
    const loaded = this.program.entries[entry]!, { graph, plan } = this.compiled.targets.find((t) => t.target.name === this.program.target.name)!.plans.get(entry)!;
    const wanted: { name: string; dtype: string; pieces: Piece[] }[] = [];
    for (const [name, n] of graph.outputs) {
      if (n.op === 'store' || graph.states.has(name)) continue;
      const o = loaded.outputs[name];
      if (o) {
        const rowBytes = o.width * (o.dtype === 'f16' ? 2 : 4);
        wanted.push({ name, dtype: o.dtype, pieces: [{ buffer: o.buffer, offset: o.offset + o.row(dims) * rowBytes, bytes: o.rows(dims) * rowBytes }] });
      } else wanted.push({ name, dtype: n.type.dtype, pieces: this.inState(n, plan.places.get(n)!.in as Node, dims) });
    }
    const bytes = await this.snapshot(wanted.flatMap((w) => w.pieces));
    let at = 0;
    return new Map(wanted.map(({ name, dtype, pieces }) => [name, join(pieces.map(() => bytes[at++]!).map((b) => (dtype === 'i32' ? new Int32Array(b) : dtype === 'f16' ? f16ToF32(new Uint16Array(b)) : new Float32Array(b))))]));
  }

  /** New rows of a value that lies in a state, kind by kind. */
  private inState(n: Node, state: Node, dims: Dims): Piece[] {
    const { sequence, kinds } = n.type.rows!, decl = this.manifest.sequences.find((s) => s.name === sequence.name)!, starts = regionStarts(decl);
    const buffer = this.program.buffer(`state:${leafName(state)}`), rowBytes = rowElements(n.type) * 4;
    return kinds.map((kind) => {
      const i = decl.kinds.findIndex((k) => k.name === kind), { dim, capacity } = decl.kinds[i]!;
      const fresh = dim ? dims[dim]! : capacity, held = dim ? dims[`C${dim}`]! : capacity;
      return { buffer, offset: (starts[i]! + held - fresh) * rowBytes, bytes: fresh * rowBytes };
    });
  }

  private async snapshot(pieces: readonly Piece[]): Promise<ArrayBuffer[]> {
    const { device } = this.device, size = pieces.reduce((n, p) => n + p.bytes, 0);
    const staging = device.createBuffer({ label: 'verify', size: Math.max(16, size), usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
    const encoder = device.createCommandEncoder();
    let at = 0;
    for (const p of pieces) {
      if (p.bytes) encoder.copyBufferToBuffer(p.buffer, p.offset, staging, at, p.bytes);
      at += p.bytes;
    }
    device.queue.submit([encoder.finish()]);
    await this.device.guard(staging.mapAsync(0x1));
    const all = staging.getMappedRange();
    at = 0;
    const out = pieces.map((p) => { const b = all.slice(at, at + p.bytes); at += p.bytes; return b; });
    staging.unmap();
    staging.destroy();
    return out;
  }
}

/** Channels (i, i + d/2) of a rotated head lie side by side on the device; here they go back to their places. */
function halves(x: Float32Array, headDim: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const c = i % headDim;
    out[i - c + (c >> 1) + (c & 1) * (headDim / 2)] = x[i]!;
  }
  return out;
}
