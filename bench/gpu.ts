/**
 * Absolute figures on a GPU, beside PyTorch on the same chip in the same run: `npx tsx bench/gpu.ts [--adapter KIND]
 * [--python PATH | --no-torch] [--rounds N] [--layers N] [--json FILE]`. bench/README.md says how to read them.
 *
 * Products in TFLOP/s; the prompt of a 7B-shaped LLaVA (`self`) and EE-MLLM (`composite`) at several picture sizes; tokens a
 * second beside what the memory's bandwidth allows. Weights are random. On a software adapter everything is small and shows
 * only that it works.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measure } from '../compiler/cli/doctor/measure.ts';
import { findModel } from '../compiler/cli/model.ts';
import { milliseconds, table } from '../compiler/cli/output.ts';
import { version } from '../compiler/version.ts';
import type { AdapterPreference } from '../runtime/node.ts';
import { findAdapter } from '../runtime/node.ts';
import type { ProductCase } from './compare/cases.ts';
import { checkedRows } from './compare/cases.ts';
import { ownCase } from './compare/own-models.ts';
import { OwnProgram } from './compare/own-program.ts';
import { errorOf, reference } from './compare/reference.ts';
import { randomProgram } from './gpu/random-program.ts';
import { eachToken, firstToken, picture } from './own/model.ts';

const { values } = parseArgs({ options: {
  adapter: { type: 'string' }, python: { type: 'string', default: 'python3' }, 'no-torch': { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' }, layers: { type: 'string' }, json: { type: 'string' },
} });
const rounds = Number(values.rounds), median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };
const adapter = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {}), { software } = adapter;

/** What both sides run; the Python script gets it as JSON. */
const plan = software
  ? { hidden: 512, intermediate: 1408, layers: 2, heads: 8, vocabulary: 2000, text: 16, visual: [64, 256], tokens: 8, products: [[64, 256, 256]] as [number, number, number][], dtype: 'f32' as const }
  : { hidden: 4096, intermediate: 11008, layers: 32, heads: 32, vocabulary: 32000, text: 64, visual: [576, 2880, 4900], tokens: 64, products: [[4096, 4096, 4096], [2880, 4096, 11008], [576, 4096, 4096]] as [number, number, number][], dtype: 'f16' as const };
if (values.layers) plan.layers = Number(values.layers);

interface TorchResult { readonly device: string; readonly versions: Record<string, string>; readonly driver: string; readonly bandwidth: number; readonly products: { readonly shape: number[]; readonly tflops: number }[]; readonly prefill: { readonly visual: number; readonly mask: 'self' | 'composite'; readonly ms: number }[]; readonly decode: { readonly eager: number; readonly graph: number | null } }
function torch(): TorchResult | string {
  if (values['no-torch']) return '--no-torch';
  const folder = mkdtempSync(join(tmpdir(), 'eemllm-torch-')), file = join(folder, 'torch.json');
  try {
    note('PyTorch');
    const run = spawnSync(values.python, [fileURLToPath(new URL('gpu/torch_reference.py', import.meta.url)), '--plan', JSON.stringify({ ...plan, rounds }), '--json', file], { encoding: 'utf8', stdio: ['ignore', 'inherit', 'pipe'] });
    if (run.error) return `${values.python} cannot be started: ${run.error.message}`;
    if (run.status !== 0) return run.stderr.trim().split('\n').at(-1) ?? `it ended with ${run.status}`;
    return JSON.parse(readFileSync(file, 'utf8')) as TorchResult;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
const driver = (): string => {
  try {
    return execFileSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return adapter.adapter.info.description; // no NVIDIA driver here
  }
};

// PyTorch first: it lets go of the device's memory when its process ends.
const peer = torch(), theirs = typeof peer === 'string' ? undefined : peer;
note('bandwidth');
const { profile } = await measure(adapter), opened = await adapter.open(), { device } = opened;
const half = plan.dtype === 'f16' && opened.features.has('shader-f16');

const products = [];
for (const [rows, inner, outputs] of plan.products) {
  const name = `${rows}×${inner}×${outputs}, ${plan.dtype} weights`, c: ProductCase = { kind: 'product', name, precision: plan.dtype, rows, inner, outputs };
  note(`matmul ${name}`);
  const own = await OwnProgram.create(ownCase(c), c.precision, device, software);
  await own.prefill();
  const all = await own.result(), error = errorOf(checkedRows(c).flatMap((r) => Array.from(all.subarray(r * outputs, (r + 1) * outputs))), reference(c));
  if (!(error < 1e-3)) throw new Error(`matmul ${name} is wrong by ${error}.`);
  const repeat = own.repeat('prefill', (_family, path) => path === 'linear'), times: number[] = [], count = software ? 1 : 20;
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    repeat(count);
    await device.queue.onSubmittedWorkDone();
    if (round) times.push((performance.now() - start) / count);
  }
  own.destroy();
  products.push({ shape: [rows, inner, outputs], name, ms: median(times), tflops: (2 * rows * inner * outputs) / median(times) / 1e9, error });
}

const config = { model_type: 'llama', hidden_size: plan.hidden, intermediate_size: plan.intermediate, num_hidden_layers: plan.layers, num_attention_heads: plan.heads, num_key_value_heads: plan.heads, vocab_size: plan.vocabulary, max_position_embeddings: 8192, rms_norm_eps: 1e-5, tie_word_embeddings: false };
const source = (await findModel('vicuna-7b')).withConfig(config), prefill = [], longest = Math.max(...plan.visual), decode: { mask: string; visual: number; tokensPerSecond: number; bound: number }[] = [];
for (const mask of ['self', 'composite'] as const) {
  note(`${plan.layers} layers, ${mask}`);
  const model = await randomProgram({ ...source, type: 'llama', ownVariant: 'self' }, { mask, dtype: plan.dtype, maxVisual: longest, maxText: plan.text + 4 * plan.tokens * (rounds + 1) }, device, software);
  for (const visual of plan.visual) {
    const times: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      const ms = await firstToken(model, picture(model, visual, `${visual} ${round}`), plan.text);
      if (round) times.push(ms);
    }
    opened.check();
    prefill.push({ mask, visual, ms: median(times), flops: model.flops(visual, plan.text), tflops: model.flops(visual, plan.text) / median(times) / 1e9 });
  }
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const ms = await eachToken(model, plan.tokens);
    if (round) times.push(ms);
  }
  // Each token reads all weights and the cache (keys and values of every layer, f32).
  const bytes = model.weightBytes + 4 * 2 * plan.layers * plan.hidden * (longest + plan.text), bandwidth = theirs?.bandwidth ?? profile.bandwidth;
  decode.push({ mask, visual: longest, tokensPerSecond: 1000 / median(times), bound: bandwidth / bytes });
  model.session.destroy();
  model.program.destroy();
}
opened.check();
opened.close();

