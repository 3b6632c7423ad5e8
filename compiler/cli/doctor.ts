import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import pc from 'picocolors';
import type { AdapterKind, AdapterPreference } from '../../runtime/node-adapter.ts';
import { LAVAPIPE_ADVICE, findAdapter } from '../../runtime/node-adapter.ts';
import { USEFUL_FEATURES } from '../../runtime/device.ts';
import { UserError } from '../ir/errors.ts';
import { measure } from './doctor/measure.ts';
import { exactJson, milliseconds, printJson, si, table } from './output.ts';
import { checkWritable, writeOutput } from './write-file.ts';
import { version } from '../version.ts';

/** What one kind of adapter offers, or why it is not there. */
interface Probe {
  kind: AdapterKind | AdapterPreference;
  name?: string;
  why?: string;
  features?: string[];
  limits?: { maxBufferSize: number; maxStorageBufferBindingSize: number; maxComputeWorkgroupStorageSize: number; maxComputeInvocationsPerWorkgroup: number };
  toggles?: readonly string[];
  error?: string;
}

export const doctorCommand = (): Command => new Command('doctor')
  .description('List the WebGPU adapters of this machine, say which one is used and why, and what would be better.')
  .option('--measure', "measure what our own kernels reach on the adapter in use, as a profile for eemllm flops --device")
  .option('-o, --output <file>', 'with --measure: write the profile to this .json file')
  .option('--json', 'print the findings (with --measure, the profile) as JSON')
  .addOption(new Option('--probe <kind>').hideHelp())
  .action(async (options: { json?: boolean; probe?: AdapterPreference; measure?: boolean; output?: string }) => {
    if (options.probe) { printJson(await look(options.probe)); return; }
    if (options.measure) { await measureAdapter(options); return; }
    if (options.output !== undefined) throw new UserError('-o writes a measured profile; it goes with --measure.');
    // A process can load one Vulkan driver, so each kind is looked at in a process of its own.
    const kinds: AdapterPreference[] = process.platform === 'linux' ? ['auto', 'hardware', 'lavapipe', 'swiftshader'] : ['auto'];
    const [chosen, ...found] = await Promise.all(kinds.map(probe));
    if (options.json) { printJson({ version: version, node: process.version, platform: `${process.platform}-${process.arch}`, chosen, adapters: found }); return; }
    process.stdout.write(report(chosen!, found));
    if (chosen!.error) process.exitCode = 1;
  });

/** Measures the adapter in use; nothing is written unless all went well. */
async function measureAdapter({ output, json }: { output?: string; json?: boolean }): Promise<void> {
  if (output !== undefined) {
    if (!output.endsWith('.json')) throw new UserError(`-o ${output}: a device profile is a .json file, and --device knows one by that ending.`);
    await checkWritable(output);
  }
  const adapter = await findAdapter(), { profile, runs } = await measure(adapter), text = exactJson(profile);
  if (output !== undefined) await writeOutput(output, text);
  if (json) { process.stdout.write(text); return; }
  const rows = runs.map((r, i) => [r.work, milliseconds(r.seconds * 1e3), i < 2 ? si(r.rate, 'FLOP/s') : si(r.rate, 'B/s')]);
  process.stdout.write([
    `${adapter.name} (${adapter.kind}), eemllm ${version}; toggles ${adapter.toggles.join(', ')}`, '', table(['', 'time', 'rate'], rows), '',
    'Arithmetic is f32 in all of them; the fastest of five rounds counts.',
    ...(adapter.software ? ['This is a software adapter: only ratios mean something, also of what a roofline makes of these figures.'] : []),
    ...(output === undefined ? ['With -o FILE.json this becomes a profile for eemllm flops --device.'] : [`Written to ${output}; use it with eemllm flops --device ${output}.`]),
  ].join('\n') + '\n');
}

async function look(kind: AdapterPreference): Promise<Probe> {
  try {
    const a = await findAdapter({ prefer: kind }), l = a.adapter.limits;
    return {
      kind: a.kind, name: a.name, why: a.why, features: [...a.adapter.features].sort(), toggles: a.toggles,
      limits: { maxBufferSize: l.maxBufferSize, maxStorageBufferBindingSize: l.maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize: l.maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup: l.maxComputeInvocationsPerWorkgroup },
    };
  } catch (error) {
    return { kind, error: (error as Error).message };
  }
}

function probe(kind: AdapterPreference): Promise<Probe> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('../../bin/eemllm.js', import.meta.url)), 'doctor', '--probe', kind], { stdio: ['ignore', 'pipe', 'ignore'], timeout: 60_000 });
    let out = '';
    child.stdout.on('data', (d: Buffer) => { out += d.toString(); });
    child.on('close', (code, signal) => {
      try {
        resolve(JSON.parse(out) as Probe);
      } catch {
        resolve({ kind, error: `the driver ended the process (${signal ?? `exit code ${code}`})` });
      }
    });
  });
}

function report(chosen: Probe, found: readonly Probe[]): string {
  const lines = [`eemllm ${version}, Node ${process.version}, ${process.platform}-${process.arch}`, ''];
  const rows = found.map((p) => [p.name ?? p.kind, p.kind, p.error ? pc.dim('not found') : USEFUL_FEATURES.filter((f) => p.features!.includes(f)).join(', ') || 'none', p.limits ? si(p.limits.maxStorageBufferBindingSize, 'B') : '']);
  if (rows.length) lines.push(table(['adapter', 'kind', 'features that kernels use', 'largest binding'], rows), '');
  for (const p of found) if (p.error) lines.push(pc.dim(`${p.kind}: ${p.error}`));
  if (found.some((p) => p.error)) lines.push('');
  if (chosen.error) lines.push(`No adapter can be used: ${chosen.error}`);
  else lines.push(`${pc.bold('In use:')} ${chosen.name}, because ${chosen.why}.`);
  if (chosen.kind === 'swiftshader') lines.push(`For a faster one: ${LAVAPIPE_ADVICE}; or run on a machine with a GPU. EEMLLM_ADAPTER chooses (auto, hardware, lavapipe, swiftshader).`);
  else if (chosen.kind === 'lavapipe') lines.push('This is a software adapter; a GPU with a Vulkan driver would be far faster. EEMLLM_ADAPTER chooses (auto, hardware, lavapipe, swiftshader).');
  return lines.join('\n') + '\n';
}
