/**
 * Weight files piece by piece. A piece is a range of bytes of a file, hashed by itself, and says nothing of its neighbours: so
 * pieces can be packed in any order, on several threads, written where they belong, and compared with their hashes when a
 * compilation goes on where another one was killed, or when a bundle is loaded.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import type { Packed } from './packing.ts';
import type { Sources } from './pack-rows.ts';
import { RowPacker } from './pack-rows.ts';
import type { QuantisationError } from './quantise.ts';
import { addErrors } from './quantise.ts';
import type { ShardLayout, TensorShape } from './shard-layout.ts';
import { FileRanges } from './weight-source.ts';

/** A tensor of the bundle as its file names it, and what is in it. */
export interface PackedTensor extends TensorShape { readonly packed: Packed }

/** All that packing needs to know, as plain data. */
export interface PackJob {
  /** Folder that the files are written to. */
  readonly folder: string;
  readonly shards: readonly ShardLayout<PackedTensor>[];
  readonly sources: Sources;
  /** Length of a piece; the last one of a file may be shorter. */
  readonly pieceBytes: number;
}
/** Piece number `piece` of shard number `shard`: to be packed and written, or, where it is `kept`, to be read and hashed. */
export interface PackTask { readonly shard: number; readonly piece: number; readonly kept: boolean }
export interface PackedPiece extends PackTask {
  /** SHA-256 in hex. */
  readonly sha256: string;
  /** What quantisation cost, by tensor of the graph. */
  readonly errors: readonly (readonly [tensor: string, error: QuantisationError])[];
}

export const pieceCount = (bytes: number, pieceBytes: number): number => Math.ceil(bytes / pieceBytes);

export class PiecePacker {
  private readonly files = new FileRanges();
  private readonly rows: RowPacker;
  private readonly piece: Uint8Array<ArrayBuffer>;
  private readonly written = new Map<string, number>();

  constructor(private readonly job: PackJob) {
    this.rows = new RowPacker(this.files, job.sources);
    this.piece = new Uint8Array(Math.min(job.pieceBytes, Math.max(...job.shards.map((s) => s.bytes))));
  }

  /** @throws RuntimeError, UserError as RowEncoder and FileRanges do; the operating system's errors of writing as they are */
  run(task: PackTask): PackedPiece {
    const layout = this.job.shards[task.shard]!, from = task.piece * this.job.pieceBytes, to = Math.min(layout.bytes, from + this.job.pieceBytes), piece = this.piece.subarray(0, to - from);
    const errors = new Map<string, QuantisationError>(), handle = this.open(layout.file);
    if (task.kept) readAll(handle, piece, from);
    else {
      this.fill(layout, from, to, piece, (tensor, error) => { const old = errors.get(tensor); errors.set(tensor, old ? addErrors(old, error) : error); });
      for (let done = 0; done < piece.byteLength; ) done += writeSync(handle, piece, done, piece.byteLength - done, from + done);
    }
    return { ...task, sha256: createHash('sha256').update(piece).digest('hex'), errors: [...errors] };
  }

  close(): void {
    this.files.close();
    for (const handle of this.written.values()) closeSync(handle);
    this.written.clear();
  }

  /** Bytes `[from, to)` of a shard. A row that begins in the piece before counts there. */
  private fill({ header, tensors }: ShardLayout<PackedTensor>, from: number, to: number, piece: Uint8Array, note: (tensor: string, error: QuantisationError) => void): void {
    if (from < header.byteLength) piece.set(header.subarray(from, to));
    for (const { tensor: { packed }, offset, bytes } of tensors) {
      const begin = Math.max(from, offset), end = Math.min(to, offset + bytes), row = bytes / packed.shape[0]!;
      if (begin >= end) continue;
      const cut = (begin - offset) % row, last = Math.ceil((end - offset) / row);
      let at = begin, next = Math.floor((begin - offset) / row);
      const put = (upTo: number, skip: number, noted?: typeof note): void => {
        const length = Math.min(end - at, (upTo - next) * row - skip);
        piece.set(this.rows.rows(packed, next, upTo, noted).subarray(skip, skip + length), at - from);
        at += length;
        next = upTo;
      };
      if (cut) put(next + 1, cut);
      if (next < last) put(last, 0, note);
    }
  }

  private open(file: string): number {
    let handle = this.written.get(file);
    if (handle === undefined) this.written.set(file, (handle = openSync(`${this.job.folder}/${file}`, constants.O_RDWR | constants.O_CREAT)));
    return handle;
  }
}

function readAll(handle: number, into: Uint8Array, offset: number): void {
  for (let done = 0; done < into.byteLength; ) {
    const bytes = readSync(handle, into, done, into.byteLength - done, offset + done);
    if (!bytes) { into.fill(0, done); return; }
    done += bytes;
  }
}
