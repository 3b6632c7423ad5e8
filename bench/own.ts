/**
 * Ours beside ourselves on one adapter, in one run: `npm run bench -- [--only masks|growth|load|encode]… [--long] [--parts]
 * [--widths narrow|1b|7b] [--adapter KIND] [--rounds N] [--json FILE]`.
 *
 * masks: a decoder with its causal mask (`self`) and with `composite`; does the time follow the FLOPs? growth: everything
 * twice, one thing at a time. load: what compiling and loading take. encode: what a dispatch costs the CPU. What is compared
 * runs by turns, so that whatever else the machine does falls on both; times are medians, ratios medians of the rounds' own ratios. On a software adapter only
 * ratios mean something: its times say how fast a CPU imitates a GPU.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileModel } from '../compiler/cli/compile.ts';
import { findModel } from '../compiler/cli/model.ts';
import { milliseconds, table } from '../compiler/cli/output.ts';
import { trace } from '../compiler/frontend/trace.ts';
import { conventionNamed, costFormula } from '../passes/flops.ts';
import type { AdapterPreference } from '../runtime/node.ts';
import { findAdapter } from '../runtime/node.ts';
import { version } from '../compiler/version.ts';
import type { Size } from './own/checkpoint.ts';
import { decodeBytes, writeRandomCheckpoint } from './own/checkpoint.ts';
import type { Loaded } from './own/model.ts';
import { eachToken, firstToken, load, picture } from './own/model.ts';
import type { Part } from './own/parts.ts';
import { partsOf } from './own/parts.ts';

const { values } = parseArgs({ options: {
  only: { type: 'string', multiple: true }, long: { type: 'boolean', default: false }, parts: { type: 'boolean', default: false },
  json: { type: 'string' }, adapter: { type: 'string' }, widths: { type: 'string' }, rounds: { type: 'string', default: '3' },
} });
const sections = ['masks', 'growth', 'load', 'encode'] as const, masks = ['self', 'composite'] as const;
type Mask = (typeof masks)[number];
const rounds = Number(values.rounds), unknown = values.only?.find((o) => !(sections as readonly string[]).includes(o));
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
if (unknown !== undefined) throw new RangeError(`--only is ${unknown}, and one of ${sections.join(', ')} was expected.`);
const wanted = (section: (typeof sections)[number]): boolean => !values.only || values.only.includes(section);
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };
const two = (x: number): string => x.toPrecision(3), times = (ratio: number): string => `${ratio.toFixed(2)}×`;

const adapter = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {}), { software } = adapter, opened = await adapter.open(), { device } = opened;
/** Widths of models, few layers: a narrow one for slow adapters, TinyLlama's, and those of a 7B. A picture's rows are embeddings, there is no tower. */
const sizes: Readonly<Record<string, Size>> = {
  narrow: { hidden: 512, intermediate: 1408, layers: 2, heads: 8, kvHeads: 4, vocabulary: 2000 },
  '1b': { hidden: 2048, intermediate: 5632, layers: 2, heads: 32, kvHeads: 4, vocabulary: 2000 },
  '7b': { hidden: 4096, intermediate: 11008, layers: 4, heads: 32, kvHeads: 32, vocabulary: 32000 },
};
const widths = values.widths ?? (software ? 'narrow' : '7b'), size = sizes[widths]!;
if (!Object.hasOwn(sizes, widths)) throw new RangeError(`--widths is ${widths}, and one of ${Object.keys(sizes).join(', ')} was expected.`);
const dtype = software ? 'f32' as const : 'f16' as const, text = 64, lengths = [576, 1152, ...(values.long || !software ? [2880, 4900] : [])], growing = software ? 288 : 1152;

