/** The runtime in Node: bundles from folders, pictures from files, a device through Dawn. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Bundle, BundleFiles } from './bundle.ts';
import { openBundle } from './bundle.ts';
import type { DeviceOptions, OpenDevice } from './device.ts';
import { RuntimeError } from './errors.ts';
import type { LoadOptions } from './model.ts';
import { Model } from './model.ts';
import type { AdapterOptions, FoundAdapter } from './node-adapter.ts';
import { findAdapter } from './node-adapter.ts';
import { fileSource } from './node-files.ts';

export * from './index.ts';
export { findAdapter } from './node-adapter.ts';
export type { AdapterKind, AdapterPreference, FoundAdapter } from './node-adapter.ts';
export { decodeImage } from './node-image.ts';

/** The files of a bundle in a folder. */
export function folderFiles(folder: string): BundleFiles {
  return { label: folder, open: (file) => fileSource(join(folder, file)) };
}

/** @throws RuntimeError `bundle` when the folder holds no bundle that this runtime reads. */
export async function openBundleFolder(folder: string): Promise<Bundle> {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new RuntimeError('bundle', `${folder} is no folder. Give the folder of a bundle, as \`eemllm compile … -o FOLDER\` makes it.`);
  if (!existsSync(join(folder, 'bundle.json')))
    throw new RuntimeError('bundle', `${folder} has no bundle.json, so it is no bundle.${existsSync(join(folder, 'config.json')) ? ' It looks like a checkpoint: compile it first, with `eemllm compile`.' : ' Give the folder that `eemllm compile … -o FOLDER` made.'}`);
  return openBundle(folderFiles(folder));
}

export interface LoadedModel {
  readonly model: Model;
  readonly adapter: FoundAdapter;
  readonly device: OpenDevice;
  /** Frees the model and its device. */
  close(): void;
}

/** A bundle on the best adapter of this machine (or the one that `adapter` asks for), ready to answer. */
export async function loadModel(folder: string, options: LoadOptions & { readonly adapter?: AdapterOptions; readonly device?: DeviceOptions } = {}): Promise<LoadedModel> {
  const bundle = await openBundleFolder(folder);
  const adapter = await findAdapter(options.adapter);
  const device = await adapter.open(options.device);
  try {
    const model = await device.guard(Model.load(bundle, device.device, { software: adapter.software, ...options }));
    device.check();
    return { model, adapter, device, close: () => { model.destroy(); device.close(); } };
  } catch (e) {
    device.close();
    throw e;
  }
}
