import type { Bundle } from './bundle.ts';
import { RuntimeError } from './errors.ts';
import type { Program } from './program.ts';
import { Safetensors } from './safetensors.ts';

export interface UploadProgress { readonly bytes: number; readonly total: number }

/** Uploads of this size at most, so that the host never holds more than a piece of the model. */
const chunkBytes = 32 << 20;

/** @throws RuntimeError `bundle` for a bundle that was compiled without a checkpoint. */
export function requireWeights(bundle: Bundle): void {
  if (bundle.manifest.weights.length === 0)
    throw new RuntimeError('bundle', `${bundle.label} was compiled without a checkpoint and has no weights, so it cannot run. Compile it with --checkpoint DIR.`);
}

/**
 * Fills the weight buffers of a program from the bundle's shards, piece by piece, and computes the tables.
 * @throws RuntimeError `bundle` when the bundle has no weights, or a tensor is missing or of another size than the plan's.
 */
export async function uploadWeights(bundle: Bundle, program: Program, onProgress?: (p: UploadProgress) => void): Promise<void> {
  const { device, target } = program;
  const weights = Object.entries(target.buffers).filter(([, b]) => b.kind === 'weight');
  if (weights.length) requireWeights(bundle);
  const shards: Safetensors[] = [];
  try {
    for (const w of bundle.manifest.weights) {
      const source = await bundle.files.open(w.file);
      try {
        if (source.size !== w.bytes) throw new RuntimeError('bundle', `${bundle.label}/${w.file} has ${source.size} bytes, bundle.json says ${w.bytes}. The download or copy is incomplete: fetch it again.`);
        shards.push(await Safetensors.open(source));
      } catch (e) {
        await source.close?.();
        throw e;
      }
    }
    const home = new Map(shards.flatMap((s) => [...s.tensors.keys()].map((name) => [name, s] as const)));
    const total = weights.reduce((sum, [, b]) => sum + b.bytes, 0);
    let done = 0;
    for (const [name, decl] of weights) {
      if (decl.kind !== 'weight') continue;
      for (const part of decl.parts) {
        const shard = home.get(part.tensor);
        if (!shard || shard.entry(part.tensor).bytes !== part.bytes)
          throw new RuntimeError('bundle', `Tensor '${part.tensor}' of ${bundle.label} ${shard ? `has ${shard.entry(part.tensor).bytes} bytes, the plan needs ${part.bytes}` : 'is in none of its weight files'}. Compile the bundle anew.`);
        for (let at = 0; at < part.bytes; at += chunkBytes) {
          const piece = await shard.bytes(part.tensor, at, Math.min(chunkBytes, part.bytes - at));
          write(device, program.buffer(name), part.offset + at, piece);
          done += piece.byteLength;
          onProgress?.({ bytes: done, total });
        }
      }
    }
  } finally {
    await Promise.all(shards.map((s) => s.close()));
  }
  for (const [name, decl] of Object.entries(target.buffers))
    if (decl.kind === 'rope') device.queue.writeBuffer(program.buffer(name), 0, ropeTable(decl.positions, decl.frequencies));
}

/** `writeBuffer` takes multiples of 4 bytes; buffers are rounded up, so a last odd half may be padded. */
function write(device: GPUDevice, buffer: GPUBuffer, offset: number, piece: Uint8Array): void {
  const whole = piece.byteLength % 4 === 0 ? piece : new Uint8Array(Math.ceil(piece.byteLength / 4) * 4);
  if (whole !== piece) whole.set(piece);
  device.queue.writeBuffer(buffer, offset, whole as Uint8Array<ArrayBuffer>);
}

/** cos and sin of position × frequency, `[positions, frequencies, 2]`: f64 on the host, since GPUs' own are too coarse. */
export function ropeTable(positions: number, frequencies: readonly number[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(positions * frequencies.length * 2);
  for (let p = 0, i = 0; p < positions; p++)
    for (const f of frequencies) { out[i++] = Math.cos(p * f); out[i++] = Math.sin(p * f); }
  return out;
}

