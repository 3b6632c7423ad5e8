/**
 * The matmul form inside a subgroup: out = epilogue(prologue(A) · Wᵀ).
 *
 * Tile: a team of `lanes` invocations multiplies lanes · rows rows by lanes · outputs weight rows. A lane loads four elements
 * of K of its own rows of A (row a · lanes + lane is its a-th) and of its own weight rows, then takes the rows of all
 * lanes, one after another, by an exchange within the subgroup, so that every vector of A is loaded once for all the team's weight
 * rows, and none goes through workgroup memory. There is no barrier but those of a layer norm's statistics.
 * Ragged edges: indices are clamped, the tail of K is zeroed in A, lanes without weight rows stay to hand on their rows and store nothing.
 * Preconditions: as matmul-tile.ts. No subgroup is smaller than a team, and its invocations have neighbouring numbers.
 * The squares of an RMS norm are summed by the lane that owns the row; 1/σ scales the sums.
 */
import type { ExchangeSchedule } from '../schedule/matmul-exchange.ts';
import { exchangeTile } from '../schedule/matmul-exchange.ts';
import { floatLiteral } from './expr.ts';
import type { Kernel } from './kernel.ts';
import { declareOperandA } from './operand.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory, range } from './printer.ts';
import { statisticsText } from './statistics.ts';
import { walkWeights } from './weight-walk.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { WeightRows } from './weight-rows.ts';
import { declareWeightRows } from './weights.ts';

export function exchangeKernel(spec: MatmulSpec, schedule: ExchangeSchedule, options: KernelOptions): Kernel {
  const { lanes, outputs, teams } = schedule, { K } = spec, tile = exchangeTile(schedule), invocations = lanes * teams;
  const memory = new Memory(options);
  memory.need('subgroups');
  const weight = declareWeightRows(memory, 'weight', spec.weight, K), a = declareOperandA(memory, spec, 4 * weight.parts);
  const weightRows = new WeightRows(spec, outputs, memory, (g): Lanes => ([4, 2, 1] as const).find((n) => (outputs / g.linears) % n === 0)!);
  const gridX = Math.ceil(weightRows.places / tile.columns);
  if (gridX > 65535) throw new RangeError(`${weightRows.places} weight rows make ${gridX} tiles of ${tile.columns}; a dispatch has at most 65,535 a side. Use more outputs or teams.`);
  const loaded = range(schedule.rows), columns = range(outputs), rms = a.scaleAfter, statistics = a.norm && !rms;
  const sums = (f: (row: number, j: number) => string): string => range(tile.rows).map((r) => columns.map((j) => f(r, j)).join(' ')).join('\n  ');
  // A team that is alone in its workgroup begins its subgroup.
  const handed = (value: string, from: number): string => (teams === 1 ? `subgroupBroadcast(${value}, ${from}u)` : `subgroupShuffle(${value}, team_start + ${from}u)`);
  const step = (vector: (j: number) => string): string =>
    `${a.declareStep('k', 'k')}${loaded.map((r) => (rms ? `    let r${r} = ${a.raw(`${r}`, 'k')}; squares${r} += r${r} * r${r}; let x${r} = r${r} * gain_k;\n` : `    let x${r} = ${a.load(`${r}`, 'k', { gain: true })};\n`)).join('')}${columns.map((j) => `    let y${j} = ${vector(j)};\n`).join('')}${loaded.map((r) => range(lanes).map((i) => `    { let x = ${handed(`x${r}`, i)}; ${columns.map((j) => `s${r * lanes + i}_${j} += dot(x, y${j});`).join(' ')} }\n`).join('')).join('')}`;
  const scales = rms ? `${loaded.map((r) => `  let scale_${r} = 1.0 / sqrt(dot(squares${r}, vec4<f32>(1.0)) / ${K}.0 + ${floatLiteral(a.norm!.eps)});\n`).join('')}${range(tile.rows).map((r) => `  let scale${r} = ${handed(`scale_${Math.floor(r / lanes)}`, r % lanes)};\n`).join('')}` : '';
  const finish = weightRows.finish('place', { count: tile.rows, inside: `min(${tile.rows}u, rows - row0)`, at: (r) => `row0 + ${r}` },
    (r, j) => `s${r}_${j}${rms ? ` * scale${r}` : ''}${weight.rowScale ? ` * row_scale${j}` : ''}`);
  const body = `  let rows = ${memory.poly(spec.rows)};
  let row0 = group.y * ${tile.rows}u;
  let lane = t % ${lanes}u;
${teams === 1 ? '' : '  let team_start = sid - lane;\n'}  let place = (group.x * ${invocations}u + t) * ${outputs}u;
${statistics ? `  statistics(t, row0, rows);\n` : ''}${loaded.map((r) => a.declareRow(`${r}`, `min(row0 + ${r * lanes}u + lane, rows - 1u)`, `${r * lanes}u + lane`)).join('')}${columns.map((j) => `  let w${j} = ${weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place'))};\n`).join('')}  ${sums((r, j) => `var s${r}_${j} = 0.0;`)}
${rms ? `  ${loaded.map((r) => `var squares${r} = vec4<f32>(0.0);`).join(' ')}\n` : ''}${walkWeights(weight, K, outputs, step)}${scales}  if (place >= ${weightRows.places}u) { return; }
${weight.rowScale ? columns.map((j) => `  let row_scale${j} = ${weight.rowScale!(`w${j}`)};\n`).join('') : ''}  ${finish}
`;
  const stats = statistics ? `${statisticsText(a.view!, 'layer_norm', K, a.norm!.eps, tile.rows, invocations)}\n` : '';
  const groups = weightRows.text();
  return {
    family: 'matmul', bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    wgsl: `// ${tile.rows} rows x ${tile.columns} weight rows a workgroup, rows exchanged among ${lanes} lanes, K = ${K}
${memory.head()}${stats}${groups}
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32${teams === 1 ? '' : ', @builtin(subgroup_invocation_id) sid: u32'}) {
${body}}
`,
    grid: [gridX, { ceil: spec.rows, by: tile.rows }, 1],
    executed: (dims) => {
      const up = (n: number, by: number): number => Math.ceil(n / by) * by;
      return { flops: 2 * up(spec.rows.at(dims), tile.rows) * up(weightRows.places, tile.columns) * up(K, 4) };
    },
  };
}
