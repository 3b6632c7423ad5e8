import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { AdapterPreference, FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { USEFUL_FEATURES } from '../../runtime/device.ts';
import type { Made } from '../bundle/families.ts';
import { usualPrompt } from '../bundle/families.ts';
import { compile } from '../compile.ts';
import { trace } from '../frontend/trace.ts';
import { UserError } from '../ir/errors.ts';
import { tableChooser } from '../schedule/chooser.ts';
import type { DeviceFacts } from '../schedule/device-facts.ts';
import { factsOf } from '../schedule/device-facts.ts';
import { shippedTables } from '../schedule/shipped.ts';
import type { ScheduleTable } from '../schedule/table.ts';
import { factsOfTable, sameDevice, tableVersion, updated } from '../schedule/table.ts';
import type { FamilyName } from '../schedule/wanted.ts';
import { familyNames } from '../schedule/wanted.ts';
import { tilingOf } from '../tiling.ts';
import { version } from '../version.ts';
import type { KvFlags } from './kv.ts';
import { kvOption } from './kv.ts';
import { findModel } from './model.ts';
import { counting, exactJson, number, printJson } from './output.ts';
import { progressBar } from './progress.ts';
import type { QuantFlags } from './quant.ts';
import { keepOption, quantOption, quantiseRules } from './quant.ts';
import { readTableFile } from './schedules.ts';
import { stepData } from './tune/prompt.ts';
import { entriesOf, notMeasured, report } from './tune/report.ts';
import type { Tuned } from './tune/tuner.ts';
import { tune } from './tune/tuner.ts';
import { collectWork } from './tune/work.ts';
import { checkWritable, writeOutput } from './write-file.ts';

interface TuneFlags extends QuantFlags, Partial<KvFlags> {
  checkpoint?: string; mask?: string; dtype?: 'f32' | 'f16'; visual: number; text: number; adapter?: AdapterPreference; output?: string; budget: number; families: readonly FamilyName[]; json?: boolean;
}

export const tuneCommand = (): Command => new Command('tune')
  .description("Measure the schedules of a model's kernels on this machine's adapter, and write the quickest as a table that compile takes.")
  .argument('<model>', 'file.ts#Export, a built-in name, a Hugging Face checkpoint folder, or a bundle; no weights are read')
  .option('--checkpoint <dir>', 'take the config from this folder')
  .option('--mask <variant>', "self, composite, …, as for compile; the model's own by default")
  .addOption(new Option('--dtype <dtype>', 'storage of the weight matrices; f16 by default').choices(['f32', 'f16']))
  .addOption(quantOption())
  .addOption(keepOption())
  .addOption(kvOption())
  .option('--visual <n>', 'visual tokens of the prompt that schedules are measured for', counting('--visual'), usualPrompt.visual)
  .option('--text <n>', 'its text tokens', counting('--text', 1), usualPrompt.text)
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--budget <seconds>', 'time to spend; what costs most in a prompt gets most of it', number('--budget', 1, 1e6), 600)
  .option('--families <names>', `only these families of kernels: ${familyNames.join(',')}`, familyList, [...familyNames])
  .option('-o, --output <file>', 'write the table to this .json file; a table of this very device there is brought up to date')
  .option('--json', 'print the table as JSON')
  .addHelpText('after', '\nExample:\n  $ eemllm tune llava-1.5-7b --mask composite --visual 576 --text 64 -o my-gpu.json\n  $ eemllm compile ./llava-1.5-7b-hf --mask composite --schedules my-gpu.json -o llava.bundle')
  .action(async (spec: string, given: TuneFlags) => {
    const flags = { ...ofBundle(spec), ...given };
    if (flags.output !== undefined) await checkWritable(flags.output);
    const adapter = await findAdapter(flags.adapter ? { prefer: flags.adapter } : {});
    if (adapter.kind === 'null') throw new UserError('The null backend computes nothing, so there is nothing to measure. Choose another adapter (--adapter, or EEMLLM_ADAPTER).');
    const blank = await blankTable(adapter, spec), older = flags.output !== undefined && existsSync(flags.output) ? readTableFile(flags.output) : undefined;
    if (older && !sameDevice(older, blank)) throw new UserError(`${flags.output} holds a table of another device (${older.adapter.description || older.adapter.device}, driver, features and limits counted). Choose another file with -o.`);
    const earlier = older ?? shippedTables().find((t) => sameDevice(t, blank));
    const { works, ...rest } = await workOf(spec, flags, blank), chosen = works.filter((w) => flags.families.includes(w.made.wanted.family));
    const bar = progressBar('measuring', (total) => `${total} s`);
    let table = blank;
    const tuned: Tuned[] = [];
    await tune(adapter, chosen, {
      ...rest, facts: factsOfTable(blank), budget: flags.budget, ...(earlier ? { known: tableChooser(earlier) } : {}),
      onProgress: (seconds) => bar.update(Math.min(Math.round(seconds), flags.budget), flags.budget),
      // What is measured is kept, whatever happens to the process later.
      onTuned: async (t, clock) => {
        tuned.push(t);
        const own: ScheduleTable = { ...blank, measured: { ...blank.measured, clock }, entries: entriesOf(tuned), ...(tuned.some((x) => !x.found) ? { notMeasured: notMeasured(tuned) } : {}) };
        table = older ? updated(older, own) : own;
        if (flags.output !== undefined) await writeOutput(flags.output, exactJson(table));
      },
    }).finally(() => bar.stop());
    if (flags.json) printJson(table);
    else process.stdout.write(report({ adapter, tuned, visual: flags.visual, text: flags.text, budget: flags.budget, ...(flags.output !== undefined ? { output: flags.output } : {}) }));
    if (tuned.some((t) => t.found?.wrong.length)) process.exitCode = 1;
  });

function familyList(text: string): FamilyName[] {
  return text.split(',').map((name) => {
    const known = familyNames.find((f) => f === name.trim());
    if (!known) throw new InvalidArgumentError(`'${name}' is no family of kernels with schedules; there are ${familyNames.join(', ')}.`);
    return known;
  });
}

/** What a bundle says of how it was compiled; flags that are given count more. */
function ofBundle(spec: string): Partial<TuneFlags> {
  const file = join(spec, 'bundle.json');
  if (!existsSync(file)) return {};
  if (!existsSync(join(spec, 'config.json'))) throw new UserError(`The bundle ${spec} has no config.json, so its work is not known. Name the model that it was compiled from instead.`);
  const { model } = JSON.parse(readFileSync(file, 'utf8')) as { model: { variant: string; dtype: 'f32' | 'f16'; quantised?: string } };
  const quant = model.quantised === undefined ? undefined : quantOption().parseArg!(model.quantised, undefined) as QuantFlags['quant'];
  return { mask: model.variant, dtype: model.dtype, ...(quant ? { quant } : {}) };
}

/** A table of this adapter without entries. */
async function blankTable(adapter: FoundAdapter, spec: string): Promise<ScheduleTable> {
  const opened = await adapter.open(), { info } = adapter.adapter;
  try {
    const facts: DeviceFacts = factsOf(opened, info, adapter.software);
    return {
      version: tableVersion, adapter: { vendor: info.vendor, architecture: info.architecture, device: info.device, description: info.description }, class: facts.class,
      features: USEFUL_FEATURES.filter((f) => opened.features.has(f)), limits: facts.limits,
      ...(facts.subgroups ? { subgroups: facts.subgroups } : {}), ...(facts.subgroupMatrix?.length ? { subgroupMatrix: [...facts.subgroupMatrix] } : {}),
      measured: { date: new Date().toISOString().slice(0, 10), eemllm: version, node: process.version, cpu: cpus()[0]?.model ?? 'unknown', toggles: [...adapter.toggles], command: ['eemllm', ...process.argv.slice(2)].join(' '), model: spec },
      entries: [],
    };
  } finally {
    opened.close();
  }
}

/** The work of the model on the table's device, and what its kernels are told. */
async function workOf(spec: string, flags: TuneFlags, table: ScheduleTable) {
  const source = await findModel(spec, flags.checkpoint), model = source.create(flags.mask), tiling = tilingOf(model), dtype = flags.dtype ?? 'f16', quantise = quantiseRules(flags, dtype), made: Made[] = [];
  const { content: { manifest }, targets } = compile(trace(model, { name: source.name }).graph, {
    name: source.name, type: source.type, variant: flags.mask ?? source.ownVariant, dtype, ...(quantise ? { quantise } : {}), ...(flags.kv ? { kv: flags.kv } : {}), ...(tiling && { tiling }),
    // Decode comes behind the prompt.
    maxVisual: Math.max(1, flags.visual), maxText: flags.text + 1, usual: flags, targets: [], tables: [table], onMade: (m) => made.push(m),
  });
  const target = targets[0]!;
  return { works: collectWork(target, made), dims: target.target.dims, stepOf: ({ entry }: { entry: Parameters<typeof stepData>[1] }) => stepData(manifest, entry, flags) };
}
