/**
 * One row with the matrices of its chosen experts.
 *
 * Tile: a workgroup has `teams` teams of `lanes` invocations; a team computes `outputs` neighbouring weight rows of one choice
 * (the grid's y), its lanes walking along K side by side. It reads which expert that is, and the matrices of others are not read. Where
 * what the experts give is mixed, a team walks through its weight rows of all choices, one after the other, and what a lane adds
 * up has its shares already, so sums meet once. Layouts, ragged edges and preconditions are those of experts.ts.
 */
import { Poly } from '../ir/poly.ts';
import type { ExpertRowSchedule } from '../schedule/experts-schedule.ts';
import type { ExpertsSpec } from './experts.ts';
import { byPair, columnsAtOnce, outputOf, weightRow } from './experts.ts';
import { floatLiteral } from './expr.ts';
import type { Kernel } from './kernel.ts';
import { declareOperandA } from './operand.ts';
import type { KernelOptions } from './printer.ts';
import { Memory, range } from './printer.ts';
import { statisticsText } from './statistics.ts';
import type { TeamContext } from './team.ts';
import { meeting } from './team-meeting.ts';
import type { MatmulSpec } from './weight-rows.ts';
import { WeightRows } from './weight-rows.ts';
import { declareWeightRows } from './weights.ts';

export function expertRowKernel(spec: ExpertsSpec, { lanes, outputs, teams }: ExpertRowSchedule, options: KernelOptions): Kernel {
  const { piece, top, experts, K, linears, norm, scores } = spec, invocations = lanes * teams, rows = range(outputs);
  if (spec.rows.constant() !== 1) throw new RangeError(`One row is multiplied here, not ${spec.rows}.`);
  if (norm && spec.aByPair) throw new RangeError('A row of parts for each choice is not normalised as one.');
  if (scores && (linears > 1 || piece.count !== experts || piece.rows !== spec.width)) throw new RangeError('Only whole products of one linear with all experts are mixed as they are computed.');
  const memory = new Memory(options), weight = declareWeightRows(memory, 'weight', spec.weight, K), chosen = memory.view('chosen', byPair(spec.chosen, top), 1);
  const group = scores ? { linears, width: spec.width, value: spec.value, out: spec.out } : outputOf(spec, outputs);
  const product: MatmulSpec = { rows: Poly.of(scores ? 1 : top), K, a: spec.aByPair ? byPair(spec.a, top) : spec.a, ...(norm ? { prologue: norm } : {}), weight: spec.weight, groups: [group] };
  const a = declareOperandA(memory, product, 4), given = scores && memory.view('scores', scores, 1);
  // Several lanes share their team's outputs one by one.
  const piecewise = lanes === 1 ? outputs : linears, weightRows = new WeightRows(product, outputs, memory, () => columnsAtOnce(piecewise, group));
  const x: TeamContext = {
    spec: product, schedule: { lanes, outputs, teams, sum: 'dot', rows: 1, subgroup: false, dot4: false }, memory, a, weight, weightRows, rows: [0], outputs: rows, piece: piecewise,
    // A mixed product meets its row once for every choice.
    scale: (sum) => `1.0 / sqrt(${sum} / ${K * (scores ? top : 1)}.0 + ${floatLiteral(norm!.eps)})`,
    sum: (_r, j) => `s${j}`, squares: () => 'dot(squares, vec4<f32>(1.0))',
  };
  const number = (pair: string): string => `u32(${chosen.load(chosen.element(pair, '0u'), 1)})`;
  /** Adds to `into` what a lane has of the products of row `of` of A with the expert's weight rows. */
  const walk = (of: string, into: string): string => `${a.declareRow('0', of, '0u')}${rows.map((j) => `  let w${j} = ${weightRow(x, spec, 'expert', j ? `(place + ${j}u)` : 'place')};\n`).join('')}  for (var k = ${lanes > 1 ? 'lane' : '0u'}; k < end; k += ${lanes}u) {
${a.declareStep('k', 'k')}${a.scaleAfter ? `    let r = ${a.raw('0', 'k')}; squares += r * r; let x = r * gain_k;\n` : `    let x = ${a.load('0', 'k', { gain: true })};\n`}${rows.map((j) => `    ${into}${j} += dot(x, ${weight.loadFour(`w${j}`, 'k')});\n`).join('')}  }
`;
  const zeros = (name: string): string => `  ${rows.map((j) => `var ${name}${j} = 0.0;`).join(' ')}\n`;
  const scaled = (name: string): string => (weight.rowScale ? rows.map((j) => `  ${name}${j} *= ${weight.rowScale!(`w${j}`)};\n`).join('') : '');
  const score = (pair: string): string => given!.load(given!.element('0u', `min(${number(pair)}, ${experts - 1}u)`), 1);
  const one = (): string => `  let number = ${number('group.y')};
  let here = number >= ${piece.expert}u && number < ${piece.expert + piece.count}u;
  let expert = select(0u, number - ${piece.expert}u, here);
  let end = select(0u, ${Math.ceil(K / 4)}u, here);
  // No such row: nothing is finished.
  let row0 = select(${top}u, group.y, here);
${walk(spec.aByPair ? 'group.y' : '0u', 's')}${scaled('s')}`;
  const mixed = (): string => `  let row0 = 0u;
  let end = ${Math.ceil(K / 4)}u;
  var most = -3.4028234e38;
  for (var j = 0u; j < ${top}u; j++) { most = max(most, ${score('j')}); }
  var shares = 0.0;
  for (var j = 0u; j < ${top}u; j++) {
    let expert = min(${number('j')}, ${experts - 1}u);
    let share = exp(${score('j')} - most);
    shares += share;
${zeros('p')}${walk(spec.aByPair ? 'j' : '0u', 'p')}${scaled('p')}  ${rows.map((j) => `s${j} += share * p${j};`).join(' ')}
  }
  ${rows.map((j) => `s${j} /= shares;`).join(' ')}
`;
  const layer = norm?.kind === 'layer_norm', meet = lanes > 1 ? meeting(x) : undefined;
  const body = `${layer ? '  statistics(t, 0u, 1u);\n' : ''}${lanes > 1 ? `  let lane = t % ${lanes}u;\n  let team = t / ${lanes}u;\n` : ''}  let place = (group.x * ${teams}u + ${lanes > 1 ? 'team' : 't'}) * ${outputs}u;
${zeros('s')}${a.scaleAfter ? '  var squares = vec4<f32>(0.0);\n' : ''}${scores ? mixed() : one()}${meet?.body ?? `  if (place >= ${weightRows.places}u) { return; }
${a.scaleAfter ? `  let scale = ${x.scale(x.squares(0))};\n` : ''}  ${weightRows.finish('place', { count: 1, at: () => 'row0' }, (r, j) => (a.scaleAfter ? `${x.sum(r, j)} * scale` : x.sum(r, j)))}
`}`;
  const stats = layer ? `${statisticsText(a.view!, 'layer_norm', K, norm.eps, 1, invocations)}\n` : '', text = weightRows.text();
  return {
    family: 'experts',
    wgsl: `// ${outputs * teams} weight rows of ${scores ? 'all choices' : 'one choice'} a workgroup, K = ${K}
${memory.head()}${stats}${text}
${meet?.shared ?? ''}@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], grid: [Math.ceil(weightRows.places / (outputs * teams)), scores ? 1 : top, 1], features: memory.features(),
  };
}
