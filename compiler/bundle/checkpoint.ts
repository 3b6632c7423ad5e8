/** A Hugging Face checkpoint folder: its config, its tokenizer's files, and its tensors, in one file or in shards. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../ir/errors.ts';
import { fileSource } from '../../runtime/node-files.ts';
import type { TensorEntry } from '../../runtime/safetensors.ts';
import { Safetensors, assertFinite, toF32 } from '../../runtime/safetensors.ts';
import type { WeightSource } from './weight-source.ts';

export class Checkpoint {
  private constructor(
    readonly folder: string,
    /** Parsed `config.json`. */
    readonly config: Readonly<Record<string, unknown>>,
    private readonly files: readonly Safetensors[],
    private readonly home: ReadonlyMap<string, Safetensors>,
  ) {}

  /** @throws UserError when the folder or its config is missing, or index and shards disagree; RuntimeError `format` for a damaged file. */
  static async open(folder: string): Promise<Checkpoint> {
    const config = readJson(join(folder, 'config.json'));
    const files: Safetensors[] = [], home = new Map<string, Safetensors>();
    try {
      for (const file of weightFiles(folder)) {
        const opened = await openFile(join(folder, file));
        files.push(opened);
        for (const name of opened.tensors.keys()) {
          const other = home.get(name);
          if (other) throw new UserError(`Tensor '${name}' stands in ${other.label} and in ${opened.label}. Remove the file that does not belong to this checkpoint.`);
          home.set(name, opened);
        }
      }
      checkIndex(folder, home);
    } catch (e) {
      await Promise.all(files.map((f) => f.close()));
      throw e;
    }
    return new Checkpoint(folder, config, files, home);
  }

  /** Matrices that lie in a tensor of the files, by names of their own. */
  private readonly slices = new Map<string, { readonly of: string; readonly entry: TensorEntry }>();

  get names(): readonly string[] { return [...this.home.keys()]; }
  entry(name: string): TensorEntry | undefined { return this.slices.get(name)?.entry ?? this.home.get(name)?.entry(name); }

  /** Names a matrix that lies in tensor `of`: `shape[0]` rows from row `first` on, all leading dims of the tensor taken as rows. */
  slice(name: string, of: string, first: number, shape: readonly number[]): void {
    const whole = this.home.get(of)!.entry(of), rowBytes = (whole.bytes / whole.shape.reduce((a, b) => a * b, 1)) * shape.at(-1)!;
    this.slices.set(name, { of, entry: { ...whole, shape: [...shape], offset: whole.offset + first * rowBytes, bytes: shape[0]! * rowBytes } });
  }

  /** Where a tensor's data lies. @throws UserError when the checkpoint does not have it */
  source(name: string): WeightSource {
    const { file, entry: { offset, dtype, shape } } = this.find(name);
    return { name, path: file.label, offset, dtype, shape };
  }

  private find(name: string): { readonly file: Safetensors; readonly of: string; readonly entry: TensorEntry } {
    const slice = this.slices.get(name), of = slice?.of ?? name, file = this.home.get(of);
    if (!file) throw new UserError(`The checkpoint ${this.folder} has no tensor '${name}'.`);
    return { file, of, entry: slice?.entry ?? file.entry(name) };
  }

  /** Rows `[from, from + count)` of a tensor's first dim as f32. Throws when one of them is no finite number. */
  async rows(name: string, from: number, count: number): Promise<Float32Array> {
    const { file, of, entry } = this.find(name), rowBytes = entry.bytes / (entry.shape[0] ?? 1), first = entry.offset - file.entry(of).offset;
    const values = toF32(await file.bytes(of, first + from * rowBytes, count * rowBytes), entry.dtype, `Tensor '${name}' of ${file.label}`);
    assertFinite(values, { name, shape: [count, ...entry.shape.slice(1)] }, file.label);
    return values;
  }

  async close(): Promise<void> { await Promise.all(this.files.map((f) => f.close())); }
}

async function openFile(path: string): Promise<Safetensors> {
  const source = await fileSource(path);
  try {
    return await Safetensors.open(source);
  } catch (e) {
    await source.close();
    throw e;
  }
}

export function readJson(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new UserError(`${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'no such file'}). A Hugging Face checkpoint folder with config.json was expected.`, undefined, { cause });
  }
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  } catch (cause) {
    throw new UserError(`${path} is not JSON (${(cause as Error).message}). Fetch it again.`, undefined, { cause });
  }
  throw new UserError(`${path} holds no JSON object. Fetch it again.`);
}

const single = 'model.safetensors', index = 'model.safetensors.index.json';

function weightFiles(folder: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new UserError(`${folder} is no folder. Give a Hugging Face checkpoint folder.`);
  if (existsSync(join(folder, index))) {
    const files = [...new Set(Object.values(weightMap(folder)))];
    for (const f of files) if (!existsSync(join(folder, f))) throw new UserError(`The shard ${f} is missing from ${folder}; ${index} names it. Fetch the checkpoint again.`);
    return files.sort();
  }
  if (existsSync(join(folder, single))) return [single];
  throw new UserError(`${folder} has neither ${single} nor ${index}. Fetch the checkpoint in safetensors format, or convert it.`);
}

function weightMap(folder: string): Record<string, string> {
  const map = readJson(join(folder, index))['weight_map'];
  if (typeof map !== 'object' || map === null || Object.values(map).some((f) => typeof f !== 'string' || f.includes('/') || f.includes('\\')))
    throw new UserError(`${join(folder, index)} has no 'weight_map' from tensor names to file names. Fetch it again.`);
  return map as Record<string, string>;
}

/** That the index and the shards say the same. */
function checkIndex(folder: string, home: ReadonlyMap<string, Safetensors>): void {
  if (!existsSync(join(folder, index))) return;
  const map = weightMap(folder);
  for (const [name, file] of Object.entries(map)) {
    const at = home.get(name)?.label;
    if (!at?.endsWith(file)) throw new UserError(`${index} of ${folder} says that tensor '${name}' is in ${file}, but ${at ? `it is in ${at}` : 'no shard has it'}. A shard belongs to another checkpoint: fetch it again.`);
  }
  for (const [name, { label }] of home) if (!Object.hasOwn(map, name)) throw new UserError(`${label} holds the tensor '${name}', which ${index} does not name. A shard belongs to another checkpoint: fetch it again.`);
}
