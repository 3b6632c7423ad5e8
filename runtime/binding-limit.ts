import { RuntimeError } from './errors.ts';
import type { Target } from './manifest.ts';

/** The most bytes of a buffer that a kernel of a target sees at once, and which buffer that is. */
export function largestBinding({ entries }: Pick<Target, 'entries'>): { readonly bytes: number; readonly buffer: string } {
  let largest = { bytes: 0, buffer: '' };
  for (const e of Object.values(entries)) for (const d of [...(e?.dispatches ?? []), ...(e?.sampling ?? [])]) for (const b of d.bind) if (b.bytes > largest.bytes) largest = { bytes: b.bytes, buffer: b.buffer };
  return largest;
}

/** @throws RuntimeError `device` for a device that does not let a kernel see as much of a buffer as one of the target's must. */
export function checkBindingLimit(label: string, target: Target, { limits: { maxStorageBufferBindingSize: most } }: Pick<GPUDevice, 'limits'>): void {
  const { bytes, buffer } = largestBinding(target);
  if (bytes <= most) return;
  const weight = target.buffers[buffer]?.kind === 'weight';
  throw new RuntimeError('device', `A kernel of ${label} reads ${bytes} bytes of '${buffer}' at once, and this device lets it see ${most} at most (maxStorageBufferBindingSize). Compile ${weight ? `for devices like it (--binding-limit ${most})` : 'for fewer rows (--max-visual, --max-text)'}, or use another device.`);
}