interface Built { readonly model: Loaded; readonly folder: string; readonly compile: number; readonly weights: number; readonly flops: (visual: number, text: number) => number }
const folder = mkdtempSync(join(tmpdir(), 'eemllm-bench-'));
const checkpoints = new Map<number, Promise<string>>();
/** A model of so many layers, compiled and loaded. */
async function build(mask: Mask, layers: number): Promise<Built> {
  const checkpoint = join(folder, `checkpoint-${layers}`), output = join(folder, `${mask}-${layers}`);
  if (!checkpoints.has(layers)) checkpoints.set(layers, writeRandomCheckpoint(checkpoint, { ...size, layers }).then(() => checkpoint));
  const source = await findModel(await checkpoints.get(layers)!), start = performance.now();
  const { manifest } = await compileModel(source, { mask, dtype, maxVisual: Math.max(...lengths, 2 * growing), maxText: 512, output });
  const compile = performance.now() - start, formula = costFormula(trace(source.create(mask)).graph, conventionNamed('exact'));
  return {
    model: await load(output, device, software), folder: output, compile, weights: manifest.weights.reduce((s, w) => s + w.bytes, 0),
    flops: (visual, text) => Number(formula.at({ dims: { V: visual, T: text } }).total),
  };
}

interface Run { readonly name: string; readonly built: Built; readonly visual: number; readonly text: number }
/** Milliseconds until the first token, of every run in every round; they take turns, after a round that does not count. */
async function prompts(runs: readonly Run[]): Promise<number[][]> {
  const all = runs.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) for (const [i, r] of runs.entries()) {
    const ms = await firstToken(r.built.model, picture(r.built.model, r.visual, `${r.name} ${r.visual} ${round}`), r.text);
    if (round) all[i]!.push(ms);
  }
  opened.check();
  return all;
}
/** How much longer b takes than a: the median of the ratios within a round, in which other load falls on both. */
const ratio = (a: readonly number[], b: readonly number[]): number => median(b.map((x, i) => x / a[i]!));

