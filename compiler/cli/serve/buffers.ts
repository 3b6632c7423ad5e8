/** Counts the buffers of a device, so that a server can show that requests leave none behind. */
export interface Buffers { readonly count: number; readonly bytes: number }

/** @param made those that were made before */
export function countBuffers(device: GPUDevice, made: Iterable<GPUBuffer>): Buffers {
  const counted = { count: 0, bytes: 0 }, alive = new WeakSet<GPUBuffer>();
  const add = (buffer: GPUBuffer): GPUBuffer => {
    alive.add(buffer);
    counted.count++;
    counted.bytes += buffer.size;
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      if (alive.delete(buffer)) { counted.count--; counted.bytes -= buffer.size; }
      return destroy();
    };
    return buffer;
  };
  for (const buffer of made) add(buffer);
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => add(create(descriptor));
  return counted;
}
