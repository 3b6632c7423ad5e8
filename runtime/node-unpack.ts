/** Unpacking what npm packages carry packed, once a version, into a cache folder. Needs no root and no other program. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';

/** The archives of npm `@sparticuz/chromium`, which is Chromium with SwiftShader for Linux on x64. */
export interface ChromiumArchives {
  /** Path of an archive, such as `swiftshader.tar.br`. */
  file(name: string): string;
  /** Unpacks a `.tar.br` into a folder, with the same library as the package itself. */
  untar(packed: Uint8Array, folder: string): Promise<void>;
}

/** @throws Error when the package is not installed */
export function chromiumArchives(): ChromiumArchives {
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const home = createRequire(entry); // its dependencies are resolved from where it lies
  return {
    file: (name) => join(dirname(entry), '../../bin', name),
    async untar(packed, folder) {
      const tar = home('tar-fs') as { extract(folder: string): NodeJS.WritableStream };
      await pipeline(Readable.from([packed]), createBrotliDecompress(), tar.extract(folder));
    },
  };
}

/** Where to unpack, in order of preference: EEMLLM_CACHE alone, or the user's cache folder, or one of the user's in /tmp. */
export function cacheFolders(): string[] {
  if (process.env.EEMLLM_CACHE) return [process.env.EEMLLM_CACHE];
  const own = `eemllm-${process.getuid?.() ?? 'user'}`;
  return [join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'eemllm'), join(tmpdir(), own)];
}

/**
 * The folder below `cache` that holds an archive unpacked; `build` unpacks it where that has not happened yet. The folder
 * appears under its name only when complete, so processes may race.
 * @param build gets the archive's bytes, the folder to fill, and the folder's later name
 */
export async function unpackOnce(cache: string, name: string, archive: string, build: (packed: Uint8Array, temporary: string, folder: string) => Promise<void>): Promise<string> {
  const packed = readFileSync(archive);
  const folder = join(cache, `${name}-${createHash('sha256').update(packed).digest('hex').slice(0, 16)}`);
  makeFolder(cache);
  // Programs are run from here: in a shared folder such as /tmp nobody else may have put them there.
  const uid = process.getuid?.();
  if (uid !== undefined && statSync(cache).uid !== uid) throw new Error(`${cache} belongs to another user`);
  if (existsSync(folder)) return folder;
  const temporary = mkdtempSync(join(cache, `.${name}-`));
  try {
    await build(packed, temporary, folder);
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was faster
  }
  return folder;
}

/** Makes a folder and those above it. Node 20's own `recursive` never returns where the kernel says ENOENT, as in /proc. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  if (dirname(path) !== path) makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!existsSync(path)) throw error; // else another process made it just now
  }
}
