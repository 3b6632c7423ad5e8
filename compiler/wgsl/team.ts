/**
 * Products with few rows: out = epilogue(prologue(A) · Wᵀ), where every weight is loaded once for all rows of a block.
 *
 * Tile: a workgroup has `teams` teams of `lanes` invocations; a team computes `rows` rows × `outputs` neighbouring weight
 * rows, its lanes walking along K side by side: neighbours read neighbouring words of a weight row, and what is loaded of
 * A serves all weight rows, what is loaded of W all rows. Sums of lanes meet in workgroup memory, or in the subgroup first;
 * with one lane there is nothing to meet and no barrier. Layouts and ragged edges as in matmul. The squares of an RMS norm are summed in
 * the same walk and 1/σ scales the sums; a layer norm walks once more before. Quantised weights are multiplied as codes,
 * and their scales applied to sums, or in whole numbers (team-dot4.ts).
 * Preconditions: as matmul. A subgroup's invocations have neighbouring numbers; its size may be any power of two.
 */
import type { TeamSchedule } from '../schedule/matvec-schedule.ts';
import { activationBlock } from '../schedule/matvec-schedule.ts';
import { floatLiteral } from './expr.ts';
import type { Kernel } from './kernel.ts';
import { declareOperandA } from './operand.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory, range } from './printer.ts';
import { statisticsText } from './statistics.ts';
import { dot4Shared, dot4Walk } from './team-dot4.ts';
import { meeting } from './team-meeting.ts';
import type { Choice } from './top-k.ts';
import { declareChoice } from './top-k.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { WeightRows, shapeOf } from './weight-rows.ts';
import type { WeightRowAccess } from './weights.ts';
import { declareWeightRows } from './weights.ts';

/** What the parts of the text share. */
export interface TeamContext {
  readonly spec: MatmulSpec;
  readonly schedule: TeamSchedule;
  readonly memory: Memory;
  readonly a: ReturnType<typeof declareOperandA>;
  readonly weight: WeightRowAccess;
  readonly weightRows: WeightRows;
  /** Rows of a block, and weight rows of a team. */
  readonly rows: readonly number[];
  readonly outputs: readonly number[];
  /** Weight rows that one invocation finishes at a time. */
  readonly piece: number;
  /** 1/σ of an RMS norm from a row's sum of squares. */
  scale(sum: string): string;
  /** What an invocation has summed of row `r` and weight row `j`, and of row `r`'s squares. */
  sum(r: number, j: number): string;
  squares(r: number): string;
}

