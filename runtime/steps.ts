/** The device's side of a session: inputs are written, steps encoded and submitted, results read back. */
import { newCounters } from './counters.ts';
import type { LoadedEntry } from './entry.ts';
import { RuntimeError } from './errors.ts';
import type { EntryName } from './manifest.ts';
import { Pace, usualSlice } from './pace.ts';
import type { Dims } from './polynomial.ts';
import type { Program } from './program.ts';
import { Readback, TokenReads } from './readback.ts';
import type { Draw } from './sampling.ts';

export interface StepOptions {
  /** Draws the next token instead of taking the likeliest. */
  readonly draw?: Draw | undefined;
  /** The token that this step reads is the one that the step before chose; it never leaves the device. */
  readonly feed?: boolean;
}

export class Steps {
  counters = newCounters();
  /** The step that ran last. */
  last: { readonly entry: EntryName; readonly dims: Dims } | undefined;
  /** Called in place of submitting a prompt's step: for a profiler, which runs it in its own way, as often as it likes. */
  instead: ((entry: EntryName, dims: Dims) => Promise<void>) | undefined;
  private readonly readback: Readback;
  private readonly tokens: TokenReads;
  private readonly pace: Pace;
  private lost: string | undefined;
  private readonly failed: Promise<never>;

  /** @param slice milliseconds after which a long step lets others in; 0: never */
  constructor(readonly program: Program, slice = usualSlice) {
    const { device, target, entries } = program;
    const rows = Object.values(entries).flatMap((e) => Object.values(e.outputs)).filter((o) => !/[A-Za-z]/.test(o.decl.rows)).map((o) => o.width * Number(o.decl.rows) * 4);
    this.readback = new Readback(device, Math.max(256, ...rows));
    this.tokens = new TokenReads(device);
    this.pace = new Pace(slice, target.device === 'software');
    this.failed = device.lost.then((info) => {
      this.lost = info.message || info.reason;
      throw this.lostError();
    });
    this.failed.catch(() => undefined);
  }

  entry(name: EntryName): LoadedEntry {
    const e = this.program.entries[name];
    if (!e) throw new RuntimeError('bundle', `This bundle has no entry point '${name}'. Compile it anew.`);
    return e;
  }

  /** Writes an input, if there is one of this source (and sequence) that the program reads. */
  give(source: string, data: Float32Array | Int32Array | undefined, sequence?: string): void {
    const buffer = data && this.program.input(source, sequence);
    if (buffer) this.program.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  }

  /** Encodes and submits a step as one command buffer, then counts it. */
  submit(name: EntryName, dims: Dims, { draw, feed }: StepOptions = {}): void {
    const encoder = this.begin(name, dims, draw);
    if (feed) this.feed(encoder);
    this.entry(name).encode(encoder, dims, this.counters, { sampled: draw !== undefined });
    this.end(encoder, name, dims);
  }

  /**
   * A step in slices, if it is long: each is submitted when the one before the last has run.
   * @throws the signal's reason when it is aborted between slices; what the step should have written is then undefined.
   */
  async run(name: EntryName, dims: Dims, { draw, signal }: StepOptions & { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    signal?.throwIfAborted();
    if (this.instead) { this.begin(name, dims, draw); this.last = { entry: name, dims }; return this.instead(name, dims); }
    const entry = this.entry(name), { queue } = this.program.device, count = entry.dispatches.length;
    if (entry.flops(dims) <= this.pace.flops) { this.submit(name, dims, { draw }); return; }
    let encoder = this.begin(name, dims, draw), before: Promise<unknown> | undefined, end = performance.now();
    for (let from = 0; ;) {
      const to = entry.sliceEnd(from, dims, this.pace.flops), counted = this.counters.flops, start = performance.now();
      entry.encode(encoder, dims, this.counters, { from, to, sampled: draw !== undefined });
      if (to === count) { this.end(encoder, name, dims); return; }
      queue.submit([encoder.finish()]);
      const flops = this.counters.flops - counted, done = Promise.race([queue.onSubmittedWorkDone(), this.failed]).then(() => {
        const now = performance.now();
        this.pace.learn(flops, now - Math.max(start, end));
        end = now;
      });
      done.catch(() => undefined); // it may fail while the one before is awaited
      await before;
      before = done;
      signal?.throwIfAborted();
      encoder = this.program.device.createCommandEncoder({ label: name });
      from = to;
    }
  }

  private begin(name: EntryName, dims: Dims, draw: Draw | undefined): GPUCommandEncoder {
    if (draw && !this.entry(name).sampling.length) throw new Error('A token is to be drawn, and prepareSampling was not waited for.');
    this.program.writeDims(dims);
    this.give('draw', draw);
    return this.program.device.createCommandEncoder({ label: name });
  }

  private end(encoder: GPUCommandEncoder, entry: EntryName, dims: Dims): void {
    const next = this.entry(entry).outputs['next'];
    if (next) this.tokens.record(encoder, next.buffer, next.offset + 4 * next.row(dims));
    this.program.device.queue.submit([encoder.finish()]);
    this.last = { entry, dims };
  }

  /** The token of the last step becomes the id that this one reads. */
  private feed(encoder: GPUCommandEncoder): void {
    const { entry, dims } = this.last!, next = this.entry(entry).outputs['next']!;
    encoder.copyBufferToBuffer(next.buffer, next.offset + 4 * next.row(dims), this.program.input('ids')!, 0, 4);
  }

  /** True if the next token can be drawn on the device, once `Program.prepareSampling` has been waited for. */
  get draws(): boolean { return this.program.target.entries.decode?.sampling !== undefined; }

  /** The token that the last step chose; below 0, why it could not. */
  token(): Promise<number> {
    const token = this.tokens.token();
    if (!token) throw new RuntimeError('value', 'Nothing has been read yet: call prefill first.');
    return token;
  }
  /** Tokens that are still on their way, wanted or not. */
  tokensUnderWay(): Promise<unknown> | undefined { return this.tokens.underWay(); }

  /** All rows of an output of the step that ran last, as raw bytes. */
  read(entry: EntryName, output: string, dims: Dims): Promise<ArrayBuffer> {
    this.checkDevice();
    const o = this.entry(entry).outputs[output];
    if (!o) throw new RuntimeError('bundle', `This bundle has no output '${output}' of '${entry}'. Compile it anew.`);
    const bytes = o.width * (o.dtype === 'f16' ? 2 : 4);
    return this.readback.read(o.buffer, o.offset + o.row(dims) * bytes, o.rows(dims) * bytes);
  }

  /** When (`performance.now()`) the device has done all that was submitted by now. */
  done(): Promise<number> {
    const done = Promise.race([this.program.device.queue.onSubmittedWorkDone(), this.failed]).then(() => performance.now());
    done.catch(() => undefined); // whoever waits for the step hears of it
    return done;
  }

  checkDevice(): void { if (this.lost !== undefined) throw this.lostError(); }
  private lostError(): RuntimeError { return new RuntimeError('device-lost', `The GPU device was lost (${this.lost}). Load the model again.`); }

  destroy(): void {
    this.readback.destroy();
    this.tokens.destroy();
  }
}
