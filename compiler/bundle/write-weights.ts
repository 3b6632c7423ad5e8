/** Writes the weight files of a bundle: packed on several threads, shard after shard, those that an earlier run finished kept. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Manifest } from '../../runtime/manifest.ts';
import { version } from '../version.ts';
import type { PackJob, PackTask, PackedPiece, PackedTensor } from './pack-piece.ts';
import { pieceCount } from './pack-piece.ts';
import type { PackOptions } from './pack-pool.ts';
import { packPieces } from './pack-pool.ts';
import type { OnQuantised, Sources } from './pack-rows.ts';
import type { ShardLayout } from './shard-layout.ts';
import { layoutShards } from './shard-layout.ts';
import type { WorkFolder } from './work-folder.ts';

/** The weights of a bundle before they are written. */
export interface WeightsToWrite {
  /** In the order of their data. */
  readonly tensors: readonly PackedTensor[];
  readonly sources: Sources;
  /** Called with what quantisation cost, once the weights are written. */
  readonly onQuantised?: OnQuantised;
}
export interface WriteWeightsOptions extends PackOptions {
  /** Most bytes of a shard: browsers and CDNs cache files of up to 512 MB. */
  readonly maxShardBytes?: number;
  /** Bytes that are hashed, and read by a loader, at a time. */
  readonly pieceBytes?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

const usual = { maxShardBytes: 512 * 1000 * 1000, pieceBytes: 16 << 20 };

/** Shards as they will be; the same for the same weights. */
export const shardsOf = (w: WeightsToWrite, { maxShardBytes = usual.maxShardBytes }: WriteWeightsOptions = {}): ShardLayout<PackedTensor>[] =>
  (w.tensors.length ? layoutShards(w.tensors, { maxShardBytes }) : []);

/** What the weight files are made from, and how, in a word: equal keys mean equal files. */
export function weightsKey(w: WeightsToWrite, options: WriteWeightsOptions = {}): string {
  const hash = createHash('sha256').update(JSON.stringify([version, options.pieceBytes ?? usual.pieceBytes, w.tensors, Object.entries(w.sources).sort(([a], [b]) => (a < b ? -1 : 1))]));
  for (const s of shardsOf(w, options)) hash.update(s.file).update(s.header);
  for (const path of new Set(Object.values(w.sources).map((s) => s.path))) { const { size, mtimeMs, ino } = statSync(path); hash.update(JSON.stringify([path, size, mtimeMs, ino])); }
  return hash.digest('hex');
}

const noteSchema = v.object({
  pieces: v.array(v.string()),
  errors: v.array(v.tuple([v.string(), v.object({ squaredError: v.number(), squares: v.number(), worst: v.number(), largest: v.number() })])),
});
type Note = v.InferOutput<typeof noteSchema>;

/** @throws what packing throws: UserError and RuntimeError for weights that cannot be read or stored, the operating system's for a full disk */
export async function writeWeights(work: WorkFolder, w: WeightsToWrite, options: WriteWeightsOptions = {}): Promise<Manifest['weights']> {
  const pieceBytes = options.pieceBytes ?? usual.pieceBytes, shards = shardsOf(w, options), job: PackJob = { folder: work.path, shards, sources: w.sources, pieceBytes };
  const notes = shards.map((s) => finished(work, s, pieceBytes)), counts = shards.map((s) => pieceCount(s.bytes, pieceBytes));
  const got = counts.map((n) => Array.from<unknown, PackedPiece | undefined>({ length: n }, () => undefined)), total = shards.reduce((n, s) => n + s.bytes, 0);
  let done = 0;
  const pieces = async (tasks: readonly PackTask[]): Promise<void> => packPieces(job, tasks, async (p) => {
    const s = shards[p.shard]!;
    got[p.shard]![p.piece] = p;
    done += Math.min(pieceBytes, s.bytes - p.piece * pieceBytes);
    options.onProgress?.(done, total);
    if (p.kept || got[p.shard]!.includes(undefined)) return;
    await settle(join(work.path, s.file), s.bytes);
    await work.finish(s.file, noteOf(got[p.shard]! as PackedPiece[]));
  }, options);
  const tasksOf = (shard: number, kept: boolean): PackTask[] => Array.from({ length: counts[shard]! }, (_, piece) => ({ shard, piece, kept }));
  const indices = shards.map((_, i) => i);

  await pieces(indices.filter((i) => notes[i]).flatMap((i) => tasksOf(i, true)));
  // A file that is not as it was noted is packed again.
  const kept = indices.filter((i) => notes[i] && got[i]!.every((p, k) => p!.sha256 === notes[i]!.pieces[k]));
  for (const i of indices) if (notes[i] && !kept.includes(i)) { done -= shards[i]!.bytes; got[i]!.fill(undefined); }
  await pieces(indices.filter((i) => !kept.includes(i)).flatMap((i) => tasksOf(i, false)));

  const all = indices.map((i): Note => (kept.includes(i) ? notes[i]! : noteOf(got[i]! as PackedPiece[])));
  for (const { errors } of all) for (const [tensor, error] of errors) w.onQuantised?.(tensor, error);
  return shards.map((s, i) => ({ file: s.file, bytes: s.bytes, pieceBytes, pieces: all[i]!.pieces }));
}

/** In the order of the pieces, whoever was done first: sums come out alike. */
const noteOf = (pieces: readonly PackedPiece[]): Note => ({ pieces: pieces.map((p) => p.sha256), errors: pieces.flatMap((p) => p.errors.map(([t, e]) => [t, e] as [string, typeof e])) });

/** The note of a shard whose file is there in its length. */
function finished(work: WorkFolder, { file, bytes }: ShardLayout, pieceBytes: number): Note | undefined {
  const note = v.safeParse(noteSchema, work.note(file));
  if (!note.success || note.output.pieces.length !== pieceCount(bytes, pieceBytes)) return undefined;
  try {
    return statSync(join(work.path, file)).size === bytes ? note.output : undefined;
  } catch {
    return undefined;
  }
}

/** What an earlier run left behind the end goes, and all is on the disk: a full one may say so only now. */
async function settle(path: string, bytes: number): Promise<void> {
  await truncate(path, bytes);
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
