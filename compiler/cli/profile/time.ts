/** What each dispatch of a step takes: by timestamps of the device, one pass a dispatch, or else by the host's clock. */
import type { OpenDevice } from '../../../runtime/device.ts';
import type { LoadedEntry } from '../../../runtime/entry.ts';
import type { Dims } from '../../../runtime/polynomial.ts';
import { newCounters } from '../../../runtime/program.ts';

/** Seconds of one run. */
export interface StepTimes {
  /** By dispatch; undefined where it had nothing to do. */
  readonly dispatches: readonly (number | undefined)[];
  /** All of them in one pass, as they usually run, by the host's clock: waits of submission and of the host are in it. */
  readonly together: number;
}

/** Timestamps that a query set holds at most (WebGPU). */
const mostQueries = 4096;

export class Timer {
  /** True if the device's own clock is used. */
  readonly exact: boolean;
  private readonly queries: GPUQuerySet | undefined;
  private readonly resolved: GPUBuffer | undefined;
  private readonly staging: GPUBuffer | undefined;

  constructor(private readonly opened: OpenDevice) {
    const { device, features } = opened;
    this.exact = features.has('timestamp-query');
    if (!this.exact) return;
    this.queries = device.createQuerySet({ type: 'timestamp', count: mostQueries });
    this.resolved = device.createBuffer({ size: mostQueries * 8, usage: 0x200 | 0x4 /* QUERY_RESOLVE | COPY_SRC */ });
    this.staging = device.createBuffer({ size: mostQueries * 8, usage: 0x1 | 0x8 /* MAP_READ | COPY_DST */ });
  }

  /** Runs a step whose inputs have been written, twice: dispatch by dispatch, and whole. */
  async time(entry: LoadedEntry, dims: Dims): Promise<StepTimes> {
    entry.measure(dims);
    const dispatches = this.exact ? await this.byTimestamps(entry) : await this.byHost(entry);
    return { dispatches, together: await this.whole(entry, dims) };
  }

  private async whole(entry: LoadedEntry, dims: Dims): Promise<number> {
    const encoder = this.opened.device.createCommandEncoder();
    entry.encode(encoder, dims, newCounters());
    return this.submit(encoder);
  }

  private async submit(encoder: GPUCommandEncoder): Promise<number> {
    const { device } = this.opened, commands = encoder.finish(), start = performance.now();
    device.queue.submit([commands]);
    await this.opened.guard(device.queue.onSubmittedWorkDone());
    return (performance.now() - start) / 1e3;
  }

  private async byTimestamps(entry: LoadedEntry): Promise<(number | undefined)[]> {
    const out: (number | undefined)[] = [], { device } = this.opened;
    for (let from = 0; from < entry.dispatches.length; from += mostQueries / 2) {
      const part = entry.dispatches.slice(from, from + mostQueries / 2), encoder = device.createCommandEncoder(), bytes = part.length * 16;
      const ran = part.map((d, i) => {
        const pass = encoder.beginComputePass({ timestampWrites: { querySet: this.queries!, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 } });
        const did = entry.record(pass, d);
        pass.end();
        return did;
      });
      encoder.resolveQuerySet(this.queries!, 0, part.length * 2, this.resolved!, 0);
      encoder.copyBufferToBuffer(this.resolved!, 0, this.staging!, 0, bytes);
      device.queue.submit([encoder.finish()]);
      await this.opened.guard(this.staging!.mapAsync(0x1, 0, bytes));
      const stamps = new BigInt64Array(this.staging!.getMappedRange(0, bytes).slice(0));
      this.staging!.unmap();
      // Clocks may step back by a tick between two reads.
      ran.forEach((did, i) => out.push(did ? Math.max(0, Number(stamps[2 * i + 1]! - stamps[2 * i]!)) / 1e9 : undefined));
    }
    return out;
  }

  private async byHost(entry: LoadedEntry): Promise<(number | undefined)[]> {
    const out: (number | undefined)[] = [];
    for (const d of entry.dispatches) {
      const encoder = this.opened.device.createCommandEncoder(), pass = encoder.beginComputePass(), did = entry.record(pass, d);
      pass.end();
      const seconds = await this.submit(encoder);
      out.push(did ? seconds : undefined);
    }
    return out;
  }

  destroy(): void {
    this.queries?.destroy();
    this.resolved?.destroy();
    this.staging?.destroy();
  }
}
