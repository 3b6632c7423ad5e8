/**
 * RMS norm or layer norm of rows, where it is no prologue of a product.
 *
 * Tile: `rows` rows a workgroup, `lanes` invocations a row (both powers of two), four columns at a time. Statistics in
 * f32; one invocation a row keeps them to itself, with no workgroup memory and no barrier.
 * Preconditions: the output may be the input itself (every element is read before it is written, by the invocation that
 * writes it, and statistics are complete before).
 */
import type { Poly } from '../ir/poly.ts';
import type { NormSchedule, NormShape } from '../schedule/norm-schedule.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { Memory } from './printer.ts';
import type { NormKind, WeightVector } from './statistics.ts';
import { declareNormWeights, ownStatistics, statisticsText } from './statistics.ts';
import type { MatmulSpec } from './weight-rows.ts';

export interface NormSpec {
  readonly rows: Poly;
  readonly width: number;
  readonly kind: NormKind;
  readonly a: View;
  readonly gain: WeightVector;
  readonly bias?: WeightVector;
  readonly eps: number;
  readonly out: View;
}

export const normShapeOf = (spec: NormSpec): NormShape => ({ ...(spec.rows.constant() === undefined ? {} : { rows: spec.rows.constant()! }), width: spec.width });

export function normKernel(spec: NormSpec, schedule: NormSchedule, options: KernelOptions): Kernel {
  const { width, kind } = spec, { rows: tile, lanes } = schedule, invocations = tile * lanes;
  const memory = new Memory(options);
  const a = memory.view('a', spec.a, 4);
  const { gain, bias } = declareNormWeights(memory, spec, width);
  const out = memory.view('out', spec.out, 4, { width });
  const centred = kind === 'layer_norm' ? `(${a.loadFour('base', 'k')} - vec4<f32>(stats.x))` : a.loadFour('base', 'k');
  const alone = lanes === 1;
  const shared = alone ? '' : `${statisticsText(a, kind, width, spec.eps, tile, invocations)}\n`;
  const body = `  let rows = ${memory.poly(spec.rows)};
${alone ? '' : `  statistics(t, group.x * ${tile}u, rows);\n`}  let row = group.x * ${tile}u + ${alone ? 't' : `t / ${lanes}u`};
  if (row >= rows) { return; }
  let base = ${a.rowUnit('row')};
${alone ? ownStatistics(a, kind, width, spec.eps) : `  let stats = row_stats[t / ${lanes}u];\n`}  for (var k = ${alone ? '0u' : `t % ${lanes}u`}; k < ${alone ? a.hiddenBound(Math.ceil(width / 4)) : `${Math.ceil(width / 4)}u`}; k += ${lanes}u) {
    let column = k * 4u;
    let value = ${centred} * stats.y * ${gain('k')}${bias ? ` + ${bias('k')}` : ''};
    let at = ${out.element('row', 'column')};
    ${out.store('at', 'value', 4, { column: 'column', width }).join('\n    ')}
  }
`;
  return {
    family: 'norm',
    wgsl: `// ${tile} rows a workgroup, ${width} columns
${memory.head()}${shared}@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    grid: [{ ceil: spec.rows, by: tile }, 1, 1],
  };
}

/**
 * A product whose prologue is a norm as two kernels: the norm into `scratch` (dense f32 rows of K elements), and the
 * product over that. Undefined if there is no norm to take out. `normApart` says when this pays.
 */
export function splitNorm(spec: MatmulSpec, scratch: View): { norm: NormSpec; product: MatmulSpec } | undefined {
  const { prologue, ...product } = spec;
  if (!prologue || prologue.kind === 'patches') return undefined;
  return { norm: { ...prologue, rows: spec.rows, width: spec.K, a: spec.a, out: scratch }, product: { ...product, a: scratch } };
}
