/**
 * Register tiles, the matmul form for many rows: out = epilogue(prologue(A) · Wᵀ).
 *
 * Tile: (threads.rows · outputs.rows) rows × (threads.columns · outputs.columns) weight rows a workgroup, each invocation
 * an outputs.rows × outputs.columns piece of it in registers. Layouts: A by its view, W [weight rows, K] row-major, both
 * walked along K four elements at a time. With `depth`, panels of both are staged in workgroup memory as
 * [depth/4][slot] of vec4, slots padded against bank conflicts; without, invocations read both operands directly.
 * Ragged edges: rows, weight rows and K may be anything; indices are clamped, the tail of K is zeroed in A, stores are
 * guarded. Preconditions: weights and what lies behind them in their buffer are finite; A's and the outputs' rows do
 * not overlap in memory except that an epilogue may load the very element it stores; at most 65,535 tiles a side.
 * Sums are f32 for every storage; panels may hold f16, saturated. Quantised weights become numbers in registers, or on their way into a panel: the scale of
 * an int8 row multiplies its finished sums, those of int4 the vectors that several rows of A share. A norm's gain is applied on the way in, 1/σ of an RMS norm to the sums; statistics
 * come first, from one more walk over the tile's rows, except an RMS norm's where nothing is staged.
 */
import type { TileSchedule } from '../schedule/matmul-tile.ts';
import { chunkOf, matmulTile, panelPadding } from '../schedule/matmul-tile.ts';
import { floatLiteral } from './expr.ts';
import type { Kernel } from './kernel.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory, range } from './printer.ts';
import { declareOperandA } from './operand.ts';
import type { SplitSums } from './matmul-split.ts';
import { declareSums, splitHead } from './matmul-split.ts';
import { statisticsText } from './statistics.ts';
import { walkWeights } from './weight-walk.ts';
import type { WeightRowAccess } from './weights.ts';
import { declareWeightRows } from './weights.ts';
import type { MatmulGroup, MatmulSpec } from './weight-rows.ts';
import { WeightRows, shapeOf } from './weight-rows.ts';

/** Limits on one side of the grid, in every WebGPU device. */
const maxGrid = 65535;

export function tileKernel(spec: MatmulSpec, schedule: TileSchedule, options: KernelOptions): Kernel {
  const shape = shapeOf(spec);
  const memory = new Memory(options);
  const weight = declareWeightRows(memory, 'weight', spec.weight, spec.K);
  // Panels are filled vector by vector; without them an invocation uses all of what it fetches at once.
  const a = declareOperandA(memory, spec, schedule.depth ? 4 : 4 * weight.parts);
  const chunk = chunkOf(schedule, shape)!;
  const lanes = (g: MatmulGroup): Lanes => ([4, 2, 1] as const).find((n) => (chunk / g.linears) % n === 0)!;
  const weightRows = new WeightRows(spec, chunk, memory, lanes);
  const sums = schedule.splits > 1 ? declareSums(memory, spec, weightRows, chunk) : undefined;
  if (schedule.panels === 'f16') memory.need('shader-f16');
  const [tx, ty] = schedule.threads, tile = matmulTile(schedule);
  const gridX = Math.ceil(weightRows.places / tile.columns);
  if (gridX > maxGrid) throw new RangeError(`${weightRows.places} weight rows make ${gridX} tiles of ${tile.columns}; a dispatch has at most ${maxGrid} a side. Use a wider tile.`);

  const context: Context = { spec, schedule, memory, a, weight, weightRows, chunk, sums };
  const body = schedule.depth ? stagedBody(context) : directBody(context);
  const stats = a.norm && (schedule.depth || !a.scaleAfter) ? `${statisticsText(a.view!, a.norm.kind, spec.K, a.norm.eps, tile.rows, tx * ty)}\n` : '';
  const finish = weightRows.text();
  const wgsl = `// ${tile.rows} rows x ${tile.columns} weight rows a workgroup, K = ${spec.K}
${memory.head()}${stats}${finish}
@compute @workgroup_size(${tx}, ${ty})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`;
  return {
    family: 'matmul', wgsl, bindings: memory.bindings(), workgroup: [tx, ty, 1], features: memory.features(),
    grid: [gridX, { ceil: spec.rows, by: tile.rows }, schedule.splits],
    executed: (dims) => {
      const up = (n: number, by: number): number => Math.ceil(n / by) * by, rows = spec.rows.at(dims);
      // Invocations that lie wholly outside return at once when nothing is staged; a staged tile is computed in full.
      const computed = schedule.depth ? up(rows, tile.rows) * up(weightRows.places, tile.columns) : up(rows, schedule.outputs[1]) * up(weightRows.places, schedule.outputs[0]);
      return { flops: 2 * computed * up(spec.K, schedule.depth || 4) };
    },
  };
}

