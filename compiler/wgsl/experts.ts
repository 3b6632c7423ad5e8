/**
 * Products of rows with the matrices of the experts that each has chosen, and of no other expert.
 *
 * A *pair* is a row with one of its choices, numbered row · top + choice; a value that holds something for every choice is
 * seen as rows of pairs. Many rows: `expertGroupsKernel` sorts the pairs by expert, and a workgroup of `expertTileKernel`
 * takes a tile of pairs of one expert × weight rows of its matrix. How many tiles an expert has is data, so the grid holds the
 * most that there may be, and workgroups beyond the last tile return. One row is another kernel's (experts-row.ts).
 *
 * The weight that a kernel binds may hold the matrices of some experts alone, or a slice of one's rows (`piece`): pairs of
 * other experts are another dispatch's. Layouts, ragged edges and preconditions are those of matmul.ts.
 */
import type { Poly } from '../ir/poly.ts';
import type { ExpertTileSchedule } from '../schedule/experts-schedule.ts';
import type { ElementExpr } from './expr.ts';
import type { Kernel, View, WeightMatrix } from './kernel.ts';
import type { KernelOptions, Lanes, ViewAccess } from './printer.ts';
import { Memory, range } from './printer.ts';
import type { Norm } from './statistics.ts';
import type { MatmulGroup } from './weight-rows.ts';
import { WeightRows } from './weight-rows.ts';
import type { WeightRowAccess } from './weights.ts';
import { declareWeightRows } from './weights.ts';

/** Which part of all experts' matrices a weight holds: `count` experts from `expert` on, and of each `rows` rows from `first` on. */
export interface ExpertPiece { readonly expert: number; readonly count: number; readonly first: number; readonly rows: number }

export interface ExpertsSpec {
  readonly rows: Poly;
  /** Choices of a row, and experts in all. */
  readonly top: number;
  readonly experts: number;
  readonly K: number;
  /** Rows of K, or (`aByPair`) of top · K: a part for each choice. */
  readonly a: View;
  readonly aByPair: boolean;
  /** i32, `top` a row. */
  readonly chosen: View;
  /** Interleaved linears of a result (gate and up: 2); `weight` holds `piece.count` matrices of linears · piece.rows rows. */
  readonly linears: number;
  readonly weight: WeightMatrix;
  readonly piece: ExpertPiece;
  /** Columns that an expert gives to one choice, of which the piece computes some. */
  readonly width: number;
  readonly value: ElementExpr;
  /** Rows of top · width; with `scores`, of width. */
  readonly out: View;
  /** Normalises rows that are not by pair on the way in. One row alone. */
  readonly norm?: Norm;
  /**
   * Of one row alone, and one linear whose weight holds all experts: `value` is over Σ_j p_j · (the product with choice j), p the softmax
   * of the row's scores (one for each expert) at its choices.
   */
  readonly scores?: View;
  /** Where `expertGroupsKernel` has left the pairs by expert; one row needs none. */
  readonly groups?: string;
}

/** A value of `top` parts a row as rows of these parts. */
export function byPair(v: View, top: number): View {
  if (v.column || v.regions || v.stride % top) throw new RangeError(`Rows of ${v.stride} elements of a larger buffer do not split into ${top} rows.`);
  return { ...v, stride: v.stride / top, offset: v.offset.mul(top) };
}

/** u32 elements of `groups`: where each expert's pairs begin, the end of the last, then all pairs. */
export const groupsLength = (experts: number, pairs: number): number => experts + 1 + pairs;

export interface GroupsSpec { readonly rows: Poly; readonly top: number; readonly experts: number; readonly chosen: View; readonly groups: string }

/** Most experts: each has a counter in workgroup memory. */
const mostExperts = 4096;

