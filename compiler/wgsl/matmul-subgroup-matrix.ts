/**
 * Products on subgroup matrices (Dawn's `chromium_experimental_subgroup_matrix`): out = epilogue(prologue(A) · Wᵀ).
 *
 * Tile: grid.rows · matrices.rows · M rows × grid.columns · matrices.columns · N weight rows a workgroup. Panels of A and W,
 * `depth` elements of K deep, lie in workgroup memory row by row ([row][depth + padding]) as the matrices' component: A
 * with its prologue applied, W dequantised, both saturated where they become f16. A subgroup multiplies the matrices of a
 * piece, W's read column-major, which transposes it. WGSL lets nobody see an element of a matrix, so finished sums go
 * through workgroup memory, one strip (a row of matrices of every piece) at a time, where epilogues find them.
 * How many subgroups there are is asked at run time: they take pieces in turn, and one without a piece repeats the last
 * one and keeps the result to itself, so that barriers and matrices stay in uniform control flow.
 * Ragged edges: rows and weight rows are clamped, the tail of K is zeroed in A, stores are guarded; nothing is padded in memory.
 * Preconditions: as matmul-tile.ts. A subgroup's invocations have neighbouring numbers.
 */
import type { SubgroupMatrixSchedule } from '../schedule/subgroup-matrix.ts';
import { matrixPanelPadding, matrixSumPadding, matrixTile } from '../schedule/subgroup-matrix.ts';
import type { Kernel } from './kernel.ts';
import { declareOperandA } from './operand.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory, range } from './printer.ts';
import { statisticsText } from './statistics.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { WeightRows, shapeOf } from './weight-rows.ts';
import { declareWeightRows } from './weights.ts';
import { outputUnit } from '../schedule/product-shape.ts';

