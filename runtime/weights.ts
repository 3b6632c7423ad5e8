import type { Bundle } from './bundle.ts';
import { RuntimeError } from './errors.ts';
import type { Target } from './manifest.ts';
import type { Piece } from './pieces.ts';
import { checkLength, readPieces } from './pieces.ts';
import type { Program } from './program.ts';
import { Safetensors } from './safetensors.ts';
import type { ByteSource } from './sources.ts';

export interface UploadProgress {
  /** Bytes of weight files that are on the device, and of all of them. */
  readonly bytes: number;
  readonly total: number;
  /** At the rate so far; absent until there is one. */
  readonly secondsLeft?: number;
}
/** Milliseconds in which an upload waited for files (read and compared with their hashes), and for the device. They overlap otherwise. */
export interface UploadTimings { readonly files: number; readonly device: number }

/** Pieces that the device may still be taking while the next ones are read. */
const inFlight = 2;

/** @throws RuntimeError `bundle` for a bundle that was compiled without a checkpoint. */
export function requireWeights(bundle: Bundle): void {
  if (bundle.manifest.weights.length === 0)
    throw new RuntimeError('bundle', `${bundle.label} was compiled without a checkpoint and has no weights, so it cannot run. Compile it with --checkpoint DIR.`);
}

/** A weight file, and where on the device the tensors in it go. */
interface Shard { readonly source: ByteSource; readonly file: Bundle['manifest']['weights'][number]; readonly parts: readonly ShardPart[] }
/** Bytes `[begin, end)` of a file, and the place of the first of them. */
export interface ShardPart { readonly begin: number; readonly end: number; readonly buffer: string; readonly offset: number }

/**
 * Fills the weight buffers of a program from the bundle's shards, piece by piece, and computes the tables. While the device takes
 * a piece, the next ones are read and compared with their hashes.
 * @throws RuntimeError `bundle` when the bundle has no weights, a tensor is missing or of another size than the plan's, or a file was changed.
 */
export async function uploadWeights(bundle: Bundle, program: Program, onProgress?: (p: UploadProgress) => void): Promise<UploadTimings> {
  const { device, target } = program, timings = { files: 0, device: 0 };
  if (Object.values(target.buffers).some((b) => b.kind === 'weight')) requireWeights(bundle);
  const sources: ByteSource[] = [];
  try {
    const shards = await openShards(bundle, target, sources), total = bundle.manifest.weights.reduce((n, w) => n + w.bytes, 0), start = performance.now();
    const busy: Promise<unknown>[] = [];
    let bytes = 0, last = start;
    for (const { source, file, parts } of shards) {
      const writer = new PieceWriter(parts, (buffer, offset, data) => device.queue.writeBuffer(program.buffer(buffer), offset, data));
      for await (const piece of readPieces(source, file)) {
        const got = performance.now();
        writer.write(piece);
        busy.push(device.queue.onSubmittedWorkDone());
        if (busy.length > inFlight) await busy.shift();
        bytes += piece.bytes.byteLength;
        timings.files += got - last;
        last = performance.now();
        timings.device += last - got;
        onProgress?.({ bytes, total, secondsLeft: ((last - start) / 1000) * (total / bytes - 1) });
      }
    }
    await Promise.all(busy);
    timings.device += performance.now() - last;
  } finally {
    await Promise.all(sources.map((s) => s.close?.()));
  }
  for (const [name, decl] of Object.entries(target.buffers))
    if (decl.kind === 'rope') device.queue.writeBuffer(program.buffer(name), 0, ropeTable(decl.positions, decl.frequencies));
  return timings;
}

/**
 * Opens the weight files and finds the tensors that a target reads. What is opened is added to `sources`, for the caller to close.
 * @throws RuntimeError `bundle` when a file is not as long as it was, or a tensor is missing or of another size than the plan's
 */
export async function openShards(bundle: Bundle, target: Target, sources: ByteSource[]): Promise<Shard[]> {
  const opened = new Map<string, { source: ByteSource; file: Shard['file']; tensors: Safetensors; parts: ShardPart[] }>(), home = new Map<string, string>();
  for (const file of bundle.manifest.weights) {
    const source = await bundle.files.open(file.file);
    sources.push(source);
    checkLength(source, file);
    const tensors = await Safetensors.open(source);
    opened.set(file.file, { source, file, tensors, parts: [] });
    for (const name of tensors.tensors.keys()) home.set(name, file.file);
  }
  for (const [buffer, decl] of Object.entries(target.buffers)) {
    if (decl.kind !== 'weight') continue;
    for (const part of decl.parts) {
      const shard = opened.get(home.get(part.tensor) ?? ''), entry = shard?.tensors.entry(part.tensor);
      if (!shard || !entry || entry.bytes !== part.bytes)
        throw new RuntimeError('bundle', `Tensor '${part.tensor}' of ${bundle.label} ${entry ? `has ${entry.bytes} bytes, the plan needs ${part.bytes}` : 'is in none of its weight files'}. Compile the bundle anew.`);
      shard.parts.push({ begin: entry.offset, end: entry.offset + entry.bytes, buffer, offset: part.offset });
    }
  }
  return [...opened.values()];
}

/**
 * Hands the parts of a file on as its pieces come. Devices take multiples of 4 bytes at multiples of 4, and a piece may begin
 * and end anywhere: then bytes are kept until the next piece, and the last ones of a part are padded. Buffers have room for it.
 */
export class PieceWriter {
  /** The last bytes of the piece before. */
  private kept = new Uint8Array(0);

  constructor(private readonly parts: readonly ShardPart[], private readonly put: (buffer: string, offset: number, data: Uint8Array<ArrayBuffer>) => void) {}

  write({ offset, bytes }: Piece): void {
    for (const { begin, end, buffer, offset: at } of this.parts) {
      const to = Math.min(end, offset + bytes.byteLength), first = Math.max(begin, offset);
      if (first >= to) continue;
      // From and to a multiple of 4 within the part, but for its end.
      const from = first - ((first - begin) % 4), upTo = to === end ? to : to - ((to - begin) % 4);
      if (from >= upTo) continue;
      const own = upTo - from, data = from < offset || own % 4 ? new Uint8Array(Math.ceil(own / 4) * 4) : bytes.subarray(from - offset, upTo - offset);
      if (from < offset) data.set(this.kept.subarray(this.kept.byteLength - (offset - from)));
      if (data.buffer !== bytes.buffer) data.set(bytes.subarray(Math.max(0, from - offset), upTo - offset), Math.max(0, offset - from));
      this.put(buffer, at + from - begin, data as Uint8Array<ArrayBuffer>);
    }
    const whole = new Uint8Array(this.kept.byteLength + Math.min(3, bytes.byteLength));
    whole.set(this.kept);
    whole.set(bytes.subarray(Math.max(0, bytes.byteLength - 3)), this.kept.byteLength);
    this.kept = whole.slice(-3);
  }
}

/** cos and sin of position × frequency, `[positions, frequencies, 2]`: f64 on the host, since GPUs' own are too coarse. */
export function ropeTable(positions: number, frequencies: readonly number[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(positions * frequencies.length * 2);
  for (let p = 0, i = 0; p < positions; p++)
    for (const f of frequencies) { out[i++] = Math.cos(p * f); out[i++] = Math.sin(p * f); }
  return out;
}
