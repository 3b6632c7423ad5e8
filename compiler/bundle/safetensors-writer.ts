/**
 * Writing safetensors in shards, streaming: no tensor need be in memory whole. The bytes depend on the tensors alone
 * (no time, no host, no metadata), so that two runs give equal files.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UserError } from '../ir/errors.ts';
import type { PlacedTensor, ShardLayout, ShardOptions, TensorShape } from './shard-layout.ts';
import { layoutShards } from './shard-layout.ts';

/** A tensor to write. `data` is called once, when its turn comes, and gives all its bytes, whole or in pieces. */
export interface TensorToWrite extends TensorShape {
  data(): Promise<Uint8Array> | Uint8Array | AsyncIterable<Uint8Array>;
}
/** A shard as it stands in the folder. */
export type WrittenShard = ShardLayout<TensorToWrite>;

/**
 * Writes the tensors into `folder` (made if missing). All shards are written under temporary names and renamed once all
 * are complete; when anything fails, the temporary files are removed and no file of the target names has been touched.
 * @throws UserError when the disk is full or the folder cannot be written.
 * @throws Error (ours) for two tensors of one name or for data of another length than dtype and shape say.
 */
export async function writeSafetensors(folder: string, tensors: readonly TensorToWrite[], options: ShardOptions = {}): Promise<WrittenShard[]> {
  const shards = layoutShards(tensors, options), tag = `${process.pid}-${randomBytes(4).toString('hex')}`;
  const temporary: string[] = [];
  try {
    await makeFolder(folder);
    for (const shard of shards) {
      const path = join(folder, `.${shard.file}.${tag}.tmp`);
      temporary.push(path);
      await writeShard(path, shard);
    }
    for (const [i, shard] of shards.entries()) await rename(temporary[i]!, join(folder, shard.file));
    return shards;
  } catch (error) {
    for (const path of temporary) await rm(path, { force: true }).catch(() => undefined);
    throw explain(error, folder);
  }
}

/** A failed write as a sentence for the user, where it is the user's disk that failed. */
export function explain(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException)?.code;
  const advice =
    code === 'ENOENT' ? 'no folder can be made there. Check the path'
    : code === 'ENOSPC' || code === 'EDQUOT' ? 'the disk is full. Free some space, or write to another disk'
    : code === 'EFBIG' ? 'the file system allows no file of this size. Choose a smaller shard size, or another disk'
    : code === 'EACCES' || code === 'EPERM' || code === 'EROFS' ? 'this user may not write there. Choose another folder, or change its permissions'
    : code === 'ENOTDIR' || code === 'EEXIST' ? 'a file stands where a folder is needed. Choose another folder'
    : code === 'EIO' ? 'the disk reports an error. Check it, or write to another one'
    : undefined;
  if (!advice) return error;
  return new UserError(`Could not write ${path}: ${advice}. Nothing was left half-written.`, undefined, { cause: error });
}

async function writeShard(path: string, { header, tensors }: WrittenShard): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await put(handle, header);
    for (const t of tensors) await putTensor(handle, t);
    await handle.sync(); // a full disk may say so only now
  } finally {
    await handle.close();
  }
}

async function putTensor(handle: FileHandle, { tensor: t, bytes }: PlacedTensor<TensorToWrite>): Promise<void> {
  let given = 0;
  for await (const piece of pieces(t)) {
    given += piece.byteLength;
    if (given > bytes) break;
    await put(handle, piece);
  }
  if (given !== bytes) throw new Error(`tensor "${t.name}" is ${t.dtype}[${t.shape.join(', ')}], ${bytes} bytes, but its data has ${given > bytes ? 'more' : given}`);
}

async function* pieces(t: TensorToWrite): AsyncGenerator<Uint8Array> {
  const data = await t.data();
  if (data instanceof Uint8Array) yield data;
  else yield* data;
}

async function put(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    done += (await handle.write(bytes, done, Math.min(bytes.byteLength - done, 1 << 30))).bytesWritten;
  }
}

/**
 * Writes one small file the same way: temporary name, then rename.
 * @throws UserError when the disk is full or the folder cannot be written.
 */
export async function writeFileAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    await makeFolder(dirname(path));
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw explain(error, path);
  }
}

/** Makes a folder and those above it. Node 20's own `recursive` never returns where the kernel says ENOENT, as in /proc. */
export async function makeFolder(path: string): Promise<void> {
  const there = () => stat(path).then((s) => s.isDirectory(), () => false);
  if (await there()) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  await mkdir(path).catch(async (error: unknown) => {
    if (!(await there())) throw error; // else another process made it just now
  });
}