interface Context {
  readonly spec: MatmulSpec;
  readonly schedule: TileSchedule;
  readonly memory: Memory;
  readonly a: ReturnType<typeof declareOperandA>;
  readonly weight: WeightRowAccess;
  readonly weightRows: WeightRows;
  readonly chunk: number;
  /** Where the sums of a share of K go. */
  readonly sums: SplitSums | undefined;
}

/** Text over all register outputs (row i, weight row j). */
const each = (s: TileSchedule, f: (i: number, j: number) => string): string =>
  range(s.outputs[1]).map((i) => range(s.outputs[0]).map((j) => f(i, j)).join(' ')).join('\n  ');
const registers = (s: TileSchedule): string => each(s, (i, j) => `var s${i}_${j} = ${s.sum === 'dot' ? '0.0' : 'vec4<f32>(0.0)'};`);
const addProduct = (s: TileSchedule, i: number, j: number): string => (s.sum === 'dot' ? `s${i}_${j} += dot(x${i}, y);` : `s${i}_${j} += x${i} * y;`);
/** A finished sum; 1/σ of an RMS norm scales it, and the scale of an int8 row. */
const finished = ({ schedule, a, weight }: Context, i: number, j: number): string => {
  const sum = schedule.sum === 'dot' ? `s${i}_${j}` : `dot(s${i}_${j}, vec4<f32>(1.0))`;
  return `${sum}${a.scaleAfter ? ` * scale${i}` : ''}${weight.rowScale ? ` * row_scale${j}` : ''}`;
};
/** Statements that read the scales of int8 rows; the j-th of an invocation begins at `base(j)`. */
const rowScales = ({ schedule, weight }: Context, base: (j: number) => string): string =>
  (weight.rowScale ? range(schedule.outputs[0]).map((j) => `  let row_scale${j} = ${weight.rowScale!(base(j))};\n`).join('') : '');