/** `choice`: what the kernel's one workgroup chooses of its output; the schedule must hold all weight rows in one. */
export function teamKernel(family: string, spec: MatmulSpec, schedule: TeamSchedule, options: KernelOptions, choice?: Choice): Kernel {
  const { lanes, outputs, teams } = schedule, invocations = lanes * teams, { K } = spec, shape = shapeOf(spec);
  const memory = new Memory(options);
  const weight = declareWeightRows(memory, 'weight', spec.weight, K), grouped = weight.fetchesPerScale !== undefined;
  const a = declareOperandA(memory, spec, schedule.dot4 ? activationBlock : grouped ? 4 * weight.parts : 4);
  // One lane finishes all its team's outputs; several share them in the smallest pieces that hold whole outputs.
  const pair = shape.pairs || spec.groups.some((g) => g.out.storage === 'f16x2') ? 2 : 1;
  const smallest = spec.groups.reduce((n, g) => Math.max(n, g.linears), 1) * pair;
  const piece = lanes === 1 || outputs % smallest || spec.groups.some((g) => smallest % (g.linears * pair)) ? outputs : smallest;
  const weightRows = new WeightRows(spec, outputs, memory, (g) => ([4, 2, 1] as const).find((n: Lanes) => (piece / g.linears) % n === 0)!);
  const gridX = Math.ceil(weightRows.places / (outputs * teams));
  if (gridX > 65535) throw new RangeError(`${weightRows.places} weight rows make ${gridX} workgroups of ${outputs * teams}; a dispatch has at most 65,535 a side. Use more outputs or teams.`);
  if (choice && (gridX > 1 || spec.rows.constant() !== 1)) throw new RangeError(`A workgroup chooses among what it has computed itself: one row, and ${weightRows.places} weight rows in one workgroup, not in ${gridX}.`);
  const choose = choice && declareChoice(memory, choice, invocations);
  const x: TeamContext = {
    spec, schedule, memory, a, weight, weightRows, rows: range(schedule.rows), outputs: range(outputs), piece,
    scale: (sum) => `1.0 / sqrt(${sum} / ${K}.0 + ${floatLiteral(a.norm!.eps)})`,
    sum: (r, j) => (schedule.sum === 'dot' ? `s${r}_${j}` : `dot(s${r}_${j}, vec4<f32>(1.0))`),
    squares: (r) => `dot(squares${r}, vec4<f32>(1.0))`,
  };
  const layer = a.norm?.kind === 'layer_norm', one = schedule.rows === 1;
  // In whole numbers the squares of an RMS norm are summed before, by the whole workgroup.
  const meet = lanes > 1 ? meeting(schedule.dot4 ? { ...x, a: { ...a, scaleAfter: false } } : x) : undefined;
  const place = `let place = (group.x * ${teams}u + ${lanes > 1 ? 'team' : 't'}) * ${outputs}u;`;
  const head = `  let rows = ${memory.poly(spec.rows)};
  let row0 = ${one ? 'group.y' : `group.y * ${schedule.rows}u`};
${lanes > 1 ? `  let lane = t % ${lanes}u;\n  let team = t / ${lanes}u;\n` : ''}  ${place}
${layer ? '  statistics(t, row0, rows);\n' : ''}`;
  // Who chooses waits for all, so nobody returns before.
  const [idle, done] = choose ? [`  if (place < ${weightRows.places}u) {\n`, '  }\n'] : [`  if (place >= ${weightRows.places}u) { return; }\n`, ''];
  const product = meet ? `${schedule.dot4 ? dot4Walk(x) : walk(x)}${meet.body}` : `${idle}${walk(x)}${a.scaleAfter ? x.rows.map((r) => `  let scale${r} = ${x.scale(x.squares(r))};\n`).join('') : ''}  ${weightRows.finish('place', { count: schedule.rows, inside: `min(${schedule.rows}u, rows - row0)`, at: (r) => (one ? 'row0' : `row0 + ${r}`) }, (r, j) => (a.scaleAfter ? `${x.sum(r, j)} * scale${r}` : x.sum(r, j)))}
${done}`;
  const body = `${product}${choose?.() ?? ''}`;
  const stats = layer ? `${statisticsText(a.view!, 'layer_norm', K, a.norm!.eps, schedule.rows, invocations)}\n` : '';
  const finish = weightRows.text(), rounding = schedule.dot4 ? dot4Shared(x) : '';
  const wgsl = `// ${schedule.rows} rows x ${teams * outputs} weight rows a workgroup, K = ${K}
${memory.head()}${stats}${finish}
${rounding}${meet?.shared ?? ''}@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32${meet?.builtins ?? ''}) {
${head}${body}}
`;
  const constant = spec.rows.constant();
  return {
    family, wgsl, bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    grid: [gridX, constant === 1 ? 1 : { ceil: spec.rows, by: schedule.rows }, 1],
    executed: (dims) => ({ flops: 2 * Math.ceil(spec.rows.at(dims) / schedule.rows) * schedule.rows * (lanes === 1 ? Math.ceil(weightRows.places / outputs) * outputs : gridX * teams * outputs) * Math.ceil(K / 4) * 4 }),
  };
}

