import { RuntimeError, reasonOf } from './errors.ts';

/** Copies bytes of a device buffer to the host through one staging buffer that is made once and grows when it must. */
export class Readback {
  private staging: GPUBuffer | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  /** Rejects when the device is lost: a map that was under way then may never settle. */
  private readonly lost: Promise<never>;

  constructor(private readonly device: GPUDevice) {
    this.lost = device.lost.then((info) => { throw new Error(info.message || 'the device is lost'); });
    this.lost.catch(() => undefined);
  }

  /** `bytes` (rounded up to 4) from `offset` (a multiple of 4) on. Reads are served one after the other. */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    const next = this.queue.then(() => this.copy(buffer, offset, Math.ceil(bytes / 4) * 4));
    this.queue = next.catch(() => undefined);
    return next.then((b) => b.slice(0, bytes));
  }

  private async copy(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    if (!this.staging || this.staging.size < bytes) {
      this.staging?.destroy();
      this.staging = this.device.createBuffer({ label: 'readback', size: Math.max(bytes, 256), usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
    }
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, this.staging, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    try {
      await Promise.race([this.staging.mapAsync(0x1 /* READ */, 0, bytes), this.lost]);
    } catch (cause) {
      throw new RuntimeError('device-lost', `The result could not be read back from the device (${reasonOf(cause)}). Load the model again.`, { cause });
    }
    const out = this.staging.getMappedRange(0, bytes).slice(0);
    this.staging.unmap();
    return out;
  }

  destroy(): void { this.staging?.destroy(); }
}
