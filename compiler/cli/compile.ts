import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import pc from 'picocolors';
import { largestBinding } from '../../runtime/binding-limit.ts';
import { Tokenizer } from '../../runtime/tokenizer.ts';
import { readJson } from '../bundle/checkpoint.ts';
import { defaultBindingLimit } from '../bundle/binding-limit.ts';
import { writeBundle } from '../bundle/write.ts';
import type { WriteWeightsOptions } from '../bundle/write-weights.ts';
import type { CompileOptions } from '../compile.ts';
import { compile } from '../compile.ts';
import { trace } from '../frontend/trace.ts';
import { roomForPictures, tilingOf } from '../tiling.ts';
import { printGraph } from '../ir/print.ts';
import type { KvFlags } from './kv.ts';
import { kvOption } from './kv.ts';
import type { Choice } from '../schedule/chooser.ts';
import type { Arithmetic } from '../schedule/product-shape.ts';
import type { FamilyName } from '../schedule/wanted.ts';
import type { ModelSource } from './model.ts';
import { findModel, openCheckpoint } from './model.ts';
import { byteCount, collect, counting, milliseconds, precisionOf, printJson, si } from './output.ts';
import { progressBar } from './progress.ts';
import type { QuantFlags } from './quant.ts';
import { describeQuantisation, keepOption, quantOption, quantiseRules } from './quant.ts';
import { tablesWith } from './schedules.ts';

export interface CompileFlags extends QuantFlags, Partial<KvFlags> {
  name?: string; checkpoint?: string; mask?: string; dtype: 'f32' | 'f16'; maxVisual?: number; maxTiles?: number; maxText: number; bindingLimit?: number; schedules?: string[]; arithmetic?: Arithmetic; printAfter?: string; output: string; json?: boolean;
}

export const compileCommand = (): Command => new Command('compile')
  .description('Compile a model into a shader bundle: WGSL, plan and weights in one folder.')
  .argument('<model>', 'file.ts#Export, a built-in name, or a Hugging Face checkpoint folder')
  .option('--name <name>', 'what the bundle calls the model, to clients of `eemllm serve` too; by default the name of its folder')
  .option('--checkpoint <dir>', 'take config, weights and tokenizer from this folder')
  .option('--mask <variant>', "self, composite, ee-mllm-f:layers=0-15, shortv:layers=…, or a mask that the model's file exports; the model's own by default")
  .addOption(new Option('--dtype <dtype>', 'storage of the weight matrices').choices(['f32', 'f16']).default('f16'))
  .addOption(quantOption())
  .addOption(keepOption())
  .addOption(kvOption())
  .option('--max-visual <n>', 'most image rows of a conversation; 2048 by default, or the rows of the largest picture where they are more', counting('--max-visual', 1))
  .option('--max-tiles <n>', 'most tiles of an image, its overview among them, for models that gather their rows; those of the largest picture by default', counting('--max-tiles', 1))
  .option('--max-text <n>', 'most text rows of a conversation', counting('--max-text', 1), 1024)
  .option('--binding-limit <bytes>', 'most bytes of a buffer that a kernel may see at once, as in 1GiB: larger weights are split. What every WebGPU device allows by default', byteCount('--binding-limit'), defaultBindingLimit)
  .option('--schedules <file>', "measured schedules that eemllm tune wrote, besides those that come with the package; may be given several times. 'none': the defaults alone", collect)
  .addOption(new Option('--arithmetic <kind>', 'coarsest operands that products may be computed with, sums being f32 always; by default f16, and f32 for weights in f32. int8 rounds the activations that meet int8 or int4 weights in decode, and changes results').choices(['f32', 'f16', 'int8']))
  .option('--print-after <pass>', "print the graph after this pass, or after 'all' passes, to standard error")
  .requiredOption('-o, --output <folder>', 'where the bundle goes; an older bundle there is replaced')
  .option('--json', 'print a summary as JSON, with --quant the error of every tensor')
  .addHelpText('after', '\nExamples:\n  $ eemllm compile examples/shapes/checkpoint --mask composite -o shapes.bundle\n  $ eemllm compile my-model.ts#Mine --checkpoint ./llava-1.5-7b-hf -o mine.bundle\n  $ eemllm compile ./llava-1.5-7b-hf --quant int4:group=64 --keep layers.0:int8,v_proj:int8 -o small.bundle')
  .action(async (spec: string, flags: CompileFlags) => {
    const start = performance.now();
    const source = await findModel(spec, flags.checkpoint);
    const { manifest, passes, chosen, compiled: { quantisation } } = await writing((options) => compileModel(source, flags, options)), quantised = quantisation?.();
    const target = manifest.targets[0]!, ms = performance.now() - start;
    const weights = manifest.weights.reduce((s, w) => s + w.bytes, 0);
    const dispatches = Object.fromEntries(Object.entries(target.entries).map(([name, e]) => [name, e!.dispatches.length]));
    if (flags.json) { printJson({ output: flags.output, model: manifest.model, targets: manifest.targets.map((t) => t.name), schedules: chosen, dispatches, weights, ...(quantised ? { quantisation: quantised } : {}), milliseconds: Math.round(ms), passes }); return; }
    process.stdout.write(`${flags.output}: ${manifest.model.name}, variant ${manifest.model.variant}, ${precisionOf(manifest.model)}; dispatches ${Object.entries(dispatches).map(([n, d]) => `${n} ${d}`).join(', ')}; ${weights ? `weights ${si(weights, 'B')}` : 'no weights'}; ${milliseconds(ms)}\n`);
    for (const [name, by] of Object.entries(chosen)) process.stdout.write(`schedules for ${name}: ${by.exact} by a measurement of that very shape, ${by.nearest} by the nearest one, ${by.default} by default\n`);
    if (quantised) process.stdout.write(describeQuantisation(quantised, flags.dtype));
    const largest = largestBinding(target).bytes;
    if (largest > (flags.bindingLimit ?? defaultBindingLimit)) process.stdout.write(pc.yellow(`With so many rows, a kernel sees ${si(largest, 'B')} of a buffer at once, which devices with WebGPU's least limits do not allow. For these, compile for fewer rows (--max-visual, --max-text).\n`));
    if (!weights) process.stdout.write(pc.yellow('Compiled without a checkpoint: the bundle has no weights and cannot run. Add --checkpoint DIR for one that can.\n'));
  });

