/**
 * Index of the largest element of a row, the first one on a tie: greedy decoding.
 *
 * Tile: one row a workgroup; each of 256 (at most) invocations keeps the best of every 256th piece, and the bests meet in
 * workgroup memory as a tree. The best starts as the lowest finite number, so no infinity is needed; an element that is
 * not a number never wins.
 */
import { Poly } from '../ir/poly.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { Memory } from './printer.ts';

export interface ArgmaxSpec {
  readonly row: View;
  readonly width: number;
  /** i32, one number a row. */
  readonly out: View;
  /** Rows of `row`; 1 by default. */
  readonly rows?: Poly;
}

const lowest = '-3.4028234e38';

export function argmaxKernel({ row, width, out, rows = Poly.of(1) }: ArgmaxSpec, options: KernelOptions): Kernel {
  if (out.storage !== 'i32') throw new RangeError(`The output of argmax is i32, not ${out.storage}.`);
  let invocations = 1;
  while (invocations < 256 && invocations * 4 < width) invocations *= 2;
  const memory = new Memory(options);
  const x = memory.view('x', row, 4), to = memory.view('out', out, 1, { width: 1 });
  const pieces = Math.ceil(width / 4);
  const better = 'fn better(x: f32, i: u32, than: f32, at: u32) -> bool { return x > than || (x == than && i < at); }';
  const consider = [0, 1, 2, 3].map((i) => `    if (${width % 4 ? `k * 4u + ${i}u < ${width}u && ` : ''}v[${i}] > best) { best = v[${i}]; at = k * 4u + ${i}u; }`).join('\n');
  const body = `  let row = group.x;
  let base = ${x.rowUnit('row')};
  var best = ${lowest};
  var at = 0u;
  for (var k = t; k < ${pieces}u; k += ${invocations}u) {
    let v = ${x.loadFour('base', 'k')};
${consider}
  }
  values[t] = best;
  places[t] = at;
  workgroupBarrier();
  for (var h = ${invocations / 2 | 0}u; h > 0u; h >>= 1u) {
    if (t < h && better(values[t + h], places[t + h], values[t], places[t])) {
      values[t] = values[t + h];
      places[t] = places[t + h];
    }
    workgroupBarrier();
  }
  if (t == 0u) { ${to.storeInteger(to.element('row', '0u'), 'i32(places[0])')} }
`;
  return {
    family: 'argmax',
    wgsl: `// one row a workgroup, ${width} columns
${memory.head()}var<workgroup> values: array<f32, ${invocations}>;
var<workgroup> places: array<u32, ${invocations}>;
${better}
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    grid: [{ ceil: rows, by: 1 }, 1, 1],
  };
}
