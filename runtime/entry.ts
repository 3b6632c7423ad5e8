/** An entry point on a device: every dispatch with its pipeline, its bind group and its size, so that a step only encodes. */
import type { Bundle } from './bundle.ts';
import type { Counters } from './counters.ts';
import { RuntimeError } from './errors.ts';
import type { Dispatch, Entry, GridDecl, Target } from './manifest.ts';
import type { Compiled } from './pipelines.ts';
import type { Dims, Polynomial } from './polynomial.ts';
import { parseGrid, parsePolynomial, parseSum } from './polynomial.ts';

/** A kernel, and its workgroups along x, y and z: where they stand in the entry's `sizes`. */
interface LoadedKernel { readonly pipeline: GPUComputePipeline; readonly grid: readonly [number, number, number] }
export interface LoadedDispatch extends LoadedKernel {
  readonly decl: Dispatch;
  readonly bindGroup: GPUBindGroup;
  /** What runs instead where the size `of` is at most `rows`. */
  readonly few?: LoadedKernel & { readonly rows: number; readonly of: number };
  readonly rows: readonly (readonly [kind: string, count: Polynomial])[];
  readonly flops: Polynomial;
}
export interface LoadedOutput { readonly decl: Entry['outputs'][string]; readonly buffer: GPUBuffer; readonly offset: number; readonly row: Polynomial; readonly rows: Polynomial; readonly width: number; readonly dtype: 'f32' | 'f16' | 'i32' }

export class LoadedEntry {
  /** Dispatches that draw the next token from the logits, after the others; none before `Program.prepareSampling`. */
  sampling: readonly LoadedDispatch[] = [];
  /** Rows by kind, and FLOPs, of all dispatches together. */
  readonly rows: readonly (readonly [kind: string, count: Polynomial])[];
  readonly flops: Polynomial;
  /** The workgroup counts of the step that is encoded. */
  private counts: Uint32Array;

  constructor(
    readonly dispatches: readonly LoadedDispatch[],
    readonly outputs: Readonly<Record<string, LoadedOutput>>,
    /** Every distinct count of workgroups: layers are alike, so there are few. */
    private readonly sizes: Sizes,
  ) {
    const kinds = new Map<string, string[]>();
    for (const { decl } of dispatches) for (const [kind, p] of Object.entries(decl.rows)) kinds.set(kind, [...(kinds.get(kind) ?? []), p]);
    this.rows = [...kinds].map(([kind, texts]) => [kind, parseSum(texts)]);
    this.flops = parseSum(dispatches.map((d) => d.decl.flops));
    this.counts = new Uint32Array(sizes.list.length);
  }

  /** Adds the dispatches that draw the next token. */
  addSampling(decls: readonly Dispatch[], loading: Loading): void {
    this.sampling = decls.map((d) => loadDispatch(d, this.sizes, loading));
    this.counts = new Uint32Array(this.sizes.list.length);
  }

  /** Settles the workgroup counts of a step; `record` uses them. */
  measure(dims: Dims): void {
    const { list } = this.sizes;
    for (let i = 0; i < list.length; i++) this.counts[i] = list[i]!(dims);
  }

  /** The kernel that a dispatch runs in this step. */
  kernelOf(d: LoadedDispatch): string { return d.few && this.counts[d.few.of]! <= d.few.rows ? d.decl.few!.kernel : d.decl.kernel; }

  /** Records one dispatch; false if it has nothing to do in this step. */
  record(pass: GPUComputePassEncoder, d: LoadedDispatch): boolean {
    const { counts } = this, kernel = d.few && counts[d.few.of]! <= d.few.rows ? d.few : d, [i, j, k] = kernel.grid, x = counts[i]!, y = counts[j]!, z = counts[k]!;
    if (x === 0 || y === 0 || z === 0) return false;
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(0, d.bindGroup);
    pass.dispatchWorkgroups(x, y, z);
    return true;
  }

