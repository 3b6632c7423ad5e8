/**
 * Mean and 1/σ of rows, in f32, as a first phase of a kernel: a workgroup reads its rows once (layer norm twice: the
 * mean first, then the squares of what is left, so that a large mean costs no digits) and leaves a vec2 (mean, 1/σ) a row
 * in workgroup memory. For RMS norm the mean is 0.
 */
import type { Storage } from './kernel.ts';
import type { Memory, ViewAccess } from './printer.ts';
import { floatLiteral } from './expr.ts';

export type NormKind = 'rms_norm' | 'layer_norm';
/** `offset`: its first element in the binding, which it may share with others. */
export interface WeightVector { readonly binding: string; readonly storage: Storage; readonly offset?: number }
export interface Norm {
  readonly kind: NormKind;
  readonly gain: WeightVector;
  readonly bias?: WeightVector;
  readonly eps: number;
}

/** Bytes of workgroup memory that `statisticsText` takes. */
export const statisticsBytes = (rows: number, invocations: number): number => 8 * rows + 4 * Math.max(rows, invocations);

/** Components of a K-vector's group `k4` that lie beyond K become 0; `unit`: elements of a step, of which the last may leave K. */
export const maskTail = (x: string, k4: string, K: number, unit = 4): string =>
  (K % unit === 0 ? x : `select(vec4<f32>(0.0), ${x}, vec4<u32>(0u, 1u, 2u, 3u) + 4u * (${k4}) < vec4<u32>(${K}u))`);

/**
 * Module-scope text with `fn statistics(t: u32, first: u32, rows: u32)`: row `first + r` of `a` (clamped to the last of
 * `rows`) is described by `row_stats[r]` afterwards, r < `tile`. All `invocations` of the workgroup call it, `t` is their
 * number. Needs (invocations / tile) or (tile / invocations) integer.
 */
export function statisticsText(a: ViewAccess, kind: NormKind, K: number, eps: number, tile: number, invocations: number): string {
  const lanes = Math.max(1, Math.floor(invocations / tile)), groups = Math.ceil(K / 4);
  const sum = (term: string): string => `
  for (var r = t / ${lanes}u; r < ${tile}u; r += ${Math.floor(invocations / lanes)}u) {
    let base = ${a.rowUnit('min(first + r, rows - 1u)')};
${kind === 'layer_norm' ? '    let mean = row_stats[r].x;\n' : ''}    var s = vec4<f32>(0.0);
    for (var k = t % ${lanes}u; k < ${groups}u; k += ${lanes}u) {
      let x = ${a.loadFour('base', 'k')};
      let y = ${term};
      s += y;
    }
    row_sums[r * ${lanes}u + t % ${lanes}u] = dot(s, vec4<f32>(1.0));
  }
  workgroupBarrier();${reduceText(lanes, tile, invocations)}`;
  const last = (update: string): string => `
  for (var r = t; r < ${tile}u; r += ${invocations}u) {
    ${lanes <= 8 ? `var s = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) { s += row_sums[r * ${lanes}u + l]; }` : `let s = row_sums[r * ${lanes}u];`}
    row_stats[r] = ${update};
  }
  workgroupBarrier();`;
  const deviation = maskTail('(x - vec4<f32>(mean)) * (x - vec4<f32>(mean))', 'k', K);
  const scale = `1.0 / sqrt(s / ${K}.0 + ${floatLiteral(eps)})`;
  return `var<workgroup> row_stats: array<vec2<f32>, ${tile}>;
var<workgroup> row_sums: array<f32, ${Math.max(tile, tile * lanes)}>;
fn statistics(t: u32, first: u32, rows: u32) {${kind === 'layer_norm' ? sum(maskTail('x', 'k', K)) + last(`vec2<f32>(s / ${K}.0, 0.0)`) : ''}${sum(kind === 'layer_norm' ? deviation : maskTail('x * x', 'k', K))}${last(kind === 'layer_norm' ? `vec2<f32>(row_stats[r].x, ${scale})` : `vec2<f32>(0.0, ${scale})`)}
}`;
}

/** Statements that walk the row at `base` and leave its `stats` (mean, 1/σ), for an invocation that has a row to itself. */
export function ownStatistics(a: ViewAccess, kind: NormKind, K: number, eps: number): string {
  const sum = (name: string, term: string): string => `  var ${name}_four = vec4<f32>(0.0);
  for (var k = 0u; k < ${a.hiddenBound(Math.ceil(K / 4))}; k++) {
    let x = ${a.loadFour('base', 'k')};
    ${name}_four += ${maskTail(term, 'k', K)};
  }
  let ${name} = dot(${name}_four, vec4<f32>(1.0)) / ${K}.0;
`;
  const layer = kind === 'layer_norm';
  return `${layer ? sum('mean', 'x') : '  let mean = 0.0;\n'}${sum('square', layer ? '(x - vec4<f32>(mean)) * (x - vec4<f32>(mean))' : 'x * x')}  let stats = vec2<f32>(mean, 1.0 / sqrt(square + ${floatLiteral(eps)}));
`;
}

/** Many lanes a row are summed as a tree; few are left to the row's own invocation, which costs no barrier. */
const reduceText = (lanes: number, tile: number, invocations: number): string => {
  if (lanes <= 8) return '';
  if (tile * lanes !== invocations || lanes & (lanes - 1)) throw new RangeError(`${invocations} invocations do not share ${tile} rows evenly, a power of two each.`);
  return `
  for (var h = ${lanes / 2}u; h > 0u; h >>= 1u) {
    if (t % ${lanes}u < h) { row_sums[t] += row_sums[t + h]; }
    workgroupBarrier();
  }`;
};

/** Gain and bias of a norm: elements 4·k … 4·k+3 of each. */
export function declareNormWeights(memory: Memory, norm: Norm, K: number): { gain(k: string): string; bias: ((k: string) => string) | undefined } {
  const four = (role: string, { binding, storage, offset = 0 }: WeightVector): ((k: string) => string) => {
    const x = memory.vector(role, binding, storage, 4, K, offset);
    return (k) => x.loadFour(offset ? x.unit(`${offset}u`) : '0u', k);
  };
  return { gain: four('gain', norm.gain), bias: norm.bias && four('shift', norm.bias) };
}