/** One workgroup counts the pairs of each expert, adds up where they begin, and writes each pair to its expert's place. */
export function expertGroupsKernel({ rows, top, experts, chosen, groups }: GroupsSpec, options: KernelOptions, invocations = 64): Kernel {
  if (experts > mostExperts) throw new RangeError(`${experts} experts are more than the ${mostExperts} that can be counted in workgroup memory.`);
  const memory = new Memory(options), choices = memory.view('chosen', byPair(chosen, top), 1), name = memory.entries('groups', groups, 'u32');
  const expert = `min(u32(${choices.load(choices.element('p', '0u'), 1)}), ${experts - 1}u)`;
  const pairs = memory.poly(rows.mul(top));
  memory.helper('begins', `var<workgroup> begins: array<atomic<u32>, ${experts}>;`);
  return {
    family: 'expert-groups',
    wgsl: `${memory.head()}
@compute @workgroup_size(${invocations})
fn main(@builtin(local_invocation_index) t: u32) {
  let pairs = ${pairs};
  for (var e = t; e < ${experts}u; e += ${invocations}u) { atomicStore(&begins[e], 0u); }
  workgroupBarrier();
  for (var p = t; p < pairs; p += ${invocations}u) { atomicAdd(&begins[${expert}], 1u); }
  workgroupBarrier();
  if (t == 0u) {
    var at = 0u;
    for (var e = 0u; e < ${experts}u; e++) {
      let count = atomicLoad(&begins[e]);
      atomicStore(&begins[e], at);
      ${name}[e] = at;
      at += count;
    }
    ${name}[${experts}u] = at;
  }
  workgroupBarrier();
  for (var p = t; p < pairs; p += ${invocations}u) { ${name}[${experts + 1}u + atomicAdd(&begins[${expert}], 1u)] = p; }
}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], grid: [1, 1, 1], features: memory.features(),
  };
}

interface Operands { readonly memory: Memory; readonly a: ViewAccess; readonly weight: WeightRowAccess; readonly weightRows: WeightRows; aRow(pair: string): string; x(base: string, k: string): string }

/** The columns that a piece computes, of rows of pairs; `chunk` weight rows an invocation must hold whole ones. */
export function outputOf({ top, linears, piece, value, out }: ExpertsSpec, chunk: number): MatmulGroup {
  if (chunk % linears) throw new RangeError(`${chunk} weight rows an invocation do not hold whole outputs of ${linears} interleaved linears.`);
  const pairs = byPair(out, top);
  return { linears, width: piece.rows, value, out: piece.first ? { ...pairs, column: piece.first } : pairs };
}
export const columnsAtOnce = (weightRows: number, { linears }: MatmulGroup): Lanes => ([4, 2, 1] as const).find((n) => (weightRows / linears) % n === 0)!;

/** What a tile reads and writes; `chunk` weight rows are an invocation's. */
function declare(spec: ExpertsSpec, chunk: number, options: KernelOptions): Operands {
  const { top, K } = spec, memory = new Memory(options), group = outputOf(spec, chunk);
  const weight = declareWeightRows(memory, 'weight', spec.weight, K), a = memory.view('a', spec.aByPair ? byPair(spec.a, top) : spec.a, 4), pairs = spec.rows.mul(top);
  const weightRows = new WeightRows({ rows: pairs, K, a: spec.a, weight: spec.weight, groups: [group] }, chunk, memory, () => columnsAtOnce(chunk, group));
  return {
    memory, a, weight, weightRows,
    aRow: (pair) => a.rowUnit(spec.aByPair ? pair : `(${pair}) / ${top}u`),
    x: (base, k) => (K % 4 ? `select(vec4<f32>(0.0), ${a.loadFour(base, k)}, vec4<u32>(4u * ${k}) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${K}u))` : a.loadFour(base, k)),
  };
}

/** WGSL: the weight row at a place of the expert's matrix. */
export const weightRow = ({ weight, weightRows }: Pick<Operands, 'weight' | 'weightRows'>, { linears, piece }: ExpertsSpec, expert: string, place: string): string =>
  weight.rowUnit(piece.count > 1 ? `(${expert} * ${linears * piece.rows}u + ${weightRows.row(place)})` : weightRows.row(place));
const notThere = '0xffffffffu';

export function expertTileKernel(spec: ExpertsSpec, schedule: ExpertTileSchedule, options: KernelOptions): Kernel {
  const { piece, top, K, experts } = spec, [tx, ty] = schedule.threads, [nj, ni] = schedule.outputs, tileRows = ty * ni, tileColumns = tx * nj;
  if (spec.groups === undefined) throw new RangeError('Products of many rows need the pairs by expert (expertGroupsKernel).');
  if (spec.norm || spec.scores) throw new RangeError('Rows are normalised, and what their experts give is mixed, in a product of one row alone.');
  const o = declare(spec, nj, options), { memory, weightRows, weight } = o, groups = memory.entries('groups', spec.groups, 'u32');
  const finished = (i: number, j: number): string => `s${i}_${j}${weight.rowScale ? ` * row_scale${j}` : ''}`;
  const sums = range(ni).map((i) => range(nj).map((j) => `var s${i}_${j} = 0.0;`).join(' ')).join('\n  ');
  const products = (x: (i: number) => string, y: (j: number) => string): string => range(ni).map((i) => `let x${i} = ${x(i)};`).join(' ') + '\n' + range(nj).map((j) => `      { let y = ${y(j)}; ${range(ni).map((i) => `s${i}_${j} += dot(x${i}, y);`).join(' ')} }\n`).join('');
  // Which tile of which expert a workgroup has: the expert within the piece, its first pair in the order of `groups`, and the end of the expert's.
  memory.helper('tile_of', `fn tile_of(y: u32) -> vec3<u32> {
  var left = y;
  for (var e = ${piece.expert}u; e < ${piece.expert + piece.count}u; e++) {
    let first = ${groups}[e];
    let end = ${groups}[e + 1u];
    let tiles = (end - first + ${tileRows - 1}u) / ${tileRows}u;
    if (left < tiles) { return vec3<u32>(e - ${piece.expert}u, first + left * ${tileRows}u, end); }
    left -= tiles;
  }
  return vec3<u32>(0u, 0u, 0u);
}`);
  const pair = (at: string): string => `${groups}[${experts + 1}u + ${at}]`, fours = Math.ceil(K / 4), rowsAt = (i: number): string => `first + local.y * ${ni}u + ${i}u`;
  const scales = weight.rowScale ? range(nj).map((j) => `  let row_scale${j} = ${weight.rowScale!(weightRow(o, spec, 'expert', j ? `(place + ${j}u)` : 'place'))};\n`).join('') : '';
  const pairs = `  var pairs = array<u32, ${ni}>(${range(ni).map(() => notThere).join(', ')});
${range(ni).map((i) => `  if (${rowsAt(i)} < end) { pairs[${i}] = ${pair(rowsAt(i))}; }\n`).join('')}`;
  const finish = weightRows.finish('place', { count: ni, at: (r) => `pairs[${r}]` }, finished);

  const direct = (): string => `  let tile = tile_of(group.y);
  let expert = tile.x;
  let first = tile.y;
  let end = tile.z;
  let place = (group.x * ${tx}u + local.x) * ${nj}u;
  if (first + local.y * ${ni}u >= end || place >= ${weightRows.places}u) { return; }
${range(ni).map((i) => `  let a${i} = ${o.aRow(pair(`min(${rowsAt(i)}, end - 1u)`))};\n`).join('')}${range(nj).map((j) => `  let w${j} = ${weightRow(o, spec, 'expert', j ? `(place + ${j}u)` : 'place')};\n`).join('')}  ${sums}
  for (var k = 0u; k < ${fours}u; k++) {
      ${products((i) => o.x(`a${i}`, 'k'), (j) => weight.loadFour(`w${j}`, 'k'))}  }
`;

  const staged = (): string => {
    const steps = schedule.depth / 4, invocations = tx * ty, strideA = tileRows + 1, strideW = tileColumns + 1, perPass = invocations / steps;
    if (!Number.isInteger(perPass)) throw new RangeError(`${invocations} invocations do not share a depth of ${schedule.depth} evenly.`);
    memory.helper('panels', `var<workgroup> panel_a: array<vec4<f32>, ${steps * strideA}>;\nvar<workgroup> panel_w: array<vec4<f32>, ${steps * strideW}>;\nvar<workgroup> shared_tile: vec3<u32>;`);
    const slot = (p: number): string => (p ? `slot + ${p * perPass}u` : 'slot'), guard = (slots: number, p: number, text: string): string => ((p + 1) * perPass > slots ? `if (${slot(p)} < ${slots}u) { ${text} }` : text);
    const passesA = range(Math.ceil(tileRows / perPass)), passesW = range(Math.ceil(tileColumns / perPass)), ragged = fours % steps !== 0;
    const inside = (x: string): string => (ragged ? `select(vec4<f32>(0.0), ${x}, k < ${fours}u)` : x);
    return `  if (t == 0u) { shared_tile = tile_of(group.y); }
  let tile = workgroupUniformLoad(&shared_tile);
  let expert = tile.x;
  let first = tile.y;
  let end = tile.z;
  if (first >= end) { return; }
  let place = (group.x * ${tx}u + local.x) * ${nj}u;
  let slot = t / ${steps}u;
  let step = t % ${steps}u;
${passesA.map((p) => `  let fa${p} = ${o.aRow(pair(`min(first + min(${slot(p)}, ${tileRows - 1}u), end - 1u)`))};\n`).join('')}${passesW.map((p) => `  let fw${p} = ${weightRow(o, spec, 'expert', `(group.x * ${tileColumns}u + ${slot(p)})`)};\n`).join('')}  ${sums}
  for (var k0 = 0u; k0 < ${fours}u; k0 += ${steps}u) {
    let k = k0 + step;
    let kc = ${ragged ? `min(k, ${fours - 1}u)` : 'k'};
    workgroupBarrier();
${passesA.map((p) => `    ${guard(tileRows, p, `panel_a[step * ${strideA}u + ${slot(p)}] = ${inside(o.x(`fa${p}`, 'kc'))};`)}\n`).join('')}${passesW.map((p) => `    ${guard(tileColumns, p, `panel_w[step * ${strideW}u + ${slot(p)}] = ${weight.loadFour(`fw${p}`, 'kc')};`)}\n`).join('')}    workgroupBarrier();
    for (var q = 0u; q < ${steps}u; q++) {
      ${products((i) => `panel_a[q * ${strideA}u + local.y * ${ni}u + ${i}u]`, (j) => `panel_w[q * ${strideW}u + local.x * ${nj}u + ${j}u]`)}    }
  }
`;
  };
  const body = (schedule.depth ? staged() : direct()) + pairs + scales;
  const text = weightRows.text();
  return {
    family: 'experts',
    wgsl: `// ${tileRows} rows of one expert x ${tileColumns} weight rows a workgroup, K = ${K}
${memory.head()}${text}
@compute @workgroup_size(${tx}, ${ty})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}  ${finish}
}
`,
    bindings: memory.bindings(), workgroup: [tx, ty, 1], features: memory.features(),
    // Every expert may leave one tile almost empty.
    grid: [Math.ceil(weightRows.places / tileColumns), { ceil: spec.rows.mul(top).add(piece.count * (tileRows - 1)), by: tileRows }, 1],
  };
}
