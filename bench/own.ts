/**
 * Our own kernels and programs on one adapter, in one run: `npx tsx bench/own.ts [--json FILE] [--adapter KIND] [--rounds N]`.
 *
 * What is compared runs by turns, so that whatever else the machine does falls on both; figures are medians. On a software
 * adapter only ratios mean something: its times say how fast a CPU imitates a GPU.
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
import { writeRandomCheckpoint } from './own/checkpoint.ts';
import { attentionRow, matmulRow } from './own/kernels.ts';
import type { Loaded } from './own/model.ts';
import { eachToken, firstToken, load, picture } from './own/model.ts';

const { values } = parseArgs({ options: { json: { type: 'string' }, adapter: { type: 'string' }, rounds: { type: 'string', default: '3' } } });
const rounds = Number(values.rounds), masks = ['self', 'composite'] as const, text = 40;
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };

const adapter = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {});
const { software } = adapter, kind = software ? 'software' as const : 'gpu' as const, opened = await adapter.open(), { device } = opened;
/** Widths of TinyLlama on a GPU, a quarter of them on a software adapter; few layers. A picture's rows are embeddings, there is no tower. */
const size = software ? { hidden: 512, intermediate: 1408, layers: 2, heads: 8, kvHeads: 4, vocabulary: 2000 } : { hidden: 2048, intermediate: 5632, layers: 8, heads: 32, kvHeads: 4, vocabulary: 32000 };
const lengths = software ? [64, 256, 576] : [576, 1152, 2880, 4900];

note(`kernels on ${adapter.name}`);
const kernels = [];
for (const shape of software ? [[640, 1024, 1024], [640, 2048, 2048], [1, 2048, 2048]] as const : [[640, 2048, 2048], [640, 4096, 11008], [4096, 4096, 4096], [1, 4096, 4096], [1, 4096, 11008]] as const)
  kernels.push(await matmulRow(device, kind, shape, rounds + 2));
for (const shape of software ? [{ visual: 0, text: 640, heads: 16, mask: 'causal' }, { visual: 576, text: 64, heads: 16, mask: 'composite' }] as const : [{ visual: 0, text: 1024, heads: 32, mask: 'causal' }, { visual: 2880, text: 64, heads: 32, mask: 'composite' }] as const)
  kernels.push(await attentionRow(device, kind, shape, rounds + 2));

const folder = mkdtempSync(join(tmpdir(), 'eemllm-bench-'));
try {
  note('writing and compiling a decoder with random weights');
  await writeRandomCheckpoint(join(folder, 'checkpoint'), size);
  const source = await findModel(join(folder, 'checkpoint')), models = {} as Record<(typeof masks)[number], Loaded>;
  const load_: Record<string, { compile: number; pipelines: number; upload: number; weights: number }> = {};
  for (const mask of masks) {
    const start = performance.now(), output = join(folder, mask);
    const { manifest } = await compileModel(source, { mask, dtype: 'f32', maxVisual: 8192, maxText: 256, output });
    const compile = performance.now() - start;
    models[mask] = await load(output, device, software);
    load_[mask] = { compile, pipelines: models[mask].pipelines, upload: models[mask].upload, weights: manifest.weights.reduce((s, w) => s + w.bytes, 0) };
  }
  const formulas = masks.map((m) => costFormula(trace(source.create(m)).graph, conventionNamed('exact')));
  const prefill = [];
  for (const visual of lengths) {
    note(`prompts of ${visual} visual and ${text} text tokens`);
    const times = { self: [] as number[], composite: [] as number[] }, decode = { self: [] as number[], composite: [] as number[] };
    for (let round = 0; round <= rounds; round++) for (const mask of masks) {
      const first = await firstToken(models[mask], picture(models[mask], visual, `${visual} ${round}`), text);
      const token = await eachToken(models[mask], 8);
      if (round) { times[mask].push(first); decode[mask].push(token); }
    }
    const [a, b] = formulas.map((f) => f.at({ dims: { V: visual, T: text } }).total) as [bigint, bigint], self = median(times.self), composite = median(times.composite);
    prefill.push({ visual, text, flops: { self: a, composite: b }, ms: { self, composite }, expected: Number(b) / Number(a), measured: composite / self, tokensPerSecond: { self: 1000 / median(decode.self), composite: 1000 / median(decode.composite) } });
  }
  opened.check();
  note('encoding, on the null backend');
  const encode = JSON.parse(execFileSync(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('own/encode.ts', import.meta.url)), join(folder, 'composite')], { encoding: 'utf8' })) as { dispatches: number; microseconds: number };

  const two = (x: number): string => x.toPrecision(3), x = (ratio: number): string => `${ratio.toFixed(3)}×`;
  console.log([
    `${adapter.name} (${adapter.kind}), eemllm ${version}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, medians of ${rounds}; toggles ${adapter.toggles.join(', ')}`,
    ...(software ? ['A software adapter: compare ratios, not times.'] : []), '',
    table(['kernel, f32', 'time', 'GFLOP/s', 'worst error'], kernels.map((k) => [k.work, milliseconds(k.ms), two(k.gflops), k.worstError.toExponential(1)])), '',
    `until the first token, decoder of ${size.layers} layers, ${size.hidden} wide, FFN ${size.intermediate}, ${text} text tokens:`,
    table(['visual tokens', 'self', 'composite', 'FLOPs ratio', 'time ratio', 'decode, self', 'decode, composite'], prefill.map((p) => [String(p.visual), milliseconds(p.ms.self), milliseconds(p.ms.composite), x(p.expected), x(p.measured), `${two(p.tokensPerSecond.self)} tokens/s`, `${two(p.tokensPerSecond.composite)} tokens/s`])), '',
    table(['load', 'compile', 'pipelines', 'weights', 'upload'], masks.map((m) => { const l = load_[m]!; return [m, milliseconds(l.compile), milliseconds(l.pipelines), `${(l.weights / 1e6).toFixed(0)} MB`, milliseconds(l.upload)]; })), '',
    `encoding: ${two(encode.microseconds)} µs a dispatch on the CPU (decode step of ${encode.dispatches} dispatches, null backend)`,
  ].join('\n'));
  const file = values.json ?? fileURLToPath(new URL(`results/own-${adapter.kind}.json`, import.meta.url));
  mkdirSync(dirname(file), { recursive: true });
  const result = { eemllm: version, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, adapter: { name: adapter.name, kind: adapter.kind, toggles: adapter.toggles }, rounds, size, kernels, prefill, load: load_, encode };
  writeFileSync(file, `${JSON.stringify(result, (_k, v: unknown) => (typeof v === 'bigint' ? Number(v) : v), 2)}\n`);
  note(`written to ${file}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
  opened.close();
}
