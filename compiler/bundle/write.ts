/** Writes a bundle as a folder: built beside its final place, then moved there whole. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../ir/errors.ts';
import type { Manifest } from '../../runtime/manifest.ts';
import { bundleTypes } from './bindings.ts';
import type { TensorToWrite } from './safetensors-writer.ts';
import { explain, makeFolder, writeSafetensors } from './safetensors-writer.ts';

export interface BundleContent {
  /** Without `weights` and `files`: they are known once written. */
  readonly manifest: Omit<Manifest, 'weights' | 'files'>;
  /** WGSL by file name. */
  readonly kernels: ReadonlyMap<string, string>;
  /** Weights, in the order of their data; none for a bundle without checkpoint. */
  readonly tensors: readonly TensorToWrite[];
  /** Folder of the checkpoint whose tokenizer and preprocessing travel with the bundle. */
  readonly checkpoint?: string;
}

/** What a runtime needs of a checkpoint besides its weights, where the checkpoint has it. */
const travelling = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json', 'preprocessor_config.json', 'processor_config.json', 'generation_config.json'];
/** Shards of at most this size can be cached by browsers and CDNs. */
const shardBytes = 512 * 1000 * 1000;

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Writes the bundle to `folder`; an older bundle there is replaced, anything else is left alone.
 * @throws UserError when `folder` holds something that is no bundle, or cannot be written. Nothing is left half-written.
 */
export async function writeBundle(folder: string, content: BundleContent): Promise<Manifest> {
  const target = resolve(folder), parent = dirname(target);
  await checkReplaceable(target);
  const tag = randomBytes(4).toString('hex');
  const work = join(parent, `.${basename(target)}.${tag}.tmp`), old = join(parent, `.${basename(target)}.${tag}.old`);
  try {
    await makeFolder(join(work, 'kernels'));
    for (const [file, text] of content.kernels) await writeFile(join(work, file), text);
    const files: Manifest['files'] = [];
    for (const file of content.checkpoint ? travelling : []) {
      const from = join(content.checkpoint!, file);
      if (!existsSync(from)) continue;
      const bytes = readFileSync(from);
      await writeFile(join(work, file), bytes);
      files.push({ file, bytes: bytes.length, sha256: sha256(bytes) });
    }
    const shards = content.tensors.length ? await writeSafetensors(work, content.tensors, { maxShardBytes: shardBytes }) : [];
    const manifest: Manifest = { ...content.manifest, weights: shards.map(({ file, bytes, sha256: hash }) => ({ file, bytes, sha256: hash })), files };
    await writeFile(join(work, 'bundle.d.ts'), bundleTypes(manifest));
    await writeFile(join(work, 'bundle.json'), JSON.stringify(manifest, undefined, 1) + '\n');
    if (existsSync(target)) await rename(target, old);
    await rename(work, target);
    await rm(old, { recursive: true, force: true });
    return manifest;
  } catch (error) {
    if (!existsSync(target) && existsSync(old)) await rename(old, target);
    await rm(work, { recursive: true, force: true }).catch(() => undefined);
    throw explain(error, target);
  }
}

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
