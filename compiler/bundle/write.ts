/** Writes a bundle as a folder: built beside its final place, then moved there whole. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { readdir, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { UserError } from '../ir/errors.ts';
import type { Manifest } from '../../runtime/manifest.ts';
import { bundleTypes } from './bindings.ts';
import { explain, makeFolder } from './safetensors-writer.ts';
import { WorkFolder } from './work-folder.ts';
import type { WeightsToWrite, WriteWeightsOptions } from './write-weights.ts';
import { shardsOf, weightsKey, writeWeights } from './write-weights.ts';

export interface BundleContent {
  /** Without `weights` and `files`: they are known once written. */
  readonly manifest: Omit<Manifest, 'weights' | 'files'>;
  /** WGSL by file name. */
  readonly kernels: ReadonlyMap<string, string>;
  /** Absent for a bundle without checkpoint. */
  readonly weights?: WeightsToWrite;
  /** Folder of the checkpoint whose tokenizer and preprocessing travel with the bundle. */
  readonly checkpoint?: string;
}

/** What a runtime needs of a checkpoint besides its weights, where the checkpoint has it. */
const travelling = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json', 'preprocessor_config.json', 'processor_config.json', 'generation_config.json'];

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Writes the bundle to `folder`; an older bundle there is replaced, anything else is left alone. When something fails, nothing is
 * left half-written. When the process is killed, the finished weight files are kept beside, and used by the next call
 * with the same content.
 * @throws UserError when `folder` holds something that is no bundle, or cannot be written.
 */
export async function writeBundle(folder: string, content: BundleContent, options: WriteWeightsOptions = {}): Promise<Manifest> {
  const target = resolve(folder);
  await checkReplaceable(target);
  let work: WorkFolder | undefined;
  try {
    work = await WorkFolder.open(target, content.weights ? weightsKey(content.weights, options) : 'no weights');
    if (content.weights) await checkRoom(work.path, content.weights, options);
    const weights = content.weights ? await writeWeights(work, content.weights, options) : [];
    await makeFolder(join(work.path, 'kernels'));
    for (const [file, text] of content.kernels) await writeFile(join(work.path, file), text);
    const files: Manifest['files'] = [];
    for (const file of content.checkpoint ? travelling : []) {
      const from = join(content.checkpoint!, file);
      if (!existsSync(from)) continue;
      const bytes = readFileSync(from);
      await writeFile(join(work.path, file), bytes);
      files.push({ file, bytes: bytes.length, sha256: sha256(bytes) });
    }
    const manifest: Manifest = { ...content.manifest, weights, files };
    await writeFile(join(work.path, 'bundle.d.ts'), bundleTypes(manifest));
    await writeFile(join(work.path, 'bundle.json'), JSON.stringify(manifest, undefined, 1) + '\n');
    await work.publish();
    return manifest;
  } catch (error) {
    await work?.remove();
    throw explain(error, target);
  }
}

/** A disk that is too small says so before anything is computed. What an earlier run left in the work folder counts as free. */
async function checkRoom(path: string, weights: WeightsToWrite, options: WriteWeightsOptions): Promise<void> {
  const shards = shardsOf(weights, options), { bavail, bsize } = await statfs(path);
  const need = shards.reduce((n, s) => n + s.bytes, 0), there = shards.reduce((n, s) => n + sizeOf(join(path, s.file)), 0), free = bavail * bsize;
  if (need > there + free) throw new UserError(`The weights take ${need} bytes, and ${dirname(path)} has ${free} left. Free some space, write to another disk, or compile to fewer bits (--quant).`);
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

async function checkReplaceable(target: string): Promise<void> {
  if (!existsSync(target)) return;
  let entries: string[];
  try {
    entries = await readdir(target);
  } catch (cause) {
    throw new UserError(`${target} is a file, and a folder was expected for the bundle. Choose another name.`, undefined, { cause });
  }
  if (entries.length && !entries.includes('bundle.json')) throw new UserError(`${target} holds ${entries.length} file(s) and is no bundle, so it is not replaced. Choose another folder, or empty it.`);
}
