/**
 * What this machine's adapter reaches with our own kernels: products of matrices and a copy, compiled as a bundle is and run
 * by the runtime. A device profile for rooflines of this very machine, where a vendor's figures say what nobody reaches.
 */
import { buildTarget, wantWeights } from '../../bundle/target.ts';
import { dispatchFlops } from '../../bundle/flops.ts';
import { familiesFor } from '../../bundle/families.ts';
import { Packing } from '../../bundle/packing.ts';
import type { DeviceProfile } from '../../cost/device-profiles.ts';
import { traffic, movedBytes } from '../../cost/traffic.ts';
import type { Graph } from '../../ir/graph.ts';
import { parseGraph } from '../../ir/parse.ts';
import { fuse } from '../../../passes/fuse.ts';
import type { Bundle } from '../../../runtime/bundle.ts';
import { toF16 } from '../../../runtime/half.ts';
import { roundToF16 } from '../../ir/f16.ts';
import type { OpenDevice } from '../../../runtime/device.ts';
import type { FoundAdapter } from '../../../runtime/node-adapter.ts';
import { newCounters, Program } from '../../../runtime/program.ts';
import { Readback } from '../../../runtime/readback.ts';
import { bytesSource } from '../../../runtime/sources.ts';
import { UserError } from '../../ir/errors.ts';

type Dtype = 'f32' | 'f16';
/** One kernel at one size, at its fastest. */
export interface Measured {
  /** `matmul 2048×4096×4096, weights f16`. */
  readonly work: string;
  readonly seconds: number;
  /** FLOP/s of a product, bytes/s of a copy. */
  readonly rate: number;
}
export interface Measurement { readonly profile: DeviceProfile; readonly runs: readonly Measured[] }

/** Rows and width of what is multiplied and copied: enough to fill the device, little enough for one that runs on a CPU. */
const sizes = { gpu: { rows: 2048, width: 4096, copied: 16384 }, software: { rows: 128, width: 1024, copied: 2048 } } as const;
/** Seconds that one timed submission should take, and how many there are. */
const span = 0.1, rounds = 5;

/** Measures the adapter. Throws a RuntimeError if the device fails, an Error if a kernel is wrong. */
export async function measure(adapter: FoundAdapter): Promise<Measurement> {
  const opened = await adapter.open(), size = sizes[adapter.software ? 'software' : 'gpu'];
  try {
    const { rows, width } = size, product = parsed(`weight "w": f32[${width}, ${width}]`, width, `linear %x, @"w" : f32[text, ${width}]`);
    const runs: Measured[] = [];
    for (const dtype of ['f32', 'f16'] as const) runs.push(await run(opened, adapter.software, dtype, product, rows, `matmul ${rows}×${width}×${width}, weights ${dtype}`, 'flops'));
    // Large enough for no cache, as far as one binding reaches.
    const copied = Math.min(size.copied, Math.floor(opened.limits.maxStorageBufferBindingSize / (4 * width)));
    runs.push(await run(opened, adapter.software, 'f32', parsed('', width, `scale %x {by = 2} : f32[text, ${width}]`), copied, `copy of ${copied}×${width} numbers, f32`, 'bytes'));
    const [f32, f16, copy] = runs.map((r) => r.rate) as [number, number, number];
    return {
      runs,
      profile: {
        name: adapter.name, peak: { f32, f16 }, bandwidth: copy,
        source: `measured by eemllm doctor --measure: ${runs.map((r) => r.work).join('; ')}; arithmetic is f32 in both${adapter.software ? '; a software adapter, of which only ratios mean something' : ''}`,
      },
    };
  } finally {
    opened.close();
  }
}

/** A graph of one op over `T` rows of the input `x`. */
const parsed = (weight: string, width: number, op: string): Graph => fuse.run(parseGraph(`graph prefill {
  sequence tokens(text: T)
  input x: f32[text, ${width}] at prompt
  ${weight}
  %0 = ${op}
  return out = %0
}`));

