/** How long a compute pass takes: by timestamp queries where the device has them and they make sense, else by the host. */
import type { OpenDevice } from '../../../runtime/device.ts';

export interface Clock {
  readonly kind: 'timestamp queries' | 'host time until onSubmittedWorkDone';
  /** Milliseconds of one pass. */
  time(device: GPUDevice, record: (pass: GPUComputePassEncoder) => void): Promise<number>;
  close(): void;
}

const hostClock: Clock = {
  kind: 'host time until onSubmittedWorkDone',
  async time(device, record) {
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    record(pass);
    pass.end();
    const commands = encoder.finish(), start = performance.now();
    device.queue.submit([commands]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  },
  close: () => undefined,
};

/** Two timestamps of 8 bytes. */
const bytes = 16;

export function openClock({ device, features }: OpenDevice): Clock {
  if (!features.has('timestamp-query')) return hostClock;
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 });
  const resolved = device.createBuffer({ label: 'timestamps', size: bytes, usage: 0x200 /* QUERY_RESOLVE */ | 0x4 /* COPY_SRC */ });
  const read = device.createBuffer({ label: 'timestamps', size: bytes, usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
  return {
    kind: 'timestamp queries',
    async time(_device, record) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass({ timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } });
      record(pass);
      pass.end();
      encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, read, 0, bytes);
      const commands = encoder.finish(), start = performance.now();
      device.queue.submit([commands]);
      await read.mapAsync(0x1);
      const host = performance.now() - start, [begin, end] = new BigUint64Array(read.getMappedRange().slice(0)) as unknown as [bigint, bigint];
      read.unmap();
      const ms = Number(end - begin) / 1e6;
      // A counter may wrap or be reset between the two; the host's time is too long, and never senseless.
      return ms > 0 && ms <= host * 1.05 ? ms : host;
    },
    close: () => { querySet.destroy(); resolved.destroy(); read.destroy(); },
  };
}