try {
  note('writing and compiling a decoder with random weights');
  const models = { self: await build('self', size.layers), composite: await build('composite', size.layers) };
  const lines: string[] = [], result: Record<string, unknown> = {};

  if (wanted('masks')) {
    const rows = [], parts: Record<string, Part[]> = {};
    for (const visual of lengths) {
      note(`prompts of ${visual} visual and ${text} text tokens`);
      const [self, composite] = await prompts(masks.map((m) => ({ name: m, built: models[m], visual, text }))) as [number[], number[]];
      const flops = { self: models.self.flops(visual, text), composite: models.composite.flops(visual, text) };
      const row = { visual, text, flops, ms: { self: median(self), composite: median(composite) }, times: { self, composite }, flopsRatio: flops.self / flops.composite, speedup: ratio(composite, self) };
      rows.push({ ...row, share: row.speedup / row.flopsRatio });
      if (values.parts) for (const m of masks) parts[`${m}, ${visual} visual rows`] = await partsOf(models[m].model, picture(models[m].model, visual, `parts of ${m} ${visual}`), text);
    }
    result['masks'] = rows;
    lines.push(`until the first token, decoder of ${size.layers} layers, ${size.hidden} wide, FFN ${size.intermediate}, ${dtype}, ${text} text tokens:`,
      table(['visual tokens', 'self', 'composite', 'speed-up', 'FLOPs ratio', 'share', 'self reaches', 'composite reaches'], rows.map((r) => [String(r.visual), milliseconds(r.ms.self), milliseconds(r.ms.composite), times(r.speedup), times(r.flopsRatio), two(r.share), ...masks.map((m) => `${two(r.flops[m] / r.ms[m] / 1e6)} GFLOP/s`)])),
      'share: speed-up by FLOPs ratio; 1 says that time follows FLOPs, the target is 0.9 or more.', '');
    if (values.parts) {
      result['parts'] = parts;
      for (const [name, list] of Object.entries(parts)) lines.push(`${name}, each dispatch by itself (${milliseconds(list.reduce((s, p) => s + p.ms, 0))}):`, table(['step: work (kernel)', 'dispatches', 'time', 'GFLOP', 'GFLOP/s'], list.map((p) => [p.work, String(p.dispatches), milliseconds(p.ms), two(p.flops / 1e9), two(p.flops / p.ms / 1e6)])), '');
    }
  }

  if (wanted('growth')) {
    const visual = growing, tokens = 16, rows: { what: string; mask: Mask; time: number; work: number }[] = [];
    for (const mask of masks) {
      note(`twice the work, ${mask}`);
      const built = models[mask], deeper = await build(mask, 2 * size.layers);
      const runs: Run[] = [{ name: 'base', built, visual, text }, { name: 'visual rows', built, visual: 2 * visual, text }, { name: 'text rows', built, visual, text: 2 * text }, { name: 'layers', built: deeper, visual, text }];
      const ms = await prompts(runs), work = runs.map((r) => r.built.flops(r.visual, r.text));
      for (let i = 1; i < runs.length; i++) rows.push({ what: `${runs[i]!.name}, prompt`, mask, time: ratio(ms[0]!, ms[i]!), work: work[i]! / work[0]! });
      const answers = [[] as number[], [] as number[]];
      for (let round = 0; round <= rounds; round++) for (const [i, n] of [tokens, 2 * tokens].entries()) {
        await firstToken(built.model, picture(built.model, visual, `tokens ${round} ${i}`), text);
        const one = await eachToken(built.model, n);
        if (round) answers[i]!.push(n * one);
      }
      const bytes = (n: number): number => Array.from({ length: n }, (_, i) => decodeBytes(size, visual + text + i + 1, software ? 4 : 2)).reduce((a, b) => a + b, 0);
      rows.push({ what: 'generated tokens, answer', mask, time: ratio(answers[0]!, answers[1]!), work: bytes(2 * tokens) / bytes(tokens) });
      deeper.model.session.destroy();
      deeper.model.program.destroy();
    }
    result['growth'] = { base: { visual, text, layers: size.layers, tokens }, rows };
    lines.push(`twice the work, from ${visual} visual and ${text} text rows, ${size.layers} layers, ${tokens} tokens:`,
      table(['twice the', 'mask', 'time', 'FLOPs (prompt) or bytes (answer)', 'share'], rows.map((r) => [r.what, r.mask, times(r.time), times(r.work), two(r.work / r.time)])), 'share: growth of the work by growth of the time; below 1, time grows faster.', '');
  }

  if (wanted('load')) {
    result['load'] = Object.fromEntries(masks.map((m) => [m, { compile: models[m].compile, pipelines: models[m].model.pipelines, upload: models[m].model.upload, weights: models[m].weights }]));
    lines.push(table(['load', 'compile', 'pipelines', 'weights', 'upload'], masks.map((m) => [m, milliseconds(models[m].compile), milliseconds(models[m].model.pipelines), `${(models[m].weights / 1e6).toFixed(0)} MB`, milliseconds(models[m].model.upload)])), '');
  }

  if (wanted('encode')) {
    note('encoding, on the null backend');
    const encode = JSON.parse(execFileSync(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('own/encode.ts', import.meta.url)), models.composite.folder], { encoding: 'utf8' })) as { dispatches: number; microseconds: number };
    result['encode'] = encode;
    lines.push(`encoding: ${two(encode.microseconds)} µs a dispatch on the CPU (decode step of ${encode.dispatches} dispatches, null backend)`);
  }

  console.log([
    `${adapter.name} (${adapter.kind}), eemllm ${version}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, medians of ${rounds}; toggles ${adapter.toggles.join(', ')}`,
    ...(software ? ['A software adapter: compare ratios, not times.'] : []), '', ...lines,
  ].join('\n'));
  const file = values.json ?? fileURLToPath(new URL(`results/own-${adapter.kind}.json`, import.meta.url));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ eemllm: version, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, adapter: { name: adapter.name, kind: adapter.kind, toggles: adapter.toggles }, rounds, size, dtype, command: process.argv.slice(2).join(' '), ...result }, null, 2)}\n`);
  note(`written to ${file}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
  opened.close();
}
