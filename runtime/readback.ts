/** From buffers of the device to the host, through staging buffers that are made once. */
import { RuntimeError, reasonOf } from './errors.ts';

// The flags by value: Node has no globals for them.
const usage = 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */, mapRead = 0x1;

/** Maps staging buffers. */
class Mapping {
  /** Rejects when the device is lost: a map that was under way then may never settle. */
  private readonly lost: Promise<never>;

  constructor(device: GPUDevice) {
    this.lost = device.lost.then((info) => { throw new Error(info.message || 'the device is lost'); });
    this.lost.catch(() => undefined);
  }

  async take(staging: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    try {
      await Promise.race([staging.mapAsync(mapRead, 0, bytes), this.lost]);
    } catch (cause) {
      throw new RuntimeError('device-lost', `The result could not be read back from the device (${reasonOf(cause)}). Load the model again.`, { cause });
    }
    const out = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    return out;
  }
}

/** Copies bytes of a device buffer to the host, one read after the other. */
export class Readback {
  private staging: GPUBuffer;
  private queue: Promise<unknown> = Promise.resolve();
  private readonly mapping: Mapping;

  /** @param bytes of the largest read that is usual; a larger one makes a larger staging buffer */
  constructor(private readonly device: GPUDevice, bytes = 256) {
    this.mapping = new Mapping(device);
    this.staging = this.make(bytes);
  }

  /** `bytes` (rounded up to 4) from `offset` (a multiple of 4) on. Reads are served one after the other. */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    const next = this.queue.then(() => this.copy(buffer, offset, Math.ceil(bytes / 4) * 4));
    this.queue = next.catch(() => undefined);
    return next.then((b) => b.slice(0, bytes));
  }

  private make(bytes: number): GPUBuffer { return this.device.createBuffer({ label: 'readback', size: Math.ceil(bytes / 256) * 256, usage }); }

  private async copy(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    if (this.staging.size < bytes) {
      this.staging.destroy();
      this.staging = this.make(bytes);
    }
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, this.staging, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    return this.mapping.take(this.staging, bytes);
  }

  destroy(): void { this.staging.destroy(); }
}

/** Most tokens that may be on their way to the host. */
export const mostTokensUnderWay = 10;

interface Place { readonly staging: GPUBuffer; busy: Promise<unknown> | undefined }

/** The chosen tokens of steps: copied as part of the step, read when the host gets there, while later steps already run. */
export class TokenReads {
  private readonly places: readonly Place[];
  private readonly mapping: Mapping;
  /** The step that was recorded last, and its token once somebody asked. */
  private latest: { readonly place: Place; token?: Promise<number> } | undefined;

  constructor(device: GPUDevice) {
    this.mapping = new Mapping(device);
    this.places = Array.from({ length: mostTokensUnderWay }, () => ({ staging: device.createBuffer({ label: 'token', size: 16, usage }), busy: undefined }));
  }

  /** Records the copy of a step's token, an i32 at `offset`. One that nobody asked for is overwritten by the next. */
  record(encoder: GPUCommandEncoder, buffer: GPUBuffer, offset: number): void {
    const place = this.latest && !this.latest.token ? this.latest.place : this.places.find((p) => !p.busy);
    if (!place) throw new RuntimeError('value', `The tokens of ${mostTokensUnderWay} steps are still on their way from the device. Wait for one before the next step.`);
    encoder.copyBufferToBuffer(buffer, offset, place.staging, 0, 4);
    this.latest = { place };
  }

  /** The token that was recorded last, once its step has run; undefined before the first step. */
  token(): Promise<number> | undefined {
    const { latest } = this;
    return latest && (latest.token ??= this.take(latest.place));
  }

  private async take(place: Place): Promise<number> {
    const reading = this.mapping.take(place.staging, 4);
    place.busy = reading.catch(() => undefined);
    try {
      return new Int32Array(await reading)[0]!;
    } finally {
      place.busy = undefined;
    }
  }

  /** Tokens on their way, wanted or not; undefined where there is none. */
  underWay(): Promise<unknown> | undefined {
    const busy = this.places.flatMap((p) => p.busy ?? []);
    return busy.length ? Promise.all(busy) : undefined;
  }

  destroy(): void { for (const p of this.places) p.staging.destroy(); }
}
