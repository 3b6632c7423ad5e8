/** Results in files: whole or not at all. */
import { randomBytes } from 'node:crypto';
import { access, constants, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { UserError } from '../ir/errors.ts';

/** Throws a UserError if nothing can be written there; to be asked before long work. `-` is standard output. `option` named the path. */
export async function checkWritable(path: string, option = '-o'): Promise<void> {
  if (path === '-') return;
  const folder = dirname(resolve(path));
  const there = await stat(folder).catch((cause: unknown) => { throw refuse(path, cause, `The folder ${folder} is not there.`, option); });
  if (!there.isDirectory()) throw refuse(path, undefined, `${folder} is a file and no folder.`, option);
  if ((await stat(path).catch(() => undefined))?.isDirectory()) throw refuse(path, undefined, 'It is a folder; a file was expected.', option);
  await access(folder, constants.W_OK).catch((cause: unknown) => { throw refuse(path, cause, `The folder ${folder} may not be written.`, option); });
}

/** Writes under a temporary name and renames; `-` is standard output. Throws a UserError. */
export async function writeOutput(path: string, content: string | Uint8Array | AsyncIterable<Uint8Array>, option = '-o'): Promise<void> {
  if (path === '-' && (typeof content === 'string' || content instanceof Uint8Array)) { process.stdout.write(content); return; }
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, content);
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    // What fails to give its content is not the file's fault.
    if (cause instanceof Error && (cause as { exitCode?: unknown }).exitCode === 1) throw cause;
    throw refuse(path, cause, `${cause instanceof Error ? cause.message : String(cause)}.`, option);
  }
}

const refuse = (path: string, cause: unknown, why: string, option: string): UserError => new UserError(`${path} cannot be written. ${why} Choose another name with ${option}.`, undefined, { cause });
