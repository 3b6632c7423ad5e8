import { Command } from 'commander';
import type { Manifest, Target, EntryName } from '../../runtime/manifest.ts';
import { parseGrid } from '../../runtime/polynomial.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { UserError } from '../ir/errors.ts';
import { printWeightFormat } from '../ir/weight-format.ts';
import { checkBundle } from '../bundle/check.ts';
import { executedWork } from '../bundle/executed.ts';
import { progressBar } from './progress.ts';
import { counting, percent, precisionOf, printJson, si, table } from './output.ts';

export const inspectCommand = (): Command => new Command('inspect')
  .description('Show what a bundle holds: entry points, kernels, dispatches, buffers, weights, peak memory.')
  .argument('<bundle>', 'folder of a bundle')
  .option('--target <name>', 'one of the bundle\'s targets; the first by default')
  .option('--visual <n>', 'with --text: the work that a prompt of this size executes, tiles and padding included', counting('--visual'))
  .option('--text <n>', 'text rows of that prompt', counting('--text', 1))
  .option('--dispatches', 'list every dispatch')
  .option('--check', 'compare every file with the hashes in bundle.json, and the weights with what the programs read; exit code 1 if something is wrong')
  .option('--json', 'print as JSON')
  .action(async (folder: string, options: { check?: boolean; target?: string; visual?: number; text?: number; dispatches?: boolean; json?: boolean }) => {
    if (options.check) return check(folder, options.json ?? false);
    const { manifest } = await openBundleFolder(folder);
    const target = options.target ? manifest.targets.find((t) => t.name === options.target) : manifest.targets[0];
    if (!target) throw new UserError(`${folder} has no target '${options.target}'; it has ${manifest.targets.map((t) => t.name).join(', ')}.`);
    const summary = summarise(manifest, target);
    const executed = options.visual === undefined && options.text === undefined ? undefined : executedWork(manifest, target, { visual: options.visual ?? 0, text: options.text ?? 1 });
    if (options.json) printJson({ ...summary, ...(executed ? { executed } : {}), ...(options.dispatches ? { entries: target.entries } : {}) });
    else process.stdout.write(report(target, summary, executed, options.dispatches ?? false));
  });

/** Every fault on a line of its own. */
async function check(folder: string, json: boolean): Promise<void> {
  const bar = progressBar('checking'), found = await checkBundle(folder, (done, total) => bar.update(done, total)).finally(() => bar.stop());
  if (found.faults.length) process.exitCode = 1;
  if (json) { printJson(found); return; }
  for (const f of found.faults) process.stderr.write(`error: ${f}\n`);
  if (found.strangers.length) process.stdout.write(`not named in bundle.json, and read by nobody: ${found.strangers.join(', ')}\n`);
  if (!found.faults.length) process.stdout.write(`${folder}: ${found.files} files, ${si(found.bytes, 'B')}, all as they were made\n`);
}

type Summary = ReturnType<typeof summarise>;
function summarise(manifest: Manifest, target: Target) {
  const of = (kind: string): number => Object.values(target.buffers).reduce((s, b) => s + (b.kind === kind ? b.bytes : 0), 0);
  return {
    model: manifest.model, targets: manifest.targets.map((t) => t.name), target: target.name,
    limits: Object.fromEntries(manifest.sequences[0]!.kinds.map((k) => [k.name, k.capacity])),
    entries: Object.fromEntries(Object.entries(target.entries).map(([name, e]) => [name, { dispatches: e!.dispatches.length, kernels: new Set(e!.dispatches.map((d) => d.kernel)).size, outputs: Object.keys(e!.outputs) }])),
    kernels: Object.entries(target.kernels).map(([id, k]) => ({ id, family: k.family, features: k.features, bindings: k.bindings.length })),
    memory: { weights: of('weight'), state: of('state'), visualMemory: visualMemory(manifest, target), arena: of('arena'), tables: of('rope'), inputs: of('input'), peak: Object.values(target.buffers).reduce((s, b) => s + b.bytes, 0) },
    formats: formatsOf(target),
    buffers: Object.keys(target.buffers).length,
    weightFiles: manifest.weights.map((w) => ({ file: w.file, bytes: w.bytes })),
  };
}

