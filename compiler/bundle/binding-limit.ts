/**
 * How many bytes a kernel may see of a buffer at once. WebGPU promises 128 MiB on every device, and a bundle is made for that
 * unless asked otherwise. Weights are split to fit (packing.ts); what a session holds depends on how many rows it is for.
 */
import type { BufferDecl, Target } from '../../runtime/manifest.ts';
import { UserError } from '../ir/errors.ts';

/** `maxStorageBufferBindingSize` of every device, in bytes (https://www.w3.org/TR/webgpu/#limits). */
export const defaultBindingLimit = 128 << 20;

const fixed: ReadonlySet<string> = new Set(['spans', 'dims', 'draw']);

/** What a buffer holds, and the flags that make it smaller. */
function explain(name: string, b: BufferDecl): { what: string; flags: string } | undefined {
  switch (b.kind) {
    case 'state': return { what: `The memory of ${b.kinds.join(' and ')} rows in '${name.replace(/^state:/, '')}'`, flags: b.kinds.length > 1 ? '--max-visual, --max-text' : '--max-visual, --max-tiles' };
    case 'rope': return { what: `A table of rotary angles for ${b.positions} positions`, flags: '--max-visual, --max-text' };
    // Of one size, whatever a bundle is for, and small.
    case 'input': return fixed.has(b.source) ? undefined : { what: `The input '${b.input ?? b.source}'`, flags: b.source === 'ids' ? '--max-text' : '--max-visual, --max-text, --max-tiles' };
    // Weights are split. Values within a step are not refused: GPUs bind more than the least that WebGPU promises, and a smaller one says so.
    case 'weight': case 'arena': return undefined;
    default: return b satisfies never;
  }
}

/** @throws UserError for a state, a table or an input of which a kernel would see more than `limit` bytes. */
export function checkBindings(target: Target, limit: number): void {
  for (const entry of Object.values(target.entries)) for (const d of [...(entry?.dispatches ?? []), ...(entry?.sampling ?? [])]) for (const { buffer, bytes } of d.bind) {
    const too = bytes > limit ? explain(buffer, target.buffers[buffer]!) : undefined;
    if (too) throw new UserError(`${too.what} takes ${bytes} bytes, more than a device may bind at once (${limit} bytes). Compile for fewer rows (${too.flags}), or for devices that bind more (--binding-limit ${bytes} at least).`);
  }
}
