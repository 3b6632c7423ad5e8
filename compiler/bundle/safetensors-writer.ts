/**
 * Writing safetensors in shards, streaming: no tensor need be in memory whole. The bytes depend on the tensors alone
 * (no time, no host, no metadata), so that two compilations give equal files. Within a shard, data is ordered by item
 * size, largest first, and the header is padded to 64 bytes: every tensor then starts at a multiple of its item size
 * without holes, which the format forbids.
 */
import { createHash, randomBytes, type Hash } from 'node:crypto';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UserError } from '../ir/errors.ts';

/** Bytes of one item of each dtype that a bundle may hold. */
const DTYPE_BYTES = { U8: 1, I8: 1, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4 } as const;
export type WritableDtype = keyof typeof DTYPE_BYTES;

/** A tensor to write. `data` is called once, when its turn comes, and gives all its bytes, whole or in pieces. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: WritableDtype;
  readonly shape: readonly number[];
  data(): Promise<Uint8Array> | Uint8Array | AsyncIterable<Uint8Array>;
}

/** A tensor as it stands in a shard. */
export interface WrittenTensor {
  readonly name: string;
  readonly dtype: WritableDtype;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the shard's file. */
  readonly offset: number;
  readonly bytes: number;
  /** SHA-256 of the data, in hex. */
  readonly sha256: string;
}

/** A shard as it stands in the folder. */
export interface WrittenShard {
  /** File name within the folder. */
  readonly file: string;
  readonly bytes: number;
  /** SHA-256 of the whole file, in hex. */
  readonly sha256: string;
  readonly tensors: readonly WrittenTensor[];
}

export interface WriteOptions {
  /** Start of the file names: `model` gives `model.safetensors`, or `model-00001-of-00002.safetensors`. */
  readonly prefix?: string;
  /** A shard is closed before its data would pass this; one larger tensor has a shard for itself. */
  readonly maxShardBytes?: number;
}

const HEADER_ALIGNMENT = 64;

/**
 * Writes the tensors into `folder` (made if missing). All shards are written under temporary names and renamed once all
 * are complete; when anything fails, the temporary files are removed and no file of the target names has been touched.
 * @throws UserError when the disk is full or the folder cannot be written.
 * @throws Error (ours) for two tensors of one name or for data of another length than dtype and shape say.
 */
export async function writeSafetensors(folder: string, tensors: readonly TensorToWrite[], options: WriteOptions = {}): Promise<WrittenShard[]> {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) throw new Error(`two tensors to write are called "${name}"`);
    names.add(name);
  }
  const groups = split(tensors, options.maxShardBytes ?? 1 << 30);
  const prefix = options.prefix ?? 'model';
  const number = (n: number) => String(n).padStart(5, '0');
  const tag = `${process.pid}-${randomBytes(4).toString('hex')}`;
  const temporary: string[] = [];
  const shards: WrittenShard[] = [];
  try {
    await makeFolder(folder);
    for (const [i, group] of groups.entries()) {
      const file = groups.length === 1 ? `${prefix}.safetensors` : `${prefix}-${number(i + 1)}-of-${number(groups.length)}.safetensors`;
      const path = join(folder, `.${file}.${tag}.tmp`);
      temporary.push(path);
      shards.push({ file, ...(await writeShard(path, group)) });
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

function byteLength(t: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return t.shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[t.dtype];
}

/** Consecutive groups of tensors, each within the limit where its tensors allow it. At least one group. */
function split(tensors: readonly TensorToWrite[], limit: number): TensorToWrite[][] {
  const groups: TensorToWrite[][] = [[]];
  let used = 0;
  for (const tensor of tensors) {
    const bytes = byteLength(tensor);
    if (used > 0 && used + bytes > limit) {
      groups.push([]);
      used = 0;
    }
    groups[groups.length - 1]!.push(tensor);
    used += bytes;
  }
  return groups;
}

async function writeShard(path: string, group: readonly TensorToWrite[]): Promise<Omit<WrittenShard, 'file'>> {
  const ordered = [...group].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]); // stable: ties keep their order
  let end = 0;
  const table: Record<string, { dtype: string; shape: readonly number[]; data_offsets: [number, number] }> = Object.create(null);
  for (const t of ordered) table[t.name] = { dtype: t.dtype, shape: t.shape, data_offsets: [end, (end += byteLength(t))] };
  const json = new TextEncoder().encode(JSON.stringify(table));
  const start = Math.ceil((8 + json.length) / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  const header = new Uint8Array(start).fill(0x20); // the format pads headers with spaces
  new DataView(header.buffer).setBigUint64(0, BigInt(start - 8), true);
  header.set(json, 8);

  const handle = await open(path, 'wx');
  try {
    const whole = createHash('sha256');
    await put(handle, header, whole);
    const tensors: WrittenTensor[] = [];
    let offset = start;
    for (const t of ordered) {
      const bytes = byteLength(t);
      const own = createHash('sha256');
      let given = 0;
      for await (const piece of pieces(t)) {
        given += piece.byteLength;
        if (given > bytes) break;
        await put(handle, piece, whole, own);
      }
      if (given !== bytes) throw new Error(`tensor "${t.name}" is ${t.dtype}[${t.shape.join(', ')}], ${bytes} bytes, but its data has ${given > bytes ? 'more' : given}`);
      tensors.push({ name: t.name, dtype: t.dtype, shape: t.shape, offset, bytes, sha256: own.digest('hex') });
      offset += bytes;
    }
    await handle.sync(); // a full disk may say so only now
    return { bytes: offset, sha256: whole.digest('hex'), tensors };
  } finally {
    await handle.close();
  }
}

async function* pieces(t: TensorToWrite): AsyncGenerator<Uint8Array> {
  const data = await t.data();
  if (data instanceof Uint8Array) yield data;
  else yield* data;
}

async function put(handle: FileHandle, bytes: Uint8Array, ...hashes: Hash[]): Promise<void> {
  for (const hash of hashes) hash.update(bytes);
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
