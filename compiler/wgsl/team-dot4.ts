/**
 * The walk of a team in whole numbers: activations become int8 with a scale for every 32 of them, once for the whole
 * workgroup and into its memory, and four codes are multiplied at once by `dot4I8Packed` (WGSL's packed_4x8_integer_dot_product).
 *
 * Not exact: an activation is off by at most 1/254 of the largest of its block, which moves sums of noise by 0.4 % (median of
 * random products), and more where a few activations are far larger than the rest. So it is only used where a product allows int8 arithmetic. One row, int8 or int4 weights. 1/σ of an RMS norm
 * multiplies the sums; a layer norm is applied before activations are rounded.
 */
import { activationBlock } from '../schedule/matvec-schedule.ts';
import { floatLiteral } from './expr.ts';
import { range } from './printer.ts';
import type { TeamContext } from './team.ts';

const words = activationBlock / 4;

/** Workgroup memory, and `fn quantise_row` for all invocations to call. */
export function dot4Shared({ spec, schedule, a }: TeamContext): string {
  const invocations = schedule.lanes * schedule.teams, blocks = Math.ceil(spec.K / activationBlock), rms = a.scaleAfter, vectors = range(words);
  return `var<workgroup> codes: array<u32, ${blocks * words}>;
var<workgroup> code_scales: array<f32, ${blocks}>;
${rms ? `var<workgroup> row_squares: array<f32, ${invocations}>;\n` : ''}fn quantise_row(t: u32, row0: u32, rows: u32) {
${a.declareRow('0', 'row0', '0u')}${rms ? '  var squares = vec4<f32>(0.0);\n' : ''}  for (var b = t; b < ${blocks}u; b += ${invocations}u) {
    var most = vec4<f32>(0.0);
${vectors.map((v) => `    let k${v} = b * ${words}u + ${v}u;\n    var x${v} = vec4<f32>(0.0);\n    { ${a.declareStep(`k${v}`, `k${v}`)}${rms ? `let r = ${a.raw('0', `k${v}`)}; squares += r * r; x${v} = r * gain_k;` : `x${v} = ${a.load('0', `k${v}`, { gain: true })};`} most = max(most, abs(x${v})); }\n`).join('')}    let high = max(max(most.x, most.y), max(most.z, most.w));
    let by = select(0.0, 127.0 / max(high, 1e-30), high > 0.0);
${vectors.map((v) => `    codes[k${v}] = pack4xI8(vec4<i32>(round(x${v} * by)));\n`).join('')}    code_scales[b] = high / 127.0;
  }
${rms ? `  row_squares[t] = dot(squares, vec4<f32>(1.0));
  workgroupBarrier();
  for (var h = ${invocations / 2}u; h > 0u; h >>= 1u) {
    if (t < h) { row_squares[t] += row_squares[t + h]; }
    workgroupBarrier();
  }
` : '  workgroupBarrier();\n'}}
`;
}

/** Statements that leave in every lane what it has summed along K. */
export function dot4Walk(x: TeamContext): string {
  const { spec, schedule, weight, weightRows, outputs, a } = x, { lanes } = schedule, steps = Math.ceil(spec.K / (4 * weight.parts)), run = weight.fetchesPerScale;
  const begin = `${outputs.map((j) => `  let w${j} = ${weight.rowUnit(weightRows.row(j ? `(place + ${j}u)` : 'place'))};\n`).join('')}  ${outputs.map((j) => `var s0_${j} = 0.0;`).join(' ')}\n`;
  const scale = `let scale = code_scales[at / ${words / weight.parts}u];`;
  const body = run === undefined
    ? `    let c = codes[at]; ${scale}
${outputs.map((j) => `    s0_${j} += f32(dot4I8Packed(${weight.fetch(`w${j}`, 'at')}, c)) * scale;\n`).join('')}`
    // Codes of int4 are not negative: an offset times the sum of activations stands for what they lack.
    : `    let c0 = codes[2u * at]; let c1 = codes[2u * at + 1u]; ${scale}
    let total = f32(dot4I8Packed(c0, 0x01010101u) + dot4I8Packed(c1, 0x01010101u));
${outputs.map((j) => `    { let f = ${weight.fetch(`w${j}`, 'at')}; let q = ${weight.groupScale!(`w${j}`, `at / ${run}u`)}; s0_${j} += (f32(dot4I8Packed(f & 0x0f0f0f0fu, c0) + dot4I8Packed((f >> 4u) & 0x0f0f0f0fu, c1)) * q.x + total * q.y) * scale; }\n`).join('')}`;
  const after = outputs.map((j) => {
    const factors = [...(weight.rowScale ? [weight.rowScale(`w${j}`)] : []), ...(a.scaleAfter ? ['row_scale'] : [])];
    return factors.length ? `  s0_${j} *= ${factors.join(' * ')};\n` : '';
  }).join('');
  return `  quantise_row(t, row0, rows);
${a.scaleAfter ? `  let row_scale = 1.0 / sqrt(row_squares[0] / ${spec.K}.0 + ${floatLiteral(a.norm!.eps)});\n` : ''}${begin}  for (var at = lane; at < ${steps}u; at += ${lanes}u) {
${body}  }
${after}`;
}
