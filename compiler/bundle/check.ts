/** A bundle on disk compared with its manifest, file by file and byte by byte: all that is wrong with it, not just the first fault. */
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Bundle } from '../../runtime/bundle.ts';
import { readChecked } from '../../runtime/bundle.ts';
import type { Manifest } from '../../runtime/manifest.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import type { WeightFile } from '../../runtime/pieces.ts';
import { readPieces } from '../../runtime/pieces.ts';
import { Safetensors } from '../../runtime/safetensors.ts';

export interface BundleCheck {
  /** Files that were compared, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** One sentence or two each. */
  readonly faults: readonly string[];
  /** Files that the manifest does not name; nobody reads them. */
  readonly strangers: readonly string[];
}
/** Bytes by tensor, and the file that has it. */
type Found = Map<string, { readonly bytes: number; readonly file: string }>;

/** @throws RuntimeError `bundle` for a folder whose manifest cannot be read: then there is nothing to compare with */
export async function checkBundle(folder: string, onProgress?: (done: number, total: number) => void): Promise<BundleCheck> {
  const bundle = await openBundleFolder(folder), { manifest } = bundle, faults: string[] = [], tensors: Found = new Map(), weights = manifest.weights.reduce((n, w) => n + w.bytes, 0);
  const small = new Map([...manifest.targets.flatMap((t) => Object.values(t.kernels)), ...manifest.files].map((f) => [f.file, f]));
  let bytes = 0;
  const noting = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (e) {
      if ((e as { exitCode?: unknown }).exitCode !== 1) throw e;
      faults.push((e as Error).message);
    }
  };
  for (const entry of small.values()) await noting(async () => { bytes += (await readChecked(bundle, entry)).byteLength; });
  let done = 0;
  for (const file of manifest.weights) {
    await noting(() => checkShard(bundle, file, tensors, faults, (n) => { bytes += n; onProgress?.((done += n), weights); }));
  }
  if (manifest.weights.length) faults.push(...comparePlan(bundle.label, manifest, tensors));
  return { files: small.size + manifest.weights.length + 1, bytes, faults, strangers: await strangersIn(folder, [...small.keys(), ...manifest.weights.map((w) => w.file)]) };
}

/** Length, header and hashes. What its header names is added to `tensors`, whatever the hashes say. */
async function checkShard(bundle: Bundle, file: WeightFile, tensors: Found, faults: string[], onBytes: (n: number) => void): Promise<void> {
  const source = await bundle.files.open(file.file);
  try {
    const { tensors: own } = await Safetensors.open(source);
    for (const t of own.values()) {
      const other = tensors.get(t.name);
      if (other) faults.push(`Tensor '${t.name}' stands in ${other.file} and in ${file.file} of ${bundle.label}. One of the files belongs to another bundle.`);
      tensors.set(t.name, { bytes: t.bytes, file: file.file });
    }
    for await (const piece of readPieces(source, file)) onBytes(piece.bytes.byteLength);
  } finally {
    await source.close?.();
  }
}

/** The tensors that programs read, beside those that are there. */
function comparePlan(label: string, manifest: Manifest, tensors: Found): string[] {
  const wanted = new Map(manifest.targets.flatMap((t) => Object.values(t.buffers)).flatMap((b) => (b.kind === 'weight' ? b.parts.map((p) => [p.tensor, p.bytes] as const) : [])));
  const missing = [...wanted.keys()].filter((name) => !tensors.has(name)), faults: string[] = [];
  if (missing.length) faults.push(`${missing.length} tensor(s) that ${label} needs, such as '${missing[0]}', are in none of its weight files. A file is missing or belongs to another model: compile the bundle anew, or fetch it again.`);
  for (const [name, { bytes, file }] of tensors) {
    const want = wanted.get(name);
    if (want === undefined) faults.push(`${file} of ${label} holds the tensor '${name}', which no program of the bundle reads. The file belongs to another model.`);
    else if (want !== bytes) faults.push(`Tensor '${name}' of ${label}/${file} has ${bytes} bytes, and the programs read ${want}. The file belongs to another model.`);
  }
  return faults.length > most ? [...faults.slice(0, most), `… and ${faults.length - most} more of the kind.`] : faults;
}
/** Faults of tensors that are told. */
const most = 8;

async function strangersIn(folder: string, known: readonly string[]): Promise<string[]> {
  const own = new Set([...known, 'bundle.json', 'bundle.d.ts']), entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((e) => e.isFile()).map((e) => relative(folder, join(e.parentPath ?? e.path, e.name)).replaceAll('\\', '/')).filter((f) => !own.has(f)).sort();
}
