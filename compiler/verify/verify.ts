/**
 * Verification: the compiled program against what a reference implementation computed, tensor by tensor.
 *
 * Each variant is compiled twice: with taps, which gives all values in between, and as `compile` does it, which gives
 * caches, logits and greedy tokens. Both go the whole way, through passes, staging and fusion, and run on the
 * interpreter or, lowered, on a device. While decoding, the model is given the expected tokens, so that logits stay
 * comparable after a token that differs.
 */
import { basename, join } from 'node:path';
import type { AdapterPreference, FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { QuantiseRules } from '../../passes/quantise.ts';
import type { Checkpoint } from '../bundle/checkpoint.ts';
import { storedAs } from '../bundle/quantise.ts';
import type { ModelSource } from '../cli/model.ts';
import { findModel, openCheckpoint } from '../cli/model.ts';
import type { Compiled, CompileOptions } from '../compile.ts';
import { compile } from '../compile.ts';
import type { Traced } from '../frontend/trace.ts';
import { trace } from '../frontend/trace.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph } from '../ir/graph.ts';
import type { StateFormatKind } from '../ir/state-format.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { printWeightFormat } from '../ir/weight-format.ts';
import { tilingOf } from '../tiling.ts';
import { DeviceEngine } from './device.ts';
import type { Engine } from './engine.ts';
import { Golden } from './golden.ts';
import { InterpreterEngine } from './interpreter.ts';
import { Recorder } from './recorder.ts';
import type { TokensResult, VerifyReport } from './report.ts';
import { toleranceOf } from './compare.ts';
import { compareMasks, compareRope, comparePictures } from './static.ts';
import { runCase } from './run-case.ts';
import { decoderPath, withTaps } from './taps.ts';
import { chooseVariants, variantOf } from './variants.ts';

export interface VerifyOptions {
  /** `golden.json` of the checkpoint's folder by default. */
  readonly golden?: string;
  /** Names as in the golden file; by default all that this compiler has. */
  readonly variants?: readonly string[];
  readonly dtype: 'f32' | 'f16';
  /** Which matrices are quantised; the reference ran without. */
  readonly quantise?: QuantiseRules;
  /** How keys and values are held; the reference holds them in f32. */
  readonly kv?: StateFormatKind;
  readonly backend: 'gpu' | 'interpreter';
  readonly adapter?: AdapterPreference;
  /** Only these cases; all by default. */
  readonly cases?: readonly string[];
  readonly onProgress?: (done: number, total: number) => void;
}

interface Accelerator { readonly adapter: FoundAdapter; readonly device: OpenDevice }

/** @throws UserError for a missing or foreign golden file, or an unknown variant; RuntimeError for a damaged file or no adapter. */
export async function verify(checkpoint: string, options: VerifyOptions): Promise<VerifyReport> {
  const source = await findModel(checkpoint);
  if (source.checkpoint === undefined) throw new UserError(`'${checkpoint}' is no checkpoint folder. verify runs a model with its weights: name a Hugging Face checkpoint folder.`);
  const golden = await Golden.open(options.golden ?? join(checkpoint, 'golden.json'));
  let gpu: Accelerator | undefined;
  try {
    const variants = chooseVariants(golden, options.variants), record = new Recorder(golden, (quantity) => toleranceOf(quantity, options.dtype, options.quantise, options.kv)), tokens: TokensResult[] = [];
    const cases = casesOf(golden, options.cases), total = variants.length * cases.length;
    if (options.backend === 'gpu') {
      const adapter = await findAdapter(options.adapter ? { prefer: options.adapter } : {});
      gpu = { adapter, device: await adapter.open() };
    }
    let done = 0;
    for (const variant of variants) {
      const run = await prepare(source, golden, variantOf(golden, variant), options, gpu);
      try {
        if (!done) { await comparePictures(record, golden); await compareRope(record, run.traced); }
        for (const c of cases) {
          if (variant in c.variants) {
            await compareMasks(record, golden, c, source);
            tokens.push(await runCase({ ...run, record, golden, case: c, variant, folder: checkpoint }));
          }
          options.onProgress?.(++done, total);
        }
      } finally {
        run.close();
      }
    }
    const ok = record.results.every((r) => r.ok) && (options.dtype === 'f16' || options.quantise !== undefined || (options.kv ?? 'f32') !== 'f32' || tokens.every((t) => t.equal));
    return {
      checkpoint, golden: golden.file, backend: options.backend, ...(gpu ? { adapter: gpu.adapter.name } : {}), dtype: options.dtype, ...(options.quantise ? { quantised: printWeightFormat(options.quantise.format) } : {}), ...(options.kv ? { kv: options.kv } : {}), variants,
      tensors: record.results, tokens, notCompared: record.rest(variants), ok,
    };
  } finally {
    gpu?.device.close();
    await golden.close();
  }
}

function casesOf(golden: Golden, asked: readonly string[] | undefined) {
  const { cases } = golden.description, unknown = asked?.find((name) => !cases.some((c) => c.name === name));
  if (unknown !== undefined) throw new UserError(`${golden.file} has no case '${unknown}'. Its cases are ${cases.map((c) => c.name).join(', ')}.`);
  for (const c of cases) for (const [name, shape] of c.tensors)
    if (golden.shape(`${c.name}.${name}`).join() !== shape.join()) throw new UserError(`Tensor '${c.name}.${name}' is [${golden.shape(`${c.name}.${name}`).join(', ')}] in the tensors beside ${golden.file}, which says [${shape.join(', ')}]. The two files belong to different runs.`);
  return asked ? cases.filter((c) => asked.includes(c.name)) : cases;
}

/** A variant, compiled with taps and without, ready to run. */
export interface Prepared {
  readonly traced: Traced;
  readonly taps: ReturnType<typeof withTaps>['taps'];
  readonly tapped: Engine;
  readonly plain: Engine;
  readonly compiled: Compiled;
  readonly decoder: string;
  /** The image token's row of the embedding table, as the checkpoint has it. */
  readonly imageEmbedding: Float32Array | undefined;
}

async function prepare(source: ModelSource, golden: Golden, variant: string, options: VerifyOptions, gpu: Accelerator | undefined): Promise<Prepared & { close(): void }> {
  const model = source.create(variant), tiling = tilingOf(model), traced = trace(model, { name: source.name }), decoder = decoderPath(traced);
  const { files, nameOf } = await openCheckpoint(source.checkpoint!, traced.parameters);
  try {
    const expected = golden.description.checkpoint_tensors;
    if (expected !== undefined && expected !== files.names.length) throw new UserError(`${golden.file} was made with a checkpoint of ${expected} tensors${golden.description.model ? ` ('${golden.description.model}')` : ''}, and ${source.checkpoint} has ${files.names.length}. The golden file belongs to another model.`);
    const { graph, taps } = withTaps(traced);
    const compileOptions: CompileOptions = {
      name: basename(source.name), type: source.type, variant, dtype: options.dtype, ...(options.quantise ? { quantise: options.quantise } : {}), ...(options.kv ? { kv: options.kv } : {}), ...capacities(golden), checkpoint: { files, nameOf },
      ...(tiling && { tiling }), targets: !gpu ? [] : [gpu.adapter.software ? 'software' : 'gpu'],
    };
    const compiled = compile(traced.graph, compileOptions), withValues = compile(graph, compileOptions);
    const weights = options.backend === 'interpreter' ? await readWeights(files, nameOf, graph, new Map([...compiled.formats, ...withValues.formats])) : undefined;
    const open: DeviceEngine[] = [];
    const engine = async (c: Compiled): Promise<Engine> => {
      if (!gpu) return new InterpreterEngine(c.entries, weights!);
      open.push(await DeviceEngine.open(c, gpu.adapter, gpu.device));
      return open.at(-1)!;
    };
    const id = golden.description.image_token_id, table = nameOf(`${decoder}.embed_tokens.weight`), vocabulary = files.entry(table)?.shape[0] ?? 0;
    if (id !== undefined && id >= vocabulary) throw new UserError(`${golden.file} names the image token ${id}, and ${source.checkpoint} has ${vocabulary} tokens. The golden file belongs to another model.`);
    const imageEmbedding = id === undefined ? undefined : await files.rows(table, id, 1);
    return { traced, taps, decoder, compiled, imageEmbedding, plain: await engine(compiled), tapped: await engine(withoutDecode(withValues)), close: () => open.forEach((e) => e.destroy()) };
  } finally {
    await files.close();
  }
}

/** Values in between are wanted of the prompt alone; kernels of `decode` need not be made. */
function withoutDecode(compiled: Compiled): Compiled {
  const { manifest } = compiled.content;
  const targets = manifest.targets.map((t) => {
    const entries = Object.fromEntries(Object.entries(t.entries).filter(([name]) => name !== 'decode'));
    const used = new Set(Object.values(entries).flatMap((e) => e.dispatches.flatMap((d) => [d.kernel, ...(d.few ? [d.few.kernel] : [])])));
    return { ...t, entries, kernels: Object.fromEntries(Object.entries(t.kernels).filter(([id]) => used.has(id))) };
  });
  return { ...compiled, content: { ...compiled.content, manifest: { ...manifest, targets } } };
}

/** Room for the longest case and its answer. */
function capacities({ description: { cases } }: Golden): { maxVisual: number; maxText: number } {
  const answer = Math.max(...cases.flatMap((c) => Object.values(c.variants).map((v) => v.generated.length)));
  return { maxVisual: Math.max(1, ...cases.map((c) => c.num_visual)), maxText: Math.max(...cases.map((c) => c.num_positions - c.num_visual)) + answer };
}

/** The weights as the device would hold them, in the format of each: rounded, or quantised and back. */
async function readWeights(files: Checkpoint, nameOf: (name: string) => string, g: Graph, formats: ReadonlyMap<string, WeightFormat>): Promise<Map<string, Float32Array>> {
  const out = new Map<string, Float32Array>();
  for (const name of g.weights.keys()) {
    const stored = nameOf(name), [rows] = files.entry(stored)!.shape as [number], values = await files.rows(stored, 0, rows);
    out.set(name, storedAs(formats.get(name) ?? { kind: 'f32' }, values, values.length / rows, name));
  }
  return out;
}
