/**
 * Criterion 3 of the kernels: tuned schedules beside the defaults on one adapter, in one run:
 * `npx tsx bench/tuned.ts [--adapter KIND] [--model NAME] [--mask NAME] [--dtype f16|f32] [--visual N] [--text N] [--schedules FILE] [--rounds N] [--json FILE]`.
 *
 * Two things are compared, always by turns: every piece of work of the model by the schedule that its default target has and by
 * the one that the adapter's table chooses; and whole steps of the model (its layers) by the two programs of one bundle. Weights are
 * random. Without --model it is bench/tuned/decoder.json, a decoder of two layers that a software adapter can run. On a GPU:
 * `eemllm tune llava-1.5-7b --mask composite -o my-gpu.json`, then this with `--model llava-1.5-7b --schedules my-gpu.json`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compile } from '../compiler/compile.ts';
import { findModel } from '../compiler/cli/model.ts';
import { milliseconds, table } from '../compiler/cli/output.ts';
import { tablesWith } from '../compiler/cli/schedules.ts';
import { openClock } from '../compiler/cli/tune/clock.ts';
import { stepData } from '../compiler/cli/tune/prompt.ts';
import { changes } from '../compiler/cli/tune/report.ts';
import { Stage, difference } from '../compiler/cli/tune/stage.ts';
import { collectWork } from '../compiler/cli/tune/work.ts';
import type { Made } from '../compiler/bundle/families.ts';
import { trace } from '../compiler/frontend/trace.ts';
import { version } from '../compiler/version.ts';
import { kernelFamilies, scheduleText } from '../compiler/schedule/wanted.ts';
import { factsOf } from '../compiler/schedule/device-facts.ts';
import { fittingTargets } from '../runtime/bundle.ts';
import type { Bundle } from '../runtime/bundle.ts';
import type { AdapterPreference } from '../runtime/node.ts';
import { findAdapter } from '../runtime/node.ts';
import { wholeSteps } from './tuned/steps.ts';

const { values } = parseArgs({ options: {
  adapter: { type: 'string' }, model: { type: 'string' }, mask: { type: 'string', default: 'composite' }, dtype: { type: 'string', default: 'f16' }, visual: { type: 'string', default: '576' }, text: { type: 'string', default: '64' },
  schedules: { type: 'string', multiple: true }, rounds: { type: 'string', default: '7' }, json: { type: 'string' },
} });
const rounds = Number(values.rounds), prompt = { visual: Number(values.visual), text: Number(values.text) }, dtype = values.dtype as 'f16' | 'f32';
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };

const adapter = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {}), opened = await adapter.open(), clock = openClock(opened);
const facts = factsOf(opened, adapter.adapter.info, adapter.software);
const source = await findModel(values.model ?? fileURLToPath(new URL('tuned/decoder.json', import.meta.url))), made = new Map<string, Made[]>();
const compiled = compile(trace(source.create(values.mask), { name: source.name }).graph, {
  name: source.name, type: source.type, variant: values.mask, dtype, maxVisual: Math.max(1, prompt.visual), maxText: prompt.text + 1, usual: prompt, targets: [facts.class], tables: tablesWith(values.schedules),
  onMade: (m, target) => { made.set(target, [...(made.get(target) ?? []), m]); },
});
const bundle = { label: source.name, manifest: { ...compiled.content.manifest, weights: [], files: [] }, files: undefined } as unknown as Bundle;
const fitting = fittingTargets(bundle, opened.features, adapter.software, opened.device), own = fitting.find((t) => t.adapter), usual = fitting.find((t) => !t.adapter)!;
if (!own) {
  console.log(`No table of schedules speaks of ${adapter.name} and differs from the defaults. Measure one: eemllm tune ${values.model ?? 'MODEL'} --mask ${values.mask} -o my-adapter.json, then run this again with --schedules my-adapter.json.`);
  process.exit(0);
}
const targetOf = (name: string) => compiled.targets.find((t) => t.target.name === name)!;

const kernels = [];
const works = collectWork(targetOf(own.name), made.get(own.name)!), defaults = new Map(collectWork(targetOf(usual.name), made.get(usual.name)!).map((w) => [w.text, w]));
for (const work of works) {
  const before = defaults.get(work.text)?.made.choice.schedule ?? kernelFamilies[work.made.wanted.family].usual(work.made.wanted as never, facts), { schedule, by, distance } = work.made.choice;
  if (scheduleText(before) === scheduleText(schedule)) { kernels.push({ work: work.text, times: work.times, by, distance, changes: '', usual: NaN, tuned: NaN, off: 0 }); continue; }
  note(work.text);
  const stage = await Stage.open(opened, clock, work, own.dims, stepData(bundle.manifest, work.entry, prompt));
  const [a, b] = [await stage.prepare(work.made.again(before)), await stage.prepare(work.made.again(schedule))] as const;
  const [x, y] = [await stage.result(a), await stage.result(b)] as const, repeat = Math.max(1, Math.min(64, Math.round((adapter.software ? 8 : 1) / await stage.time(a))));
  const times = { usual: [] as number[], tuned: [] as number[] };
  for (let r = 0; r < rounds; r++) { times.usual.push(await stage.time(a, repeat)); times.tuned.push(await stage.time(b, repeat)); }
  kernels.push({ work: work.text, times: work.times, by, distance, changes: changes(before, schedule), usual: median(times.usual), tuned: median(times.tuned), off: difference(x.values, y.values) });
  stage.close();
}

note('whole steps');
const steps = await wholeSteps({ bundle, compiled, opened, targets: [usual, own], prompt, rounds });
const x = (ratio: number): string => `${ratio.toFixed(2)}×`;
console.log([
  `${adapter.name} (${adapter.kind}), ${source.name}, ${values.mask}, ${dtype}, ${prompt.visual} visual and ${prompt.text} text tokens; eemllm ${version}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, medians of ${rounds}, by turns, ${clock.kind}; toggles ${adapter.toggles.join(', ')}`,
  ...(adapter.software ? ['A software adapter: compare ratios, not times.'] : []), '',
  table(['work', 'dispatches', 'chosen by', 'default', 'tuned', 'margin', 'default → tuned', 'off by'], kernels.map((k) => [k.work, String(k.times), k.by === 'nearest' ? `nearest, ${k.distance!.toFixed(2)} off` : k.by,
    ...(k.changes ? [milliseconds(k.usual), milliseconds(k.tuned), x(k.usual / k.tuned), k.changes, k.off.toExponential(0)] : ['', '', '1', 'as it is', ''])])), '',
  table(['step', 'default', 'tuned', 'margin'], steps.map((s) => [s.step, milliseconds(s.usual), milliseconds(s.tuned), x(s.usual / s.tuned)])),
].join('\n'));
if (values.json) {
  mkdirSync(dirname(values.json), { recursive: true });
  writeFileSync(values.json, `${JSON.stringify({ eemllm: version, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, adapter: { name: adapter.name, kind: adapter.kind, toggles: adapter.toggles }, model: source.name, mask: values.mask, dtype, prompt, rounds, clock: clock.kind, kernels, steps }, (_k, v: unknown) => (Number.isNaN(v) ? null : v), 2)}\n`);
}
clock.close();
opened.close();