/** Tensors and bytes of the weights in each format, the most bytes first. */
function formatsOf(target: Target): { format: string; tensors: number; bytes: number }[] {
  const found = new Map<string, { format: string; tensors: number; bytes: number }>();
  for (const b of Object.values(target.buffers)) {
    if (b.kind !== 'weight') continue;
    const format = printWeightFormat(b.format), old = found.get(format) ?? { format, tensors: 0, bytes: 0 };
    found.set(format, { format, tensors: old.tensors + b.parts.length, bytes: old.bytes + b.bytes });
  }
  return [...found.values()].sort((a, b) => b.bytes - a.bytes);
}

/** Bytes of the states that rows of images take, if these outlive a question: a prefill that computes them begins them anew. */
function visualMemory(manifest: Manifest, target: Target): number {
  const media = manifest.media?.kind;
  if (media === undefined || !target.entries.vision || target.entries.prefill!.dispatches.some((d) => media in d.rows)) return 0;
  const capacity = manifest.sequences[0]!.kinds.find((k) => k.name === media)!.capacity;
  return Object.values(target.buffers).reduce((s, b) => s + (b.kind === 'state' && b.kinds.includes(media) ? b.rowBytes * capacity : 0), 0);
}

function report(target: Target, s: Summary, executed: ReturnType<typeof executedWork> | undefined, list: boolean): string {
  const out = [
    `${s.model.name} (${s.model.type}), variant ${s.model.variant}, ${precisionOf(s.model)}; targets ${s.targets.join(', ')}; shown: ${s.target}`,
    `limits: ${Object.entries(s.limits).map(([k, n]) => `${n} ${k} rows`).join(', ')}`, '',
    table(['entry point', 'dispatches', 'distinct kernels', 'outputs'], Object.entries(s.entries).map(([n, e]) => [n, String(e.dispatches), String(e.kernels), e.outputs.join(', ')])), '',
    table(['memory', 'bytes', ''], Object.entries(s.memory).map(([n, b]) => [n === 'visualMemory' ? '  of it visual memory' : n, String(b), si(b, 'B')])), '',
    table(['weights', 'tensors', 'bytes'], s.formats.map((f) => [f.format, String(f.tensors), si(f.bytes, 'B')])), '',
    `${s.kernels.length} kernels (${[...new Set(s.kernels.map((k) => k.family))].join(', ')}), ${s.buffers} buffers, ${s.weightFiles.length ? s.weightFiles.map((w) => `${w.file} ${si(w.bytes, 'B')}`).join(', ') : 'no weights: compiled without a checkpoint'}`,
  ];
  if (executed) out.push('', `work of a prompt of ${executed.visual} visual and ${executed.text} text rows (convention exact; media first):`,
    table(['entry point', 'FLOPs of the graph', 'FLOPs executed', 'ratio'], executed.entries.map((e) => [e.name, si(e.graph), si(e.executed), percent(e.executed, e.graph)])));
  if (list) for (const [name, e] of Object.entries(target.entries) as [EntryName, Target['entries'][EntryName]][]) {
    const dims = { V: 1, T: 1, CV: 1, CT: 1 };
    out.push('', name, table(['#', 'kernel', 'computes', 'in', 'grid at one row'], e!.dispatches.map((d, i) => [String(i), d.kernel, d.label, d.path, target.kernels[d.kernel]!.grid.map((g) => gridText(g, dims)).join('×')])));
  }
  return out.join('\n') + '\n';
}

const gridText = (g: Parameters<typeof parseGrid>[0], dims: Record<string, number>): string => (typeof g === 'number' ? String(g) : `⌈(${g.ceil})/${g.by}⌉=${parseGrid(g)({ ...dims, ...Object.fromEntries([...g.ceil.matchAll(/[A-Za-z_]\w*/g)].map((m) => [m[0], 1])) })}`);