export function subgroupMatrixKernel(spec: MatmulSpec, schedule: SubgroupMatrixSchedule, options: KernelOptions): Kernel {
  const { M, N, K, component, grid, matrices, depth } = schedule, shape = shapeOf(spec), tile = matrixTile(schedule), { invocations } = tile;
  const memory = new Memory(options);
  memory.need('subgroups');
  memory.need('chromium-experimental-subgroup-matrix');
  if (component === 'f16') memory.need('shader-f16');
  const weight = declareWeightRows(memory, 'weight', spec.weight, spec.K), a = declareOperandA(memory, spec, 4);
  // A matrix holds whole chunks: N is a multiple of what one output needs.
  const unit = outputUnit(shape), chunk = [4, 2, 1].map((n) => n * unit).find((n) => N % n === 0)!;
  const weightRows = new WeightRows(spec, chunk, memory, (g): Lanes => ([4, 2, 1] as const).find((n) => (chunk / g.linears) % n === 0)!);
  const gridX = Math.ceil(weightRows.places / tile.columns);
  const steps = depth / 4, pitch = depth + matrixPanelPadding, sumPitch = tile.columns + matrixSumPadding, strip = grid[1] * M;
  const pieces = grid[0] * grid[1], columns = range(matrices[0]), rows = range(matrices[1]), total = Math.ceil(spec.K / 4), ragged = total % steps !== 0;
  memory.helper('panels', `var<workgroup> panel_a: array<${component}, ${tile.rows * pitch}>;
var<workgroup> panel_w: array<${component}, ${tile.columns * pitch}>;
var<workgroup> sums: array<f32, ${strip * sumPitch}>;`);
  /** Copies `count` rows of a panel, four elements an invocation. */
  const perPass = invocations / steps, passes = (count: number): number[] => range(Math.ceil(count / perPass));
  const slot = (p: number): string => (p ? `slot + ${p * perPass}u` : 'slot');
  const put = (panel: string, count: number, p: number, value: string): string => {
    const saturated = component === 'f16' ? `vec4<f16>(clamp(${value}, vec4<f32>(-65504.0), vec4<f32>(65504.0)))` : value;
    const text = `let x = ${saturated}; let at = (${slot(p)}) * ${pitch}u + step * 4u; ${range(4).map((i) => `${panel}[at${i ? ` + ${i}u` : ''}] = x[${i}];`).join(' ')}`;
    return `${(p + 1) * perPass > count ? `if (${slot(p)} < ${count}u) ` : ''}{ ${text} }`;
  };
  const inside = (x: string): string => (ragged ? `select(vec4<f32>(0.0), ${x}, k < ${total}u)` : x);
  const matrix = (side: 'left' | 'right', panel: string, first: string): string =>
    `subgroupMatrixLoad<subgroup_matrix_${side}<${component}, ${side === 'left' ? `${K}, ${M}` : `${N}, ${K}`}>, ${side === 'left' ? 'row_major' : 'col_major'}>(&${panel}, (${first}) * ${pitch}u + inner, ${pitch}u)`;
  const chunksAcross = tile.columns / chunk;
  const finish = weightRows.finish('place', { count: 1, at: () => 'row' }, (_r, j) =>
    `sums[at + ${j}u]${a.scaleAfter ? ' * row_stats[tile_row].y' : ''}${weight.rowScale ? ` * row_scale${j}` : ''}`);
  const body = `  let rows = ${memory.poly(spec.rows)};
  let first = group.y * ${tile.rows}u;
  let first_place = group.x * ${tile.columns}u;
${a.norm ? '  statistics(t, first, rows);\n' : ''}  let slot = t / ${steps}u;
  let step = t % ${steps}u;
${passes(tile.rows).map((p) => a.declareRow(`f${p}`, `min(first + min(${slot(p)}, ${tile.rows - 1}u), rows - 1u)`, `min(${slot(p)}, ${tile.rows - 1}u)`)).join('')}${passes(tile.columns).map((p) => `  let w${p} = ${weight.rowUnit(weightRows.row(`(first_place + ${slot(p)})`))};\n`).join('')}  let subgroups = ${invocations}u / subgroup_size;
  for (var turn = 0u; turn < ${pieces}u; turn += subgroups) {
    let own = turn + t / subgroup_size;
    let piece = min(own, ${pieces - 1}u);
    let piece_row = piece / ${grid[0]}u * ${matrices[1] * M}u;
    let piece_column = piece % ${grid[0]}u * ${matrices[0] * N}u;
    ${rows.map((i) => columns.map((j) => `var acc${i}_${j} = subgroup_matrix_result<f32, ${N}, ${M}>();`).join(' ')).join('\n    ')}
    for (var k0 = 0u; k0 < ${total}u; k0 += ${steps}u) {
      let k = k0 + step;
      let kc = ${ragged ? `min(k, ${total - 1}u)` : 'k'};
  ${a.declareStep('k', 'kc')}      workgroupBarrier();
${passes(tile.rows).map((p) => `      ${put('panel_a', tile.rows, p, inside(a.load(`f${p}`, 'kc', { gain: true })))}\n`).join('')}${passes(tile.columns).map((p) => `      ${put('panel_w', tile.columns, p, weight.loadFour(`w${p}`, 'kc'))}\n`).join('')}      workgroupBarrier();
      for (var inner = 0u; inner < ${depth}u; inner += ${K}u) {
${rows.map((i) => `        let left${i} = ${matrix('left', 'panel_a', `piece_row + ${i * M}u`)};\n`).join('')}${columns.map((j) => `        { let right = ${matrix('right', 'panel_w', `piece_column + ${j * N}u`)}; ${rows.map((i) => `acc${i}_${j} = subgroupMatrixMultiplyAccumulate(left${i}, right, acc${i}_${j});`).join(' ')} }\n`).join('')}      }
    }
${rows.map((i) => `    workgroupBarrier();
    if (own < ${pieces}u) {
      ${columns.map((j) => `subgroupMatrixStore<row_major>(&sums, piece / ${grid[0]}u * ${M * sumPitch}u + piece_column + ${j * N}u, acc${i}_${j}, ${sumPitch}u);`).join('\n      ')}
    }
    workgroupBarrier();
    finish_strip(t, first, first_place, ${i}u, turn, min(turn + subgroups, ${pieces}u), rows);
`).join('')}  }
`;
  const helper = `fn finish_strip(t: u32, first: u32, first_place: u32, strip: u32, from_piece: u32, to_piece: u32, rows: u32) {
  for (var i = t; i < ${strip * chunksAcross}u; i += ${invocations}u) {
    let strip_row = i / ${chunksAcross}u;
    let column = i % ${chunksAcross}u * ${chunk}u;
    let owner = strip_row / ${M}u * ${grid[0]}u + column / ${matrices[0] * N}u;
    let tile_row = strip_row / ${M}u * ${matrices[1] * M}u + strip * ${M}u + strip_row % ${M}u;
    let row = first + tile_row;
    let place = first_place + column;
    if (owner < from_piece || owner >= to_piece || row >= rows || place >= ${weightRows.places}u) { continue; }
    let at = strip_row * ${sumPitch}u + column;
${weight.rowScale ? range(chunk).map((j) => `    let row_scale${j} = ${weight.rowScale!(weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place')))};\n`).join('') : ''}    ${finish}
  }
}
`;
  const stats = a.norm ? `${statisticsText(a.view!, a.norm.kind, spec.K, a.norm.eps, tile.rows, invocations)}\n` : '';
  const groups = weightRows.text(), head = memory.head();
  const directive = head.indexOf('\n', head.lastIndexOf('enable ')) + 1;
  return {
    family: 'matmul', bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    wgsl: `// ${tile.rows} rows x ${tile.columns} weight rows a workgroup in matrices of ${M}x${N}x${K}, K = ${spec.K}
${head.slice(0, directive)}diagnostic(off, chromium.subgroup_matrix_uniformity);
${head.slice(directive)}${stats}${groups}
${helper}@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32, @builtin(subgroup_size) subgroup_size: u32) {
${body}}
`,
    grid: [gridX, { ceil: spec.rows, by: tile.rows }, 1],
    executed: (dims) => {
      const up = (n: number, by: number): number => Math.ceil(n / by) * by;
      return { flops: 2 * up(spec.rows.at(dims), tile.rows) * up(weightRows.places, tile.columns) * up(spec.K, depth) };
    },
  };
}