  /**
   * Records all dispatches into one compute pass, or those from `from` up to `to` where a step goes out in slices. `sampled`: the
   * next token is drawn too.
   */
  encode(encoder: GPUCommandEncoder, dims: Dims, counters: Counters, { from = 0, to = this.dispatches.length, sampled = false }: { from?: number; to?: number; sampled?: boolean } = {}): void {
    const last = to === this.dispatches.length, whole = last && from === 0;
    this.measure(dims);
    const pass = encoder.beginComputePass();
    for (let i = from; i < to; i++) if (this.record(pass, this.dispatches[i]!)) counters.dispatches++;
    if (sampled && last) for (const d of this.sampling) if (this.record(pass, d)) counters.dispatches++;
    pass.end();
    if (from === 0) counters.steps++;
    if (whole) count(this, dims, counters);
    else for (let i = from; i < to; i++) count(this.dispatches[i]!, dims, counters);
  }

  /** The dispatch before which a slice of at most so many FLOPs ends that begins at `from`; one dispatch is never cut. */
  sliceEnd(from: number, dims: Dims, flops: number): number {
    let to = from, sum = 0;
    do sum += this.dispatches[to++]!.flops(dims); while (to < this.dispatches.length && sum + this.dispatches[to]!.flops(dims) <= flops);
    return to;
  }
}

function count(of: Pick<LoadedDispatch, 'rows' | 'flops'>, dims: Dims, counters: Counters): void {
  counters.flops += of.flops(dims);
  for (const [kind, rows] of of.rows) counters.rows[kind] = (counters.rows[kind] ?? 0) + rows(dims);
}

/** Distinct counts of workgroups, each parsed once. */
class Sizes {
  readonly list: Polynomial[] = [];
  private readonly known = new Map<string, number>();
  at(grid: GridDecl): number {
    const key = JSON.stringify(grid);
    let at = this.known.get(key);
    if (at === undefined) this.known.set(key, at = this.list.push(parseGrid(grid)) - 1);
    return at;
  }
}

/** What entries are loaded from. */
export interface Loading { readonly bundle: Bundle; readonly target: Target; readonly device: GPUDevice; readonly buffers: ReadonlyMap<string, GPUBuffer>; readonly pipelines: ReadonlyMap<string, Compiled> }

/**
 * Makes the bind group of a dispatch.
 * @throws RuntimeError `bundle` where the plan names a range of a buffer that is not there.
 */
function loadDispatch(d: Dispatch, sizes: Sizes, { bundle, target, device, buffers, pipelines }: Loading): LoadedDispatch {
  const { layout } = pipelines.get(d.kernel)!;
  const kernel = (id: string): LoadedKernel => { const [x, y, z] = target.kernels[id]!.grid; return { pipeline: pipelines.get(id)!.pipeline, grid: [sizes.at(x), sizes.at(y), sizes.at(z)] }; };
  const bindGroup = device.createBindGroup({
    label: d.label, layout,
    entries: d.bind.map((b, binding) => {
      const buffer = buffers.get(b.buffer);
      if (!buffer || b.offset + b.bytes > buffer.size) throw new RuntimeError('bundle', `${bundle.label}: dispatch '${d.label}' binds bytes ${b.offset} to ${b.offset + b.bytes} of '${b.buffer}', which ${buffer ? `has ${buffer.size}` : 'the bundle does not have'}. Compile it anew.`);
      return { binding, resource: { buffer, offset: b.offset, size: b.bytes } };
    }),
  });
  return {
    decl: d, bindGroup, ...kernel(d.kernel), ...(d.few ? { few: { ...kernel(d.few.kernel), rows: d.few.rows, of: sizes.at({ ceil: Object.values(d.rows).join(' + '), by: 1 }) } } : {}),
    rows: Object.entries(d.rows).map(([kind, p]) => [kind, parsePolynomial(p)] as const), flops: parsePolynomial(d.flops),
  };
}

/** Makes an entry but for its sampling. @throws RuntimeError as `loadDispatch` */
export function loadEntry(entry: Entry, loading: Loading): LoadedEntry {
  const sizes = new Sizes(), dispatches = entry.dispatches.map((d) => loadDispatch(d, sizes, loading));
  const outputs = Object.fromEntries(Object.entries(entry.outputs).map(([name, o]) => [name, { ...o, decl: o, buffer: loading.buffers.get(o.buffer)!, row: parsePolynomial(o.row), rows: parsePolynomial(o.rows) }]));
  return new LoadedEntry(dispatches, outputs, sizes);
}