/** Statements that leave in every lane what it has summed along K. */
function walk(x: TeamContext): string {
  const { a, weight, weightRows, schedule, spec: { K } } = x, { lanes } = schedule;
  const rms = a.scaleAfter, zero = schedule.sum === 'dot' ? '0.0' : 'vec4<f32>(0.0)';
  const product = (p: string, y: string): string => (schedule.sum === 'dot' ? `dot(${p}, ${y})` : `${p} * ${y}`);
  const rowAt = (r: number): string => (schedule.rows === 1 ? 'row0' : `min(row0${r ? ` + ${r}u` : ''}, rows - 1u)`);
  /** `x0`, `x1`, … of group `k` of K, then `use` them. */
  const step = (use: string): string => `${a.declareStep('k', 'k')}${x.rows.map((r) => (rms
    ? `    let r${r} = ${a.raw(`${r}`, 'k')}; squares${r} += r${r} * r${r}; let x${r} = r${r} * gain_k;\n`
    : `    let x${r} = ${a.load(`${r}`, 'k', { gain: true })};\n`)).join('')}${use}`;
  const times = (into: string, y: (j: number) => string): string =>
    x.outputs.map((j) => `    { let y = ${y(j)}; ${x.rows.map((r) => `${into}${r}_${j} += ${product(`x${r}`, 'y')};`).join(' ')} }\n`).join('');
  const plain = `  for (var k = ${lanes > 1 ? 'lane' : '0u'}; k < ${Math.ceil(K / 4)}u; k += ${lanes}u) {
${step(times('s', (j) => weight.loadFour(`w${j}`, 'k')))}  }
`;
  /**
   * Codes are summed as they are; the scale multiplies the sum, the offset the sum of `x`, which all weight rows share. An
   * invocation that has a row to itself does so once a group, lanes that walk side by side once a fetch.
   */
  const groups = (): string => {
    const run = weight.fetchesPerScale!, fetches = Math.ceil(K / (4 * weight.parts));
    const fetch = `${x.outputs.map((j) => `    let f${j} = ${weight.fetch(`w${j}`, 'at')};\n`).join('')}${range(weight.parts).map((p) => `    { let k = at * ${weight.parts}u${p ? ` + ${p}u` : ''};
${step(`${x.rows.map((r) => `    xs${r} += ${schedule.sum === 'dot' ? `dot(x${r}, vec4<f32>(1.0))` : `x${r}`};\n`).join('')}${times('d', (j) => weight.vector(`f${j}`, p))}`)}    }\n`).join('')}`;
    const begin = (group: string): string => `${x.outputs.map((j) => `    let q${j} = ${weight.groupScale!(`w${j}`, group)};\n`).join('')}    ${x.rows.map((r) => `var xs${r} = ${zero}; ${x.outputs.map((j) => `var d${r}_${j} = ${zero};`).join(' ')}`).join('\n    ')}\n`;
    const end = x.outputs.map((j) => `    ${x.rows.map((r) => `s${r}_${j} += d${r}_${j} * q${j}.x + xs${r} * q${j}.y;`).join(' ')}\n`).join('');
    if (lanes > 1) return `  for (var at = lane; at < ${fetches}u; at += ${lanes}u) {\n${begin(`at / ${run}u`)}${fetch}${end}  }\n`;
    return `  for (var n = 0u; n < ${Math.ceil(fetches / run)}u; n++) {
${begin('n')}    for (var at = n * ${run}u; at < ${fetches % run ? `min((n + 1u) * ${run}u, ${fetches}u)` : `(n + 1u) * ${run}u`}; at++) {
${fetch}    }
${end}  }
`;
  };
  return `${x.rows.map((r) => a.declareRow(`${r}`, rowAt(r), `${r}u`)).join('')}${x.outputs.map((j) => `  let w${j} = ${weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place'))};\n`).join('')}  ${x.rows.map((r) => x.outputs.map((j) => `var s${r}_${j} = ${zero};`).join(' ')).join('\n  ')}
${rms ? `  ${x.rows.map((r) => `var squares${r} = vec4<f32>(0.0);`).join(' ')}\n` : ''}${weight.fetchesPerScale !== undefined ? groups() : plain}${weight.rowScale ? x.outputs.map((j) => `  { let y = ${weight.rowScale!(`w${j}`)}; ${x.rows.map((r) => `s${r}_${j} *= y;`).join(' ')} }\n`).join('') : ''}`;
}
