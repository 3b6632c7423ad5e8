/**
 * Index of the largest element of a row, the first one on a tie: greedy decoding.
 *
 * Where no token can be chosen the result says why, so that nobody takes a wrong one: -1 if nothing is above -infinity,
 * -2 - 2i if element i is not a number, -3 - 2i if it is +infinity (runtime/sampling.ts reads these). A shader's compiler may
 * assume that there are no such numbers, so elements are compared by their bits.
 *
 * Tile: one row a workgroup; each of 256 (at most) invocations keeps the best of every 256th piece, and the bests meet in
 * workgroup memory as a tree.
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

/** `orderOf` of -infinity, of +infinity, and of what is not a number. */
export const orders = { lowest: '0x007fffffu', infinity: '0xff800000u', nan: '0xffffffffu' } as const;
/** A number as an integer: larger numbers have larger ones, 0 and -0 the same, and what is no number the largest. */
export const orderOf = (memory: Memory): string => memory.helper('order_of', `fn order_of(x: f32) -> u32 {
  let b = bitcast<u32>(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) { return ${orders.nan}; }
  if ((b & 0x7fffffffu) == 0u) { return 0x80000000u; }
  return select(b | 0x80000000u, ~b, (b >> 31u) == 1u);
}`);

/** Invocations for a row: a power of two that leaves each some pieces of four. */
export function rowInvocations(width: number): number {
  let invocations = 1;
  while (invocations < 256 && invocations * 4 < width) invocations *= 2;
  return invocations;
}

export function argmaxKernel({ row, width, out, rows = Poly.of(1) }: ArgmaxSpec, options: KernelOptions): Kernel {
  if (out.storage !== 'i32') throw new RangeError(`The output of argmax is i32, not ${out.storage}.`);
  const invocations = rowInvocations(width), memory = new Memory(options), order = orderOf(memory);
  const x = memory.view('x', row, 4), to = memory.view('out', out, 1, { width: 1 });
  const pieces = Math.ceil(width / 4);
  const consider = [0, 1, 2, 3].map((i) => `    let o${i} = ${order}(v[${i}]);\n    if (${width % 4 ? `k * 4u + ${i}u < ${width}u && ` : ''}o${i} > best) { best = o${i}; at = k * 4u + ${i}u; }`).join('\n');
  const body = `  let row = group.x;
  let base = ${x.rowUnit('row')};
  var best = ${orders.lowest};
  var at = 0u;
  for (var k = t; k < ${pieces}u; k += ${invocations}u) {
    let v = ${x.loadFour('base', 'k')};
${consider}
  }
  values[t] = best;
  places[t] = at;
  workgroupBarrier();
  for (var h = ${invocations / 2 | 0}u; h > 0u; h >>= 1u) {
    if (t < h && (values[t + h] > values[t] || (values[t + h] == values[t] && places[t + h] < places[t]))) {
      values[t] = values[t + h];
      places[t] = places[t + h];
    }
    workgroupBarrier();
  }
  if (t == 0u) {
    let i = i32(places[0]);
    var chosen = i;
    if (values[0] == ${orders.lowest}) { chosen = -1; }
    if (values[0] == ${orders.nan}) { chosen = -2 - 2 * i; }
    if (values[0] == ${orders.infinity}) { chosen = -3 - 2 * i; }
    ${to.storeInteger(to.element('row', '0u'), 'chosen')}
  }
`;
  return {
    family: 'argmax',
    wgsl: `// one row a workgroup, ${width} columns
${memory.head()}var<workgroup> values: array<u32, ${invocations}>;
var<workgroup> places: array<u32, ${invocations}>;
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], features: memory.features(),
    grid: [{ ceil: rows, by: 1 }, 1, 1],
  };
}
