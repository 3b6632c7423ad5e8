/**
 * A golden file: what a reference implementation computed for a checkpoint. `golden.json` describes prompts and variants,
 * `golden.safetensors` beside it holds the tensors (layout: test/fixtures/README.md).
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { fileSource } from '../../runtime/node-files.ts';
import { Safetensors } from '../../runtime/safetensors.ts';
import { readJson } from '../bundle/checkpoint.ts';
import { UserError } from '../ir/errors.ts';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

const caseSchema = v.object({
  name: v.string(),
  /** One image mark for each picture, before it is written as often as the picture has rows. */
  prompt: v.string(),
  /** Numbers of the pictures, as in `images.K.rgb`; empty where visual rows are given as embeddings. */
  images: v.optional(v.array(count), []),
  /** The pictures' files, relative to the golden file. */
  image_files: v.optional(v.array(v.string()), []),
  num_positions: count,
  num_visual: count,
  visual_tokens_per_image: v.optional(count),
  /** Rows of each image whose embeddings are given. */
  pseudo_visual_lengths: v.optional(v.array(count), []),
  tensors: v.array(v.tuple([v.string(), v.array(count)])),
  variants: v.record(v.string(), v.object({ generated: v.array(count) })),
});
const schema = v.object({
  model: v.optional(v.string()),
  image_token_id: v.optional(count),
  /** Tensors of the checkpoint that the reference read. */
  checkpoint_tensors: v.optional(count),
  variant_parameters: v.optional(v.record(v.string(), v.object({ composite_layers: v.optional(v.array(count)) })), {}),
  cases: v.array(caseSchema),
});
export type GoldenCase = v.InferOutput<typeof caseSchema>;
export type GoldenDescription = v.InferOutput<typeof schema>;

export type Numbers = Float32Array | Int32Array | Uint8Array;

export class Golden {
  private constructor(readonly file: string, readonly description: GoldenDescription, private readonly tensors: Safetensors) {}

  /** @throws UserError when a file is missing or not of this layout; RuntimeError `format` for a damaged tensor file. */
  static async open(file: string): Promise<Golden> {
    if (!existsSync(file)) throw new UserError(`There is no golden file ${file}. Name the golden.json of a reference run with --golden FILE.`);
    const parsed = v.safeParse(schema, readJson(file), { abortEarly: true });
    if (!parsed.success) {
      const issue = parsed.issues[0];
      throw new UserError(`${file} is no golden file: at '${v.getDotPath(issue) ?? 'the top'}' ${issue.message}. Expected is the golden.json of a reference run (test/fixtures/README.md says how it is laid out).`);
    }
    const data = file.replace(/\.json$/, '') + '.safetensors';
    if (!existsSync(data)) throw new UserError(`${file} has no tensors beside it: ${data} is missing. Fetch both files of the reference run.`);
    return new Golden(file, parsed.output, await Safetensors.open(await fileSource(data)));
  }

  get folder(): string { return dirname(this.file); }
  path(file: string): string { return join(this.folder, file); }

  /** Names of all tensors; those of a case begin with its name and a dot. */
  get names(): string[] { return [...this.tensors.tensors.keys()]; }
  has(name: string): boolean { return this.tensors.tensors.has(name); }
  shape(name: string): readonly number[] { return this.entry(name).shape; }

  /** The values of a tensor. @throws UserError when it is missing or of a dtype that golden files do not have. */
  async read(name: string): Promise<Numbers> {
    const { dtype } = this.entry(name), bytes = (await this.tensors.bytes(name)).slice().buffer;
    switch (dtype) {
      case 'F32': return new Float32Array(bytes);
      case 'I32': return new Int32Array(bytes);
      case 'I64': return Int32Array.from(new BigInt64Array(bytes), Number);
      case 'U8': case 'BOOL': return new Uint8Array(bytes);
      default: throw new UserError(`Tensor '${name}' of ${this.tensors.label} is ${dtype}; golden files hold F32, I32, I64, U8 and BOOL.`);
    }
  }

  /** F32 values of a tensor. */
  async floats(name: string): Promise<Float32Array> {
    const x = await this.read(name);
    if (x instanceof Float32Array) return x;
    throw new UserError(`Tensor '${name}' of ${this.tensors.label} holds whole numbers; F32 was expected.`);
  }

  private entry(name: string) {
    const e = this.tensors.tensors.get(name);
    if (!e) throw new UserError(`${this.tensors.label} has no tensor '${name}', which ${this.file} speaks of. The two files belong to different runs, or one is cut short.`);
    return e;
  }

  async close(): Promise<void> { await this.tensors.close(); }
}
