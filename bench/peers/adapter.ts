/** What browsers have and Node lacks, for peers that look for it: `navigator.gpu` and WebGPU's constants, from our adapter. */
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FoundAdapter } from '../../runtime/node.ts';
import { findAdapter } from '../../runtime/node.ts';

/** VK_DRIVER_FILES says which driver; the parent has set it. */
export async function browserGlobals(): Promise<FoundAdapter> {
  const found = await findAdapter(), { globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: found.gpu, userAgent: 'Node', hardwareConcurrency: 1 }, configurable: true });
  acceptShared((globals as { GPUQueue: { prototype: GPUQueue } }).GPUQueue.prototype);
  return found;
}

/** npm `webgpu` refuses views of shared memory, which browsers take and wasm with threads hands over. */
function acceptShared(queue: GPUQueue): void {
  const write = queue.writeBuffer;
  queue.writeBuffer = function (this: GPUQueue, buffer, offset, data, ...rest) {
    const shared = ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;
    write.call(this, buffer, offset, shared ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice() : data, ...rest);
    return undefined;
  };
}

/** Version of an installed package, whatever its `exports` allow. */
export function versionOf(name: string): string {
  const entry = createRequire(import.meta.url).resolve(name);
  for (let folder = dirname(entry); folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const json = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string; version?: string };
      if (json.name === name && json.version) return json.version;
    } catch {
      continue; // no package.json here: it stands further up
    }
  }
  return 'unknown';
}

/** Collects what a device refuses: runtimes go on after it and give garbage at a splendid speed. */
export function watch(device: GPUDevice): () => void {
  let first: string | undefined;
  device.addEventListener('uncapturederror', (e) => { first ??= e.error.message; });
  return () => { if (first !== undefined) { const message = first; first = undefined; throw new Error(message.split('\n')[0]); } };
}