const two = (x: number): string => x.toPrecision(3), share = (x: number): string => `${(100 * x).toFixed(0)} %`;
console.log([
  `${adapter.name} (${adapter.kind}), ${driver()}, eemllm ${version}, Node ${process.version}, medians of ${rounds}; toggles ${adapter.toggles.join(', ')}; features ${[...opened.features].sort().join(', ')}`,
  theirs ? `beside PyTorch ${theirs.versions['torch']} (CUDA ${theirs.versions['cuda']}) on ${theirs.device}` : `PyTorch did not run: ${String(peer)}.`,
  ...(software ? ['A software adapter: this shows that the script works. On a machine with a GPU, Node 20 and PyTorch run `npx tsx bench/gpu.ts`.'] : []), '',
  table(['matmul', 'time', 'TFLOP/s', 'PyTorch', 'share'], products.map((p, i) => { const t = theirs?.products[i]?.tflops; return [p.name, milliseconds(p.ms), two(p.tflops), t ? two(t) : '—', t ? share(p.tflops / t) : '—']; })), '',
  `until the first token, ${plan.layers} layers of 7B's shape, ${plan.text} text tokens, ${plan.dtype} weights${half ? '' : ' (no shader-f16)'}:`,
  table(['model', 'visual tokens', 'time', 'TFLOP/s', 'PyTorch, SDPA', 'ours by PyTorch'], prefill.map((p) => { const t = theirs?.prefill.find((x) => x.visual === p.visual && x.mask === p.mask)?.ms; return [p.mask === 'self' ? 'LLaVA (self)' : 'EE-MLLM (composite)', String(p.visual), milliseconds(p.ms), two(p.tflops), t ? milliseconds(t) : '—', t ? `${(t / p.ms).toFixed(2)}×` : '—']; })), '',
  table(['decode', 'tokens/s', 'bandwidth allows', 'share', 'PyTorch', 'PyTorch, CUDA graph'], decode.map((d) => [`${d.mask}, after ${d.visual} + ${plan.text} tokens`, two(d.tokensPerSecond), software ? '—' : two(d.bound), software ? '—' : share(d.tokensPerSecond / d.bound), theirs ? two(theirs.decode.eager) : '—', theirs?.decode.graph ? two(theirs.decode.graph) : '—'])),
  `bandwidth: ${theirs ? `${two(theirs.bandwidth / 1e9)} GB/s by PyTorch's copy, ` : ''}${two(profile.bandwidth / 1e9)} GB/s by our copy kernel`,
].join('\n'));
const slug = (adapter.kind === 'hardware' ? adapter.name : adapter.kind).toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
const file = values.json ?? fileURLToPath(new URL(`results/gpu-${slug}.json`, import.meta.url));
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify({
  eemllm: version, node: process.version, cpu: cpus()[0]?.model, adapter: { name: adapter.name, kind: adapter.kind, toggles: adapter.toggles, features: [...opened.features].sort(), info: { vendor: adapter.adapter.info.vendor, architecture: adapter.adapter.info.architecture, description: adapter.adapter.info.description } }, driver: driver(),
  command: `npx tsx bench/gpu.ts ${process.argv.slice(2).join(' ')}`.trim(), rounds, plan, bandwidth: profile.bandwidth, products, prefill, decode, torch: theirs ?? { missing: peer },
}, null, 1)}\n`);
note(`written to ${file}`);
