/**
 * Schedules of matmul and matvec on one adapter: `npx tsx bench/matmul.ts [--adapter KIND] [--shapes 640x2048x2048,…]
 * [--weights f32|f16|f16x2|int8|int4:…] [--norm rms_norm|layer_norm] [--rounds N] [--all] [--json FILE]`.
 *
 * A shape is rows × outputs × K; one row is matvec. For every shape the defaults of both classes of device and some around
 * them (`--all`: the whole space of a tuner), run by turns, so that other load falls on all alike; the fastest round
 * counts. Each result is checked against sums in f64. The first run holds what the driver puts off from compiling.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { milliseconds, table } from '../compiler/cli/output.ts';
import { Poly } from '../compiler/ir/poly.ts';
import { factsOf } from '../compiler/schedule/device-facts.ts';
import { matmulDefault, matmulSpace } from '../compiler/schedule/matmul-defaults.ts';
import { exchangeTile } from '../compiler/schedule/matmul-exchange.ts';
import type { MatmulSchedule } from '../compiler/schedule/matmul-schedule.ts';
import { whyNotMatmul } from '../compiler/schedule/matmul-schedule.ts';
import type { TileSchedule } from '../compiler/schedule/matmul-tile.ts';
import { matrixTile } from '../compiler/schedule/subgroup-matrix.ts';
import type { MatvecSchedule } from '../compiler/schedule/matvec-schedule.ts';
import { matvecDefault, matvecSpace, whyNotMatvec } from '../compiler/schedule/matvec-schedule.ts';
import { parseWeightFormat } from '../compiler/ir/weight-format.ts';
import type { WeightStorage } from '../compiler/wgsl/kernel.ts';
import type { MatmulSpec } from '../compiler/wgsl/matmul.ts';
import { matmulKernels, shapeOf } from '../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../compiler/wgsl/matvec.ts';
import type { NormKind } from '../compiler/wgsl/statistics.ts';
import type { AdapterPreference } from '../runtime/node.ts';
import { findAdapter } from '../runtime/node.ts';
import type { Prepared } from '../test/support/gpu.ts';
import { prepareKernels } from '../test/support/gpu.ts';
import { Buffers, normed, numbers } from '../test/support/kernel-reference.ts';
import { withSums } from '../test/support/products.ts';

const { values } = parseArgs({ options: {
  adapter: { type: 'string' }, shapes: { type: 'string' }, weights: { type: 'string', default: 'f32' }, norm: { type: 'string' },
  rounds: { type: 'string', default: '5' }, all: { type: 'boolean', default: false }, json: { type: 'string' },
} });
function weightStorage(text: string): WeightStorage {
  if (text === 'f32' || text === 'f16' || text === 'f16x2') return text;
  const format = parseWeightFormat(text);
  if (format?.kind === 'int8' || format?.kind === 'int4') return format;
  throw new RangeError(`--weights is ${text}, and one of f32, f16, f16x2, int8, int4:group=32 was expected.`);
}
const rounds = Number(values.rounds), weights = weightStorage(values.weights), norm = values.norm as NormKind | undefined;
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
if (norm && !['rms_norm', 'layer_norm'].includes(norm)) throw new RangeError(`--norm is ${norm}, and rms_norm or layer_norm was expected.`);
const found = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {}), { software } = found, opened = await found.open();
const facts = factsOf(opened, found.adapter.info, software);
if (weights === 'f16' && !opened.features.has('shader-f16')) throw new RangeError(`${found.name} lacks shader-f16; use --weights f16x2.`);

const shapes = (values.shapes ?? (software ? '128x512x1024,64x2048x2048,1x2048x2048' : '640x4096x4096,64x4096x4096,4900x4096x4096,1x4096x4096')).split(',').map((text) => {
  const sizes = text.split('x').map(Number);
  if (sizes.length !== 3 || !sizes.every((n) => Number.isInteger(n) && n > 0)) throw new RangeError(`'${text}' is no shape; an example is 640x2048x2048: rows, outputs, K.`);
  return sizes as [rows: number, width: number, K: number];
});

type Schedule = MatmulSchedule | MatvecSchedule;
function show(s: Schedule): string {
  switch (s.form) {
    case 'tile': return `${s.threads[1]}×${s.threads[0]} invocations, ${s.outputs[1]}×${s.outputs[0]} each, ${s.depth ? `panels of ${s.depth}${s.panels === 'f16' ? ' f16' : ''}` : 'direct'}, ${s.sum}${s.splits > 1 ? `, ${s.splits} splits` : ''}`;
    case 'rows': return `blocks of ${s.rows} rows, ${s.teams} teams of ${s.lanes}, ${s.outputs} outputs each, ${s.sum}${s.subgroup ? ', subgroup' : ''}`;
    case 'exchange': return `${exchangeTile(s).rows}×${exchangeTile(s).columns} exchanged, ${s.teams} team(s) of ${s.lanes}, ${s.rows} rows loaded, ${s.outputs} outputs each`;
    case 'subgroup-matrix': return `${matrixTile(s).rows}×${matrixTile(s).columns} of ${s.M}×${s.N}×${s.K} ${s.component}, panels of ${s.depth}`;
    default: return `${s.teams} teams of ${s.lanes}, ${s.outputs} outputs each, ${s.sum}, ${s.form}`;
  }
}

function candidates(spec: MatmulSpec, rows: number): Schedule[] {
  const shape = shapeOf(spec), other = { ...facts, class: software ? 'gpu' : 'software' } as const;
  let list: Schedule[];
  if (rows === 1) {
    const own = matvecDefault(shape, facts);
    const around = [matvecDefault(shape, other), ...[1, 2, 4, 8].map((outputs) => ({ ...own, outputs })), ...[1, 8, 32, 64].map((lanes) => ({ ...own, lanes, teams: lanes === 1 ? 16 : 4 })), { ...own, sum: 'vec4' as const }];
    list = [own, ...(values.all ? matvecSpace(shape, facts) : around.filter((s) => !whyNotMatvec(s, shape, facts)))];
  } else {
    const own = matmulDefault(shape, facts);
    const varied = (t: TileSchedule): TileSchedule[] => [...([[4, 4], [4, 8], [8, 4], [8, 8]] as const).map((outputs) => ({ ...t, outputs })), ...[0, 8, 16, 32].map((depth) => ({ ...t, depth })), { ...t, sum: 'vec4' as const }];
    const around = [...matmulSpace(shape, facts).filter((s) => s.form === 'exchange'), matmulDefault(shape, other), matmulDefault(shape, facts, { fewRows: true }), ...(rows <= 16 ? [matmulDefault(shape, other, { fewRows: true })] : []), ...(own.form === 'tile' ? varied(own) : [])];
    list = [own, ...(values.all ? matmulSpace(shape, facts) : around.filter((s) => !whyNotMatmul(s, shape, facts)))];
  }
  return [...new Map(list.map((s) => [JSON.stringify(Object.entries(s).sort()), s])).values()];
}

/** Largest error of some hundred elements, relative to the largest of them (at least 1). */
function worstError(b: Buffers, got: ArrayLike<number>, [rows, width, K]: readonly [number, number, number]): number {
  let worst = 0, largest = 1;
  for (let i = 0; i < 256; i++) {
    const at = (i * 7919) % (rows * width), row = Math.floor(at / width), raw = b.get('a').subarray(row * K, (row + 1) * K);
    const a = norm ? normed(raw, norm, b.get('gain'), undefined, 1e-5) : raw, w = b.get('w');
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[k]! * w[(at % width) * K + k]!;
    largest = Math.max(largest, Math.abs(sum));
    worst = Math.max(worst, Math.abs(sum - got[at]!));
  }
  return worst / largest;
}

