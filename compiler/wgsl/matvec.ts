/**
 * Product with one row, for decode and for the last row of a prefill: out = epilogue(prologue(a) · Wᵀ).
 *
 * Tile: a workgroup has `teams` teams of `lanes` invocations; a team computes `outputs` neighbouring weight rows, its lanes
 * walking along K side by side, so that a group of K of the row `a` is loaded once for all of them. Partial sums meet in
 * workgroup memory; with one lane there is nothing to meet and no barrier. Layouts and ragged edges as in matmul. The
 * squares of an RMS norm are summed in the same walk and 1/σ scales the sums; a layer norm walks once more before.
 * Quantised weights are multiplied as codes, and their scales applied to sums.
 * Preconditions: as matmul; spec.rows is 1.
 */
import type { MatvecSchedule } from '../schedule/matmul-schedule.ts';
import { matvecRun, whyNotMatvec } from '../schedule/matmul-schedule.ts';
import { floatLiteral } from './expr.ts';
import type { Kernel } from './kernel.ts';
import { declareOperandA } from './operand.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory, range } from './printer.ts';
import { statisticsText } from './statistics.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { WeightRows, checkSpec, shapeOf } from './weight-rows.ts';
import { declareWeightRows } from './weights.ts';

export function matvecKernel(spec: MatmulSpec, schedule: MatvecSchedule, options: KernelOptions): Kernel {
  checkSpec(spec);
  if (spec.rows.constant() !== 1) throw new RangeError(`matvec multiplies one row, not ${spec.rows}; use matmul.`);
  const shape = shapeOf(spec);
  const problem = whyNotMatvec(schedule, shape, { maxComputeWorkgroupStorageSize: Infinity, maxComputeInvocationsPerWorkgroup: Infinity, maxComputeWorkgroupSizeX: Infinity, maxComputeWorkgroupSizeY: Infinity });
  if (problem) throw new RangeError(problem);
  const { lanes, outputs, teams } = schedule, invocations = lanes * teams, { K } = spec;
  const memory = new Memory(options);
  const weight = declareWeightRows(memory, 'weight', spec.weight, K), grouped = weight.fetchesPerScale !== undefined;
  const a = declareOperandA(memory, spec, grouped ? 4 * weight.parts : 4);
  // One lane finishes all its team's outputs; several share them in the smallest pieces that hold whole outputs.
  const pair = shape.pairs || spec.groups.some((g) => g.out.storage === 'f16x2') ? 2 : 1;
  const smallest = spec.groups.reduce((n, g) => Math.max(n, g.linears), 1) * pair;
  const piece = lanes === 1 || outputs % smallest || spec.groups.some((g) => smallest % (g.linears * pair)) ? outputs : smallest;
  const weightRows = new WeightRows(spec, outputs, memory, (g) => ([4, 2, 1] as const).find((n: Lanes) => (piece / g.linears) % n === 0)!);
  const gridX = Math.ceil(weightRows.places / (outputs * teams));
  if (gridX > 65535) throw new RangeError(`${weightRows.places} weight rows make ${gridX} workgroups of ${outputs * teams}; a dispatch has at most 65,535 a side. Use more outputs or teams.`);

  const rms = a.scaleAfter, layer = a.norm?.kind === 'layer_norm';
  const scale = (sum: string): string => `1.0 / sqrt(${sum} / ${K}.0 + ${floatLiteral(a.norm!.eps)})`;
  const register = (j: number): string => (schedule.sum === 'dot' ? `s${j}` : `dot(s${j}, vec4<f32>(1.0))`);
  const rows = range(outputs), zero = schedule.sum === 'dot' ? '0.0' : 'vec4<f32>(0.0)';
  const product = (x: string, y: string): string => (schedule.sum === 'dot' ? `dot(${x}, ${y})` : `${x} * ${y}`);
  /** `x` of group `k` of K, then `use` it. */
  const step = (use: string): string =>
    `${a.declareStep('k', 'k')}${rms ? `    let r = ${a.raw('0', 'k')};\n    squares += r * r;\n    let x = r * gain_k;\n` : `    let x = ${a.load('0', 'k', { gain: true })};\n`}${use}`;
  const plain = `  for (var k = ${lanes > 1 ? 'lane' : '0u'}; k < ${Math.ceil(K / 4)}u; k += ${lanes}u) {
${step(rows.map((j) => `    s${j} += ${product('x', weight.loadFour(`w${j}`, 'k'))};\n`).join(''))}  }
`;
  const walk = `${a.declareRow('0', '0u', '0u')}${rows.map((j) => `  let w${j} = ${weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place'))};\n`).join('')}  ${rows.map((j) => `var s${j} = ${zero};`).join(' ')}
${rms ? '  var squares = vec4<f32>(0.0);\n' : ''}${grouped ? walkGroups() : plain}${weight.rowScale ? rows.map((j) => `  s${j} *= ${weight.rowScale!(`w${j}`)};\n`).join('') : ''}`;

  /**
   * Codes are summed as they are; the scale multiplies the sum, the offset the sum of `x`, which all weight rows share. An
   * invocation that has a row to itself does so once a group, lanes that walk side by side once a fetch.
   */
  function walkGroups(): string {
    const run = weight.fetchesPerScale!, fetches = Math.ceil(K / (4 * weight.parts));
    const fetch = `${rows.map((j) => `    let f${j} = ${weight.fetch(`w${j}`, 'at')};\n`).join('')}${range(weight.parts).map((p) => `    { let k = at * ${weight.parts}u${p ? ` + ${p}u` : ''};
${step(`    xs += ${schedule.sum === 'dot' ? 'dot(x, vec4<f32>(1.0))' : 'x'};\n${rows.map((j) => `    d${j} += ${product('x', weight.vector(`f${j}`, p))};\n`).join('')}`)}    }\n`).join('')}`;
    const begin = (group: string): string => `${rows.map((j) => `    let q${j} = ${weight.groupScale!(`w${j}`, group)};\n`).join('')}    var xs = ${zero}; ${rows.map((j) => `var d${j} = ${zero};`).join(' ')}\n`;
    const end = rows.map((j) => `    s${j} += d${j} * q${j}.x + xs * q${j}.y;\n`).join('');
    if (lanes > 1) return `  for (var at = lane; at < ${fetches}u; at += ${lanes}u) {\n${begin(`at / ${run}u`)}${fetch}${end}  }\n`;
    return `  for (var n = 0u; n < ${Math.ceil(fetches / run)}u; n++) {
${begin('n')}    for (var at = n * ${run}u; at < ${fetches % run ? `min((n + 1u) * ${run}u, ${fetches}u)` : `(n + 1u) * ${run}u`}; at++) {
${fetch}    }
${end}  }
`;
  }
  const statistics = layer ? '  statistics(t, 0u, 1u);\n' : '';
  const place = `let place = (group.x * ${teams}u + ${lanes > 1 ? `t / ${lanes}u` : 't'}) * ${outputs}u;`;
  let body: string, shared = '';
  if (lanes === 1) {
    body = `  ${place}
${statistics}  if (place >= ${weightRows.places}u) { return; }
${walk}${rms ? `  let scale = ${scale('dot(squares, vec4<f32>(1.0))')};\n` : ''}  ${weightRows.finish('place', { count: 1, at: () => '0u' }, (_r, j) => (rms ? `${register(j)} * scale` : register(j)))}
`;
  } else {
    const sums = outputs + (rms ? 1 : 0), run = matvecRun(lanes), left = lanes / run, units = teams * (outputs / piece);
    const partials = run > 1 ? 'runs' : 'partial';
    shared = `var<workgroup> partial: array<f32, ${invocations * sums}>;
${run > 1 ? `var<workgroup> runs: array<f32, ${(invocations * sums) / run}>;\n` : ''}fn total(output: u32) -> f32 {
  var s = 0.0;
  for (var i = 0u; i < ${left}u; i++) { s += ${partials}[output * ${left}u + i]; }
  return s;
}
`;
    body = `  let lane = t % ${lanes}u;
  let team = t / ${lanes}u;
  ${statistics}${place.replace(`t / ${lanes}u`, 'team')}
${walk}${range(sums).map((j) => `  partial[(team * ${sums}u + ${j}u) * ${lanes}u + lane] = ${j < outputs ? register(j) : 'dot(squares, vec4<f32>(1.0))'};\n`).join('')}  workgroupBarrier();
${run > 1 ? `  for (var i = t; i < ${(invocations * sums) / run}u; i += ${invocations}u) {
    var s = 0.0;
    for (var l = 0u; l < ${run}u; l++) { s += partial[i * ${run}u + l]; }
    runs[i] = s;
  }
  workgroupBarrier();
` : ''}  for (var i = t; i < ${units}u; i += ${invocations}u) {
    let output = i / ${outputs / piece}u * ${sums}u + i % ${outputs / piece}u * ${piece}u;
    let place = (group.x * ${teams}u + i / ${outputs / piece}u) * ${outputs}u + i % ${outputs / piece}u * ${piece}u;
${rms ? `    let scale = ${scale(`total(i / ${outputs / piece}u * ${sums}u + ${outputs}u)`)};\n` : ''}    ${weightRows.finish('place', { count: 1, at: () => '0u' }, (_r, j) => `total(output + ${j}u)${rms ? ' * scale' : ''}`, piece)}
  }
`;
  }
  const stats = layer ? `${statisticsText(a.view!, 'layer_norm', K, a.norm!.eps, 1, invocations)}\n` : '';
  const finish = weightRows.text();
  const wgsl = `// ${teams * outputs} outputs a workgroup, K = ${K}
${memory.head()}${stats}${finish}
${shared}@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`;
  return {
    family: 'matvec', wgsl, bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    grid: [gridX, 1, 1],
    executed: () => ({ flops: 2 * (lanes === 1 ? Math.ceil(weightRows.places / outputs) * outputs : gridX * teams * outputs) * Math.ceil(K / 4) * 4 }),
  };
}
