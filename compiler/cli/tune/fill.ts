/** Contents of the buffers that a piece of work binds: numbers of ordinary size that are numbers in every format. */
import { ropeTable } from '../../../runtime/weights.ts';
import type { BufferDecl } from '../../../runtime/manifest.ts';
import type { Bound } from './work.ts';
import type { StepData } from './prompt.ts';

/** Words of a pattern that repeats: a period that is no power of two, so that rows differ. */
const period = 65_521;

function noise(seed: number): () => number {
  let s = (Math.imul(seed + 1, 2654435761) >>> 0) || 1;
  return () => { s ^= s << 13; s >>>= 0; s ^= s >>> 17; s ^= s << 5; return (s >>>= 0); };
}

/** How the words of a buffer are numbers: floats, pairs of f16, or codes among scales. */
export type Words = 'f32' | 'f16' | 'codes';
export function wordsOf(decl: BufferDecl): Words {
  if (decl.kind === 'weight') return decl.format.kind === 'f32' || decl.format.kind === 'f16' ? decl.format.kind : 'codes';
  if (decl.kind === 'state') return !decl.format || decl.format.kind === 'f32' ? 'f32' : decl.format.kind === 'f16' ? 'f16' : 'codes';
  return 'f32';
}

const patterns = new Map<string, Uint32Array<ArrayBuffer>>();
/** One period: floats from −1 to 1; halves of ±⅛ to ±¼; words that are a fair scale whether read as f32 or as two f16. */
function pattern(words: Words, seed: number): Uint32Array<ArrayBuffer> {
  const key = `${words} ${seed % 7}`, old = patterns.get(key);
  if (old) return old;
  const next = noise(seed % 7), out = new Uint32Array(period), floats = new Float32Array(out.buffer);
  for (let i = 0; i < period; i++) {
    if (words === 'f32') floats[i] = next() / 2 ** 31 - 1;
    else out[i] = words === 'f16' ? ((next() & 0x83ff83ff) | 0x30003000) >>> 0 : ((next() & 0x03ff03ff) | 0x38003800) >>> 0;
  }
  patterns.set(key, out);
  return out;
}

/** Fills a buffer of a piece of work; `seed` tells its bindings apart. */
export function fill(device: GPUDevice, buffer: GPUBuffer, { decl, range }: Bound, dimNames: readonly string[], step: StepData, seed: number): void {
  const write = (at: number, data: Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): void => {
    const room = Math.floor((buffer.size - at) / 4);
    if (room > 0) device.queue.writeBuffer(buffer, at, data.subarray(0, Math.min(data.length, room)));
  };
  if (decl.kind === 'rope') { write(0, ropeTable(decl.positions, decl.frequencies)); return; }
  if (decl.kind === 'input' && decl.source === 'dims') { write(0, Uint32Array.from(dimNames, (name) => step.dims[name] ?? 0)); return; }
  if (decl.kind === 'input' && (decl.source === 'rows' || decl.source === 'spans')) { write(0, step[decl.source].get(decl.sequence!)!); return; }
  // Integers: zero is an id, and a row, that every model has.
  if (decl.kind === 'input' && decl.source !== 'pixels' && decl.source !== 'patches' && decl.source !== 'values' && decl.source !== 'row_weights') return;
  const words = pattern(wordsOf(decl), seed);
  for (let at = 0; at < Math.min(range.bytes, buffer.size); at += words.byteLength) write(at, words);
}