interface Row { readonly schedule: Schedule; /** Milliseconds of the fastest round, and of all. */ readonly ms: number; readonly times: readonly number[]; readonly first: number; readonly gflops: number; readonly executed: number; readonly worstError: number }
const results: { readonly shape: readonly number[]; readonly flops: number; readonly rows: readonly Row[] }[] = [];
for (const shape of shapes) {
  const [rows, width, K] = shape, flops = 2 * rows * width * K, f32 = 'f32' as const;
  const view = (binding: string, stride: number) => ({ binding, storage: f32, stride, offset: Poly.zero });
  const spec: MatmulSpec = {
    rows: rows === 1 ? Poly.of(1) : Poly.dim('T'), K, a: view('a', K), weight: { binding: 'w', storage: weights },
    ...(norm ? { prologue: { kind: norm, gain: { binding: 'gain', storage: f32 }, eps: 1e-5 } } : {}),
    groups: [{ linears: 1, width, value: { op: 'acc', index: 0 }, out: view('out', width) }],
  };
  const b = new Buffers().add('a', 'f32', numbers(rows * K, 1)).addWeight('w', weights, numbers(width * K, 2), K).add('out', 'f32', new Float32Array(rows * width)).add('gain', 'f32', numbers(K, 3));
  const buffers = b.encode(), dims = { T: rows }, kernelOptions = { dims: ['T'], features: opened.features };
  const runs: { readonly schedule: Schedule; readonly executed: number; readonly ready: Prepared; readonly first: number; readonly times: number[] }[] = [];
  for (const schedule of candidates(spec, rows)) {
    const { spec: whole, buffers: all } = schedule.family === 'matmul' ? withSums(spec, schedule, buffers) : { spec, buffers };
    const kernels = schedule.family === 'matmul' ? matmulKernels(whole, schedule, kernelOptions) : [matvecKernel(spec, schedule, kernelOptions)];
    const ready = await prepareKernels(opened.device, kernels, { buffers: all, dims });
    runs.push({ schedule, executed: kernels[0]!.executed!(dims).flops, ready, first: ready.compile + await ready.run(), times: [] });
  }
  for (let r = 0; r < rounds; r++) for (const run of runs) run.times.push(await run.ready.run());
  const list: Row[] = [];
  for (const { schedule, executed, ready, first, times } of runs) {
    const error = worstError(b, (await ready.read())['out'] as Float32Array, shape), ms = Math.min(...times);
    if (!(error < 1e-5)) throw new Error(`${shape.join('×')} with ${show(schedule)} is wrong by ${error}.`);
    list.push({ schedule, ms, times, first, gflops: flops / ms / 1e6, executed, worstError: error });
    ready.destroy();
  }
  results.push({ shape, flops, rows: list });
  const [own] = list;
  process.stdout.write(`\n${rows} rows × ${width} outputs, K = ${K}, weights ${values.weights}${norm ? `, ${norm}` : ''}: ${(flops / 1e9).toFixed(3)} GFLOP\n${table(['schedule', 'time', 'GFLOP/s', 'of default', 'executed', 'first run'], [own!, ...list.slice(1).sort((x, y) => x.ms - y.ms).slice(0, 10)]
    .map((r, i) => [`${i ? '' : 'default: '}${show(r.schedule)}`, milliseconds(r.ms), r.gflops.toPrecision(3), `${(own!.ms / r.ms).toFixed(2)}×`, `${(r.executed / flops).toFixed(2)}×`, milliseconds(r.first)]))}\n`);
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ adapter: found.name, toggles: found.toggles, node: process.version, cpu: cpus()[0]?.model, rounds, weights: values.weights, norm: norm ?? null, results }, null, 1)}\n`);
opened.close();
