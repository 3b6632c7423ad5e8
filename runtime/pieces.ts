/** Weight files as they are read: piece after piece, each compared with its hash before anybody uses it. */
import { sha256 } from './bundle.ts';
import { RuntimeError } from './errors.ts';
import type { Manifest } from './manifest.ts';
import type { ByteSource } from './sources.ts';

export type WeightFile = Manifest['weights'][number];

/** Bytes `[offset, offset + bytes.byteLength)` of a file. */
export interface Piece { readonly offset: number; readonly bytes: Uint8Array }

/** Pieces that are read and hashed at a time, so that reading goes on while the one before is used: bounded memory. */
const ahead = 3;

/** @throws RuntimeError `bundle` unless a file is as long as the manifest says, and says so of as many pieces */
export function checkLength(source: Pick<ByteSource, 'label' | 'size'>, { bytes, pieceBytes, pieces }: WeightFile): void {
  if (source.size !== bytes) throw new RuntimeError('bundle', `${source.label} has ${source.size} bytes, bundle.json says ${bytes}. The download or copy is incomplete: fetch it again.`);
  if (pieces.length !== Math.ceil(bytes / pieceBytes)) throw new RuntimeError('bundle', `bundle.json has ${pieces.length} hashes for ${source.label}, whose ${bytes} bytes are ${Math.ceil(bytes / pieceBytes)} pieces. Compile the bundle anew with \`eemllm compile\`, or fetch it again.`);
}

/** @throws RuntimeError `bundle` for bytes that are not those that the bundle was made with, `file` when they cannot be read */
async function readPiece(source: ByteSource, { bytes, pieceBytes, pieces }: WeightFile, index: number): Promise<Piece> {
  const offset = index * pieceBytes, data = await source.read(offset, Math.min(pieceBytes, bytes - offset));
  if ((await sha256(data)) !== pieces[index])
    throw new RuntimeError('bundle', `${source.label} is not the file that the bundle was made with: the SHA-256 of bytes ${offset} to ${offset + data.byteLength} differs from the one in bundle.json. Compile the bundle anew with \`eemllm compile\`, or fetch it again.`);
  return { offset, bytes: data };
}

/** The pieces of a file in order, the next ones being read while one is used. Errors as `readPiece`. */
export async function* readPieces(source: ByteSource, file: WeightFile): AsyncGenerator<Piece> {
  checkLength(source, file);
  const waiting: Promise<Piece>[] = [];
  const begin = (index: number): void => {
    if (index >= file.pieces.length) return;
    const piece = readPiece(source, file, index);
    piece.catch(() => undefined); // told when its turn comes
    waiting.push(piece);
  };
  for (let i = 0; i < ahead; i++) begin(i);
  try {
    for (let i = 0; i < file.pieces.length; i++) {
      const piece = await waiting.shift()!;
      begin(i + ahead);
      yield piece;
    }
  } finally {
    await Promise.allSettled(waiting); // before somebody closes the source
  }
}
