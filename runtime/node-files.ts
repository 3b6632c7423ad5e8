import { open, readFile } from 'node:fs/promises';
import { RuntimeError, reasonOf } from './errors.ts';
import { checkRange, type ByteSource } from './sources.ts';

/** What to say when the operating system refuses a path. */
export function fileError(path: string, cause: unknown): RuntimeError {
  const code = (cause as NodeJS.ErrnoException)?.code;
  const why =
    code === 'ENOENT' ? 'does not exist. Check the path'
    : code === 'EISDIR' ? 'is a folder, and a file was expected. Name the file inside it'
    : code === 'ENOTDIR' ? 'leads through a file as if it were a folder. Check the path'
    : code === 'EACCES' || code === 'EPERM' ? 'may not be read by this user. Change its permissions'
    : code === 'EMFILE' || code === 'ENFILE' ? 'cannot be opened: too many files are open. Raise the limit (ulimit -n)'
    : `cannot be read (${reasonOf(cause)}). Check the file and the disk`;
  return new RuntimeError('file', `${path} ${why}.`, { cause });
}

/**
 * A source over a file. It keeps the file open; call `close`.
 * @throws RuntimeError `file` when the path is missing, no file, or not readable.
 */
export async function fileSource(path: string): Promise<Required<ByteSource>> {
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(path, cause);
  });
  let size: number;
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' });
    size = stat.size;
  } catch (cause) {
    await handle.close();
    throw fileError(path, cause);
  }
  return {
    label: path,
    size,
    async read(offset, length) {
      checkRange({ label: path, size }, offset, length);
      const bytes = new Uint8Array(length);
      let done = 0;
      // One read of Linux brings 2 GiB at most, and any read may bring less than asked.
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, 1 << 30), offset + done).catch((cause: unknown) => {
          throw fileError(path, cause);
        });
        if (bytesRead === 0) checkRange({ label: path, size: offset + done }, offset, length);
        done += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}

/**
 * A JSON file, or undefined where `optional` and the file is missing.
 * @throws RuntimeError `file` when it cannot be read, `format` when it is no JSON.
 */
export async function readJson(path: string, optional: true): Promise<unknown | undefined>;
export async function readJson(path: string, optional?: false): Promise<unknown>;
export async function readJson(path: string, optional = false): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (optional && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(path, cause);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new RuntimeError('format', `${path} is not JSON: ${reasonOf(cause)}. Fetch the file again, or mend it.`, { cause });
  }
}