/** With a bar for the weights that are written. */
async function writing<T>(work: (options: WriteWeightsOptions) => Promise<T>): Promise<T> {
  const bar = progressBar('writing weights');
  try {
    return await work({ onProgress: (done, total) => bar.update(done, total) });
  } finally {
    bar.stop();
  }
}

/** Compiles a model in one variant and writes the bundle. */
export async function compileModel(source: ModelSource, flags: Omit<CompileFlags, 'checkpoint' | 'json'>, writing: WriteWeightsOptions = {}) {
  const model = source.create(flags.mask), tiling = tilingOf(model, flags.maxTiles), traced = trace(model, { name: source.name });
  const checkpoint = source.checkpoint === undefined ? undefined : await openCheckpoint(source.checkpoint, traced.parameters);
  const passes: { pass: string; ops: number }[] = [], quantise = quantiseRules(flags, flags.dtype), tables = tablesWith(flags.schedules), counts: Record<string, Record<Choice<FamilyName>['by'], number>> = {};
  try {
    const compiled = compile(traced.graph, {
      name: flags.name ?? source.name, type: source.type, variant: flags.mask ?? source.ownVariant, dtype: flags.dtype, ...(quantise ? { quantise } : {}), ...(flags.kv ? { kv: flags.kv } : {}), maxVisual: flags.maxVisual ?? roomForPictures(model), maxText: flags.maxText, ...(flags.bindingLimit === undefined ? {} : { bindingLimit: flags.bindingLimit }), ...(tiling && { tiling }), tables, ...(flags.arithmetic ? { arithmetic: flags.arithmetic } : {}),
      onMade: ({ choice }, target) => { (counts[target] ??= { exact: 0, nearest: 0, default: 0 })[choice.by]++; },
      ...(checkpoint ? { checkpoint, ...tokensOf(source, checkpoint.files.folder) } : {}),
      onPass: (pass, graph) => {
        passes.push({ pass, ops: graph.nodes.length });
        if (flags.printAfter === 'all' || flags.printAfter === pass || pass.endsWith(`: ${flags.printAfter}`)) process.stderr.write(`// after ${pass}\n${printGraph(graph)}\n\n`);
      },
    });
    const manifest = await writeBundle(flags.output, compiled.content, writing);
    return { manifest, passes, compiled, chosen: Object.fromEntries(manifest.targets.flatMap((t) => (t.adapter ? [[t.name, counts[t.name]!]] : []))) };
  } finally {
    await checkpoint?.files.close();
  }
}

/** The image token and the tokens that end an answer, as the checkpoint has them. */
export function tokensOf({ config }: Pick<ModelSource, 'config'>, folder: string): Pick<CompileOptions, 'imageToken' | 'stopTokens'> {
  const optional = (file: string): Record<string, unknown> => (existsSync(join(folder, file)) ? readJson(join(folder, file)) : {});
  const text = (config['text_config'] ?? {}) as Record<string, unknown>;
  const ends = [optional('generation_config.json')['eos_token_id'], config['eos_token_id'], text['eos_token_id']].find((x) => x !== undefined && x !== null) ?? [];
  const stopTokens = (Array.isArray(ends) ? ends : [ends]).filter((x): x is number => Number.isInteger(x));
  const id = config['image_token_index'] ?? config['image_token_id'];
  if (typeof id !== 'number' || !existsSync(join(folder, 'tokenizer.json'))) return { stopTokens };
  const mark = new Tokenizer(readJson(join(folder, 'tokenizer.json')), optional('tokenizer_config.json')).tokenOf(id);
  return mark === undefined ? { stopTokens } : { stopTokens, imageToken: { text: mark, id } };
}
