import { Command, Option } from 'commander';
import type { AdapterPreference } from '../../runtime/node-adapter.ts';
import { findAdapter, openBundleFolder } from '../../runtime/node.ts';
import type { MathType } from '../cost/device-profiles.ts';
import { deviceProfiles, mathTypes } from '../cost/device-profiles.ts';
import type { ChosenDevice, DeviceFlags } from './device.ts';
import { deviceOf } from './device.ts';
import { measure } from './doctor/measure.ts';
import { counting, exactJson, printJson } from './output.ts';
import { profile } from './profile/profile.ts';
import type { Grouping } from './profile/report.ts';
import { groupings, profileJson, profileText } from './profile/report.ts';
import { checkSize } from './profile/steps.ts';
import { traceOf } from './profile/trace.ts';
import { checkWritable, writeOutput } from './write-file.ts';

interface Flags extends DeviceFlags { visual: number; text: number; generate: number; repeat: number; by: Grouping; adapter?: AdapterPreference; trace?: string; json?: boolean }

export const profileCommand = (): Command => new Command('profile')
  .description('Measure what each dispatch of a prompt takes on this adapter, and how far it is from what the device does at best.')
  .argument('<bundle>', 'folder that `eemllm compile` made; without weights, made-up ones do')
  .option('--visual <n>', 'visual rows of the prompt', counting('--visual'), 0)
  .option('--text <n>', 'text rows of the prompt', counting('--text', 1), 64)
  .option('--generate <n>', 'tokens that are decoded after it', counting('--generate'), 8)
  .option('--repeat <n>', 'runs of each step, of which the median counts', counting('--repeat', 1), 5)
  .addOption(new Option('--by <what>', 'what dispatches are grouped by: kernels by what they compute, modules of all layers together, or layers').choices(Object.keys(groupings)).default('kernel'))
  .option('--device <name>', `what the device does at best: ${Object.keys(deviceProfiles).join(', ')}, or a profile in a .json file; measured now by default, as eemllm doctor --measure does`)
  .addOption(new Option('--math <type>', 'arithmetic whose peak the device gives').choices(mathTypes))
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--trace <file>', 'write a Chrome trace, for ui.perfetto.dev')
  .option('--json', 'print as JSON, dispatch by dispatch')
  .addHelpText('after', '\nExample:\n  $ eemllm profile shapes.bundle --visual 64 --text 32 --trace trace.json')
  .action(async (folder: string, flags: Flags) => {
    const bundle = await openBundleFolder(folder), { visual, text, generate, repeat } = flags;
    checkSize(bundle.manifest, { visual, text, generate });
    if (flags.trace !== undefined) await checkWritable(flags.trace, '--trace');
    const adapter = await findAdapter(flags.adapter ? { prefer: flags.adapter } : {}), { dtype } = bundle.manifest.model;
    const device: ChosenDevice = deviceOf(flags) ?? { profile: (await measure(adapter)).profile, math: (flags.math ?? dtype) as MathType };
    const opened = await adapter.open();
    try {
      const result = await profile(bundle, opened, { visual, text, generate, repeat, software: adapter.software });
      if (flags.trace !== undefined) await writeOutput(flags.trace, exactJson(traceOf(result, adapter.name)), '--trace');
      if (flags.json) printJson(profileJson(result, device, { name: adapter.name, kind: adapter.kind, toggles: adapter.toggles }));
      else process.stdout.write(profileText(result, device, flags.by, adapter.name));
    } finally {
      opened.close();
    }
  });
