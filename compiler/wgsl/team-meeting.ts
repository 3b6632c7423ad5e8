/** How the sums of a team's lanes become one: in workgroup memory, or in the subgroup first. */
import { matvecRun } from '../schedule/matvec-schedule.ts';
import type { TeamContext } from './team.ts';

interface Meeting {
  /** Statements that finish the outputs of the workgroup. */
  readonly body: string;
  /** Workgroup memory and functions. */
  readonly shared: string;
  /** Parameters of the entry point. */
  readonly builtins: string;
}

/**
 * Places of `partial`: [team][sum][lane], where the sums are those of all rows, row by row, then a row's squares of an RMS
 * norm. In the subgroup form only the first lane of each subgroup writes.
 */
export function meeting(x: TeamContext): Meeting {
  return x.schedule.subgroup ? bySubgroup(x) : byWorkgroup(x);
}

/** All that a lane has summed, as texts. */
const sumsOf = ({ a, rows, outputs, sum, squares }: TeamContext): string[] => [...rows.flatMap((r) => outputs.map((j) => sum(r, j))), ...(a.scaleAfter ? rows.map(squares) : [])];

/** Every output by some invocation; `total(sum, …)` adds up what the lanes left. */
function finishAll(x: TeamContext, total: (sum: string) => string): string {
  const { schedule: { lanes, outputs, teams, rows }, piece, weightRows, a } = x, invocations = lanes * teams, pieces = outputs / piece, sums = sumsOf(x).length;
  const perTeam = rows * pieces, one = rows === 1;
  return `  for (var i = t; i < ${teams * perTeam}u; i += ${invocations}u) {
    let first = i / ${perTeam}u * ${sums}u;
    let row = ${one ? '0u' : `i / ${pieces}u % ${rows}u`};
    let output = first + ${one ? '' : `row * ${outputs}u + `}i % ${pieces}u * ${piece}u;
    let place = (group.x * ${teams}u + i / ${perTeam}u) * ${outputs}u + i % ${pieces}u * ${piece}u;
${a.scaleAfter ? `    let scale = ${x.scale(total(`first + ${outputs * rows}u + row`))};\n` : ''}    ${weightRows.finish('place', { count: 1, at: () => 'row0 + row' }, (_r, j) => `${total(`output + ${j}u`)}${a.scaleAfter ? ' * scale' : ''}`, piece)}
  }
`;
}

function byWorkgroup(x: TeamContext): Meeting {
  const { lanes, teams } = x.schedule, invocations = lanes * teams, texts = sumsOf(x), sums = texts.length, run = matvecRun(lanes), left = lanes / run;
  const partials = run > 1 ? 'runs' : 'partial';
  return {
    builtins: '',
    shared: `var<workgroup> partial: array<f32, ${invocations * sums}>;
${run > 1 ? `var<workgroup> runs: array<f32, ${(invocations * sums) / run}>;\n` : ''}fn total(sum: u32) -> f32 {
  var s = 0.0;
  for (var i = 0u; i < ${left}u; i++) { s += ${partials}[sum * ${left}u + i]; }
  return s;
}
`,
    body: `${texts.map((text, i) => `  partial[(team * ${sums}u + ${i}u) * ${lanes}u + lane] = ${text};\n`).join('')}  workgroupBarrier();
${run > 1 ? `  for (var i = t; i < ${(invocations * sums) / run}u; i += ${invocations}u) {
    var s = 0.0;
    for (var l = 0u; l < ${run}u; l++) { s += partial[i * ${run}u + l]; }
    runs[i] = s;
  }
  workgroupBarrier();
` : ''}${finishAll(x, (sum) => `total(${sum})`)}`,
  };
}

/**
 * A subgroup no larger than a team is summed whole; a larger one holds several teams, and only the lanes of each are
 * summed, by exchanging along ever longer distances. Either way the text is right for every size.
 */
function bySubgroup(x: TeamContext): Meeting {
  const { memory, schedule: { lanes, teams } } = x, texts = sumsOf(x), sums = texts.length, most = Math.max(1, lanes / 4);
  memory.need('subgroups');
  return {
    builtins: ', @builtin(subgroup_size) subgroup: u32',
    shared: `var<workgroup> partial: array<f32, ${teams * sums * most}>;
fn total(sum: u32, parts: u32) -> f32 {
  var s = 0.0;
  for (var i = 0u; i < parts; i++) { s += partial[sum * ${most}u + i]; }
  return s;
}
`,
    body: `  ${texts.map((text, i) => `var m${i} = ${text};`).join(' ')}
  if (subgroup <= ${lanes}u) {
    ${texts.map((_, i) => `m${i} = subgroupAdd(m${i});`).join(' ')}
  } else {
    for (var far = 1u; far < ${lanes}u; far <<= 1u) {
      ${texts.map((_, i) => `m${i} += subgroupShuffleXor(m${i}, far);`).join(' ')}
    }
  }
  let size = min(subgroup, ${lanes}u);
  if (t % size == 0u) {
    let at = lane / size;
    ${texts.map((_, i) => `partial[(team * ${sums}u + ${i}u) * ${most}u + at] = m${i};`).join('\n    ')}
  }
  workgroupBarrier();
${finishAll(x, (sum) => `total(${sum}, ${lanes}u / size)`)}`,
  };
}
