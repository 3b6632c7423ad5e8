import * as v from 'valibot';
import { RuntimeError } from './errors.ts';
import type { Manifest, Target } from './manifest.ts';
import { manifestSchema, schemaVersion } from './manifest.ts';
import type { ByteSource } from './sources.ts';

/** Opens the files of a bundle by their name in it: a folder on disk, or a URL. */
export interface BundleFiles {
  /** What to call the bundle in an error message. */
  readonly label: string;
  open(file: string): Promise<ByteSource>;
}

/** A bundle whose manifest has been read and checked. Its other files are checked as they are read. */
export interface Bundle {
  readonly label: string;
  readonly manifest: Manifest;
  readonly files: BundleFiles;
}

const mend = 'Compile the bundle anew with `eemllm compile`, or fetch it again.';

export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (b) => b.toString(16).padStart(2, '0')).join('');
}

/**
 * Reads and checks `bundle.json`.
 * @throws RuntimeError `bundle` when it is missing, of another schema version, or not as the schema says.
 */
export async function openBundle(files: BundleFiles): Promise<Bundle> {
  const text = new TextDecoder().decode(await readAll(files, 'bundle.json'));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RuntimeError('bundle', `${files.label}/bundle.json is not JSON (${(cause as Error).message}). ${mend}`, { cause });
  }
  const version = typeof json === 'object' && json !== null ? (json as { schema?: unknown }).schema : undefined;
  if (version !== schemaVersion)
    throw new RuntimeError('bundle', `${files.label}/bundle.json has schema version ${JSON.stringify(version)}, this runtime reads version ${schemaVersion}. ${typeof version === 'number' && version > schemaVersion ? 'Update the runtime' : 'Compile the bundle anew with `eemllm compile`'}.`);
  const checked = v.safeParse(manifestSchema, json, { abortEarly: true });
  if (!checked.success) {
    const issue = checked.issues[0];
    throw new RuntimeError('bundle', `${files.label}/bundle.json is not as its schema says at '${v.getDotPath(issue) ?? 'the top'}': ${issue.message}. ${mend}`);
  }
  return { label: files.label, manifest: checked.output, files };
}

export async function readAll(files: BundleFiles, file: string): Promise<Uint8Array> {
  const source = await files.open(file);
  try {
    return await source.read(0, source.size);
  } finally {
    await source.close?.();
  }
}

/** A file of the bundle, compared with the hash that the manifest gives. */
export async function readChecked(bundle: Bundle, entry: { file: string; sha256: string }): Promise<Uint8Array> {
  const bytes = await readAll(bundle.files, entry.file);
  if ((await sha256(bytes)) !== entry.sha256)
    throw new RuntimeError('bundle', `${bundle.label}/${entry.file} is not the file that the bundle was made with: its SHA-256 differs from the one in bundle.json. ${mend}`);
  return bytes;
}

/** The text of one of the checkpoint's files that travel with the bundle; undefined if the checkpoint had none. */
export async function readText(bundle: Bundle, file: string): Promise<string | undefined> {
  const entry = bundle.manifest.files.find((f) => f.file === file);
  return entry && new TextDecoder().decode(await readChecked(bundle, entry));
}

/** What a device tells of itself besides features; a `GPUDevice` is one. */
export interface DeviceTraits {
  readonly limits?: Readonly<Partial<Record<string, number>>> | GPUSupportedLimits;
  readonly adapterInfo?: Partial<GPUAdapterInfo>;
}

/**
 * All programs of the bundle that the device can run, the closest first: those measured on this very adapter, then on one
 * of the same vendor and architecture, then those of its class. A device of which nothing is told gets those of its class.
 * `foreign`: then those measured on other adapters too, which it can run as well.
 */
export function fittingTargets({ manifest }: Bundle, features: ReadonlySet<string>, software: boolean, traits: DeviceTraits = {}, foreign = false): Target[] {
  return manifest.targets
    .filter((t) => (t.device === 'any' || (t.device === 'software') === software) && t.features.every((f) => features.has(f)) && meets(t.needs, traits))
    .map((target, i) => ({ target, i, rank: closeness(target.adapter, traits.adapterInfo) }))
    .filter(({ rank }) => rank > 0 || foreign)
    .sort((a, b) => b.rank - a.rank || a.i - b.i)
    .map(({ target }) => target);
}

/** The closest program of the bundle that the device can run. */
export function chooseTarget(bundle: Bundle, features: ReadonlySet<string>, software: boolean, traits?: DeviceTraits): Target {
  const [fit] = fittingTargets(bundle, features, software, traits);
  if (!fit) {
    const needs = bundle.manifest.targets.map((t) => `${t.name} (${[t.device, ...t.features].join(', ')})`).join('; ');
    throw new RuntimeError('device', `No program of ${bundle.label} runs on this device. The bundle has ${needs}; the device is ${software ? 'software' : 'a GPU'} with features ${[...features].join(', ') || 'none'}. Compile the bundle for this device.`);
  }
  return fit;
}

/** 3 for the adapter itself, 2 for one of its make, 1 for a program of the whole class, 0 for a program of another adapter. */
function closeness(adapter: Target['adapter'], info: DeviceTraits['adapterInfo'] = {}): number {
  if (!adapter) return 1;
  const same = (key: keyof typeof adapter): boolean => adapter[key] === (info[key] ?? '');
  if (!same('vendor') || !same('architecture')) return 0;
  if (same('device') && same('description')) return adapter.vendor || adapter.device || adapter.description ? 3 : 0;
  return adapter.vendor && adapter.architecture ? 2 : 0;
}

function meets(needs: Target['needs'], { limits = {}, adapterInfo: info = {} }: DeviceTraits): boolean {
  if (!needs) return true;
  const has = limits as Readonly<Record<string, number | undefined>>, { subgroups: s, subgroupMatrix: m = [] } = needs;
  const configs = (info as { subgroupMatrixConfigs?: readonly { M: number; N: number; K: number; componentType: string; resultComponentType: string }[] }).subgroupMatrixConfigs ?? [];
  return Object.entries(needs.limits ?? {}).every(([key, n]) => (has[key] ?? 0) >= n)
    && (!s || ((info.subgroupMinSize ?? 0) >= s.min && (info.subgroupMaxSize ?? Infinity) <= s.max))
    && m.every((want) => configs.some((c) => c.M === want.M && c.N === want.N && c.K === want.K && c.componentType === want.component && c.resultComponentType === want.result));
}
