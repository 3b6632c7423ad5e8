/**
 * `npm run make-checkpoint`: a checkpoint folder of a published model's full size with random weights, in shards as Hugging Face
 * has them. Names, shapes and config are the definition's own. For measuring what only real sizes show.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import type { JsonObject } from 'eemllm';
import { UserError, createModel, parameters, suggest } from 'eemllm';
import { builtinConfig, builtinNames, familyOf } from 'eemllm/models';
import { writeSafetensors } from '../compiler/bundle/safetensors-writer.ts';
import { layoutShards, tensorBytes } from '../compiler/bundle/shard-layout.ts';
import { counting, si } from '../compiler/cli/output.ts';
import { progressBar } from '../compiler/cli/progress.ts';
import type { CheckpointDtype } from './checkpoint/content.ts';
import { Content, checkpointDtypes } from './checkpoint/content.ts';
import { smallFiles, tinyConfig } from './checkpoint/files.ts';

export interface CheckpointOptions {
  readonly dtype: CheckpointDtype;
  readonly shards: number;
  readonly seed?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Writes the checkpoint of a config; returns the bytes of its weights. */
export async function makeCheckpoint(folder: string, config: JsonObject, { dtype, shards, seed = 1, onProgress }: CheckpointOptions): Promise<number> {
  const content = new Content(dtype, seed), files = smallFiles(config);
  const given = parameters(createModel(familyOf(config), config)).map(({ name, shape }) => ({ name, shape, dtype: checkpointDtypes[dtype] }));
  const total = given.reduce((n, t) => n + tensorBytes(t), 0);
  let done = 0;
  const tensors = given.map((t) => ({ ...t, async *data() {
    for await (const piece of content.data(t.name, t.shape)) {
      yield piece;
      onProgress?.((done += piece.length), total);
    }
  } }));
  // The least size of which so many shards suffice.
  let maxShardBytes = Math.ceil(total / shards);
  while (layoutShards(tensors, { maxShardBytes }).length > shards) maxShardBytes = Math.ceil(maxShardBytes * 1.02);
  await mkdir(folder, { recursive: true });
  for (const [file, json] of Object.entries(files)) await writeFile(join(folder, file), JSON.stringify(json, undefined, 1));
  const written = await writeSafetensors(folder, tensors, { maxShardBytes });
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(written.flatMap((s) => s.tensors.map((t) => [t.tensor.name, s.file]))) };
  if (written.length > 1) await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify(index, undefined, 1));
  return total;
}

interface Flags { model: string; dtype: CheckpointDtype; shards: number; seed: number }
async function run(folder: string, { model, ...options }: Flags): Promise<void> {
  const config = model === 'tiny' ? tinyConfig() : builtinConfig(model);
  if (!config) throw new UserError(`'${model}' is no model that is built in.${suggest(model, ['tiny', ...builtinNames], 'There are')}`);
  if ((await readdir(folder).catch(() => [])).length) throw new UserError(`${folder} is not empty, so nothing is written there. Choose another folder.`);
  const bar = progressBar('writing'), start = performance.now();
  try {
    const bytes = await makeCheckpoint(folder, config, { ...options, onProgress: (done, total) => bar.update(done, total) });
    process.stdout.write(`${folder}: ${model} with random weights, ${si(bytes, 'B')} of ${options.dtype} in ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
  } finally {
    bar.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await new Command('make-checkpoint')
      .description('Write a checkpoint of full size with random weights.')
      .argument('<folder>', 'where it goes')
      .option('--model <name>', `tiny, or ${builtinNames.join(', ')}`, 'llava-1.5-7b')
      .addOption(new Option('--dtype <dtype>', 'of the weights').choices(Object.keys(checkpointDtypes)).default('bf16'))
      .option('--shards <n>', 'files that the weights are split over', counting('--shards', 1), 3)
      .option('--seed <n>', 'repeatable weights', counting('--seed'), 1)
      .action(run)
      .parseAsync();
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    process.stderr.write(`error: ${e.message}\n`);
    process.exitCode = 1;
  }
}