/** Every invocation reads its rows of A and of W; no barrier but those of a norm's statistics. */
function directBody(c: Context): string {
  const { schedule, spec, a, weight, weightRows, memory } = c;
  const [nj, ni] = schedule.outputs, [tx, ty] = schedule.threads;
  // The squares of an RMS norm are summed on the way, and the gain multiplies whichever side has fewer vectors a step.
  const rms = a.scaleAfter, gainOnWeights = rms && nj < ni, statistics = a.norm && !rms;
  const row = (i: number): string => (i ? `row0 + ${i}u` : 'row0');
  /** The products of group `k` of K with the vectors of the weight rows. */
  const step = (vector: (j: number) => string): string =>
    `${a.declareStep('k', 'k')}${range(ni).map((i) => (rms ? `    let r${i} = ${a.raw(`${i}`, 'k')}; squares${i} += r${i} * r${i}; let x${i} = r${i}${gainOnWeights ? '' : ' * gain_k'};\n` : `    let x${i} = ${a.load(`${i}`, 'k', { gain: true })};\n`)).join('')}${range(nj).map((j) => `    { let y = ${gainOnWeights ? `(${vector(j)}) * gain_k` : vector(j)}; ${range(ni).map((i) => addProduct(schedule, i, j)).join(' ')} }\n`).join('')}`;
  return `  let rows = ${memory.poly(spec.rows)};
  let row0 = ${ty > 1 ? `(group.y * ${ty}u + local.y)` : 'group.y'} * ${ni}u;
  let place = (group.x * ${tx}u + local.x) * ${nj}u;
${statistics ? `  statistics(t, group.y * ${ty * ni}u, rows);\n` : ''}  if (row0 >= rows || place >= ${weightRows.places}u) { return; }
${range(ni).map((i) => a.declareRow(`${i}`, `min(${row(i)}, rows - 1u)`, `local.y * ${ni}u + ${i}u`)).join('')}${range(nj).map((j) => `  let w${j} = ${weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place'))};\n`).join('')}  ${registers(schedule)}
${rms ? `  ${range(ni).map((i) => `var squares${i} = vec4<f32>(0.0);`).join(' ')}\n` : ''}${walkWeights(weight, spec.K, nj, step)}${rms ? range(ni).map((i) => `  let scale${i} = 1.0 / sqrt(dot(squares${i}, vec4<f32>(1.0)) / ${spec.K}.0 + ${floatLiteral(a.norm!.eps)});\n`).join('') : ''}${rowScales(c, (j) => `w${j}`)}  ${weightRows.finish('place', { count: ni, inside: `min(${ni}u, rows - row0)`, at: (r) => `row0 + ${r}` }, (i, j) => finished(c, i, j))}
`;
}

/** Panels of A and W in workgroup memory, filled by all invocations together. */
function stagedBody(c: Context): string {
  const { schedule, spec, a, weight, weightRows, memory, chunk, sums } = c;
  const [nj, ni] = schedule.outputs, [tx, ty] = schedule.threads, tile = matmulTile(schedule), invocations = tx * ty;
  const steps = schedule.depth / 4, pad = panelPadding(schedule.depth), strideA = tile.rows + pad, strideW = tile.columns + pad;
  const half = schedule.panels === 'f16', T = half ? 'vec4<f16>' : 'vec4<f32>';
  memory.helper('panels', `var<workgroup> panel_a: array<${T}, ${steps * strideA}>;\nvar<workgroup> panel_w: array<${T}, ${steps * strideW}>;`);
  /** Into a panel, and out of it. */
  const put = (x: string): string => (half ? `vec4<f16>(clamp(${x}, vec4<f32>(-65504.0), vec4<f32>(65504.0)))` : x), get = (x: string): string => (half ? `vec4<f32>(${x})` : x);
  const ragged = Math.ceil(spec.K / 4) % steps !== 0, total = Math.ceil(spec.K / 4);
  // Slot j·tx + x holds the j-th weight row of invocation x: neighbours read neighbouring slots.
  const slotPlace = (slot: string): string => (chunk === 1 ? slot : `(${slot}) / ${tx * chunk}u * ${tx * chunk}u + (${slot}) % ${tx}u * ${chunk}u + (${slot}) / ${tx}u % ${chunk}u`);
  const perPass = invocations / steps;
  const passes = (slots: number): number[] => range(Math.ceil(slots / perPass));
  const slot = (p: number): string => (p ? `slot + ${p * perPass}u` : 'slot');
  const guard = (slots: number, p: number, text: string): string => ((p + 1) * perPass > slots ? `if (${slot(p)} < ${slots}u) { ${text} }` : text);
  const inside = (x: string): string => (ragged ? `select(vec4<f32>(0.0), ${x}, k < ${total}u)` : x);
  const chunks = range(nj / chunk), placeOf = (j: number): string => `(first_place + ${Math.floor(j / chunk) * chunk * tx + (j % chunk)}u + local.x * ${chunk}u)`;
  return `  let rows = ${memory.poly(spec.rows)};
  let first = group.y * ${tile.rows}u;
  let first_place = group.x * ${tile.columns}u;
${sums ? splitHead(schedule, total, steps) : ''}${a.norm ? '  statistics(t, first, rows);\n' : ''}  let slot = t / ${steps}u;
  let step = t % ${steps}u;
${passes(tile.rows).map((p) => a.declareRow(`f${p}`, `min(first + min(${slot(p)}, ${tile.rows - 1}u), rows - 1u)`, `min(${slot(p)}, ${tile.rows - 1}u)`)).join('')}${passes(tile.columns).map((p) => `  let w${p} = ${weight.rowUnit(weightRows.row(`(first_place + ${slotPlace(slot(p))})`))};\n`).join('')}  ${registers(schedule)}
  for (var k0 = ${sums ? 'begin' : '0u'}; k0 < ${sums ? 'end' : `${total}u`}; k0 += ${steps}u) {
    let k = k0 + step;
    let kc = ${ragged ? `min(k, ${total - 1}u)` : 'k'};
${a.declareStep('k', 'kc')}    workgroupBarrier();
${passes(tile.rows).map((p) => `    ${guard(tile.rows, p, `panel_a[step * ${strideA}u + ${slot(p)}] = ${put(inside(a.load(`f${p}`, 'kc', { gain: true })))};`)}\n`).join('')}${passes(tile.columns).map((p) => `    ${guard(tile.columns, p, `panel_w[step * ${strideW}u + ${slot(p)}] = ${put(weight.loadFour(`w${p}`, 'kc'))};`)}\n`).join('')}    workgroupBarrier();
    for (var q = 0u; q < ${steps}u; q++) {
${range(ni).map((i) => `      let x${i} = ${get(`panel_a[q * ${strideA}u + local.y + ${i * ty}u]`)};\n`).join('')}${range(nj).map((j) => `      { let y = ${get(`panel_w[q * ${strideW}u + local.x + ${j * tx}u]`)}; ${range(ni).map((i) => addProduct(schedule, i, j)).join(' ')} }\n`).join('')}    }
  }
  let row0 = first + local.y;
${a.scaleAfter ? range(ni).map((i) => `  let scale${i} = row_stats[local.y + ${i * ty}u].y;\n`).join('') : ''}${rowScales(c, (j) => weight.rowUnit(weightRows.row(placeOf(j))))}${chunks.map((q) => `  { let place = first_place + ${q * chunk * tx}u + local.x * ${chunk}u;
  ${sums ? 'if (splits == 1u) ' : ''}${sums ? '{ ' : ''}${weightRows.finish('place', { count: ni, at: (r) => `row0 + ${r}${ty > 1 ? ` * ${ty}u` : ''}` }, (i, j) => finished(c, i, q * chunk + j))}${sums ? ` } else {\n  ${range(ni).map((i) => sums.put('place', `row0 + ${i * ty}u`, (j) => finished(c, i, q * chunk + j))).join('\n  ')}\n  }` : ''} }\n`).join('')}`;
}