async function run(opened: OpenDevice, software: boolean, dtype: Dtype, graph: Graph, rows: number, work: string, rated: 'flops' | 'bytes'): Promise<Measured> {
  const { device } = opened, packing = new Packing(() => ({ kind: dtype }));
  wantWeights(packing, [graph]);
  const options = familiesFor([{ kind: dtype }], [...graph.sequences.values()], { devices: [software ? 'software' : 'gpu'] }).find((t) => t.features.every((f) => opened.features.has(f)))!;
  const built = buildTarget({ entries: { prefill: graph }, capacities: { text: rows }, packing, flops: dispatchFlops }, options);
  const text = new TextEncoder();
  const bundle = { label: work, files: { label: work, open: async (file: string) => bytesSource(text.encode(built.files.get(file)!), file) } } as unknown as Bundle;
  const program = await opened.guard(Program.create(bundle, built.target, device)), readback = new Readback(device);
  try {
    for (const [name, decl] of Object.entries(built.target.buffers)) {
      if (decl.kind === 'weight') fill(device, program.buffer(name), decl.bytes, dtype);
      if (decl.kind === 'input' && decl.source === 'values') fill(device, program.buffer(name), decl.bytes, 'f32');
    }
    const dims = { T: rows, CT: rows, spans_tokens: 1 }, entry = program.entries.prefill!;
    program.writeDims(dims);
    const submit = async (times: number): Promise<number> => {
      const encoder = device.createCommandEncoder(), counters = newCounters();
      for (let i = 0; i < times; i++) entry.encode(encoder, dims, counters);
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      await opened.guard(device.queue.onSubmittedWorkDone());
      return (performance.now() - start) / 1e3;
    };
    await submit(1); // drivers put work off until the first run
    const times = Math.max(1, Math.min(200, Math.ceil(span / (await submit(1)))));
    let seconds = Infinity;
    for (let i = 0; i < rounds; i++) seconds = Math.min(seconds, (await submit(times)) / times);
    const { buffer, offset, width } = entry.outputs['out']!, row = rows - 1;
    check(new Float32Array(await opened.guard(readback.read(buffer, offset + row * width * 4, width * 4))), row, rated === 'flops' ? dtype : undefined, work);
    const amount = rated === 'flops' ? 2 * rows * width * width : Number(movedBytes(traffic(graph)).evaluate(dims));
    return { work, seconds, rate: amount / seconds };
  } finally {
    readback.destroy();
    program.destroy();
  }
}

/** Small numbers without a pattern that a device could use; a period that is no power of two. */
const period = 65_521;
const numberAt = (i: number): number => (((i % period) * 7919) % 2003) / 2003 - 0.5;
function fill(device: GPUDevice, buffer: GPUBuffer, bytes: number, dtype: Dtype): void {
  const count = Math.floor(bytes / (dtype === 'f32' ? 4 : 2)), piece = 1 << 20;
  for (let from = 0; from < count; from += piece) {
    const length = Math.min(piece, count - from);
    const data = dtype === 'f32' ? Float32Array.from({ length }, (_, i) => numberAt(from + i)) : Uint16Array.from({ length: length + (length % 2) }, (_, i) => toF16(numberAt(from + i)));
    device.queue.writeBuffer(buffer, from * (dtype === 'f32' ? 4 : 2), data);
  }
}

/** Some numbers of a row against plain JavaScript: a kernel that is fast and wrong says nothing. */
function check(got: Float32Array, row: number, weights: Dtype | undefined, work: string): void {
  const width = got.length, f = Math.fround;
  for (const column of [0, 1, width >> 1, width - 1]) {
    let want = 2 * f(numberAt(row * width + column));
    if (weights) {
      want = 0;
      for (let k = 0; k < width; k++) { const w = numberAt(column * width + k); want += f(numberAt(row * width + k)) * (weights === 'f16' ? roundToF16(w) : f(w)); }
    }
    if (!(Math.abs(got[column]! - want) <= 1e-3 * Math.sqrt(width))) throw new UserError(`The adapter gives ${got[column]} where ${want} is right (${work}), so its speed means nothing. Update the graphics driver, or choose another adapter (EEMLLM_ADAPTER).`);
  }
}
