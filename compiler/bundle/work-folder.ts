/**
 * The folder in which a bundle is built, beside its final place. Its name is the bundle's own, so a compilation that was killed
 * is found by the next one to the same place, which keeps the shards that were finished; what was made from other inputs or
 * with other options begins anew.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from './safetensors-writer.ts';

/** Whose the folder is, in `work.json`. */
interface Owner { readonly eemllm: 'work'; readonly key: string; readonly host: string; readonly pid: number }
const ownerFile = 'work.json', noteEnding = '.done.json';

export class WorkFolder {
  private constructor(readonly path: string, private readonly target: string) {}

  /** The work folder for a bundle at `target`, whose weights have this key: what they are made from, and how. */
  static async open(target: string, key: string): Promise<WorkFolder> {
    const parent = dirname(target), usual = join(parent, `.${basename(target)}.work`), old = await ownerOf(usual);
    // Somebody else's folder, or that of a compilation that still runs: let it be.
    const free = old !== 'other' && !(old && alive(old));
    const path = free ? usual : join(parent, `.${basename(target)}.${randomBytes(4).toString('hex')}.work`);
    if (free && old && old.key !== key) await rm(path, { recursive: true, force: true });
    await makeFolder(path);
    const owner: Owner = { eemllm: 'work', key, host: hostname(), pid: process.pid };
    await writeFile(join(path, ownerFile), JSON.stringify(owner));
    return new WorkFolder(path, target);
  }

  /** What was noted of a shard that is finished; undefined if nothing was. Whoever uses it compares the file. */
  note(shard: string): unknown { return readJson(join(this.path, shard + noteEnding)); }
  /** Notes that a shard is finished. */
  async finish(shard: string, note: unknown): Promise<void> {
    const path = join(this.path, shard + noteEnding);
    await writeFile(`${path}.tmp`, JSON.stringify(note));
    await rename(`${path}.tmp`, path);
  }

  /** Moves the finished bundle to its place; an older bundle there is gone afterwards, and back if that fails. */
  async publish(): Promise<void> {
    for (const file of await readdir(this.path)) if (file === ownerFile || file.endsWith(noteEnding) || file.endsWith('.tmp')) await rm(join(this.path, file));
    const old = `${this.path}.old`, there = await stat(this.target).then(() => true, () => false);
    await rm(old, { recursive: true, force: true });
    if (there) await rename(this.target, old);
    try {
      await rename(this.path, this.target);
    } catch (error) {
      if (there) await rename(old, this.target);
      throw error;
    }
    await rm(old, { recursive: true, force: true });
  }

  async remove(): Promise<void> { await rm(this.path, { recursive: true, force: true }).catch(() => undefined); }
}

/** Undefined for a folder that is not there or empty. */
async function ownerOf(folder: string): Promise<Owner | 'other' | undefined> {
  const entries = await readdir(folder).catch((e: NodeJS.ErrnoException) => (e.code === 'ENOENT' ? [] : undefined));
  if (!entries) return 'other';
  if (!entries.length) return undefined;
  const o = readJson(join(folder, ownerFile)) as Partial<Owner> | undefined;
  return o?.eemllm === 'work' && typeof o.key === 'string' && typeof o.host === 'string' && Number.isInteger(o.pid) ? o as Owner : 'other';
}

/** Whether its process still runs; of another machine that cannot be told, so it is taken to. */
function alive({ host, pid }: Owner): boolean {
  if (host !== hostname()) return true;
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
