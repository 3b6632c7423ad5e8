/**
 * Numbers of the largest entries of each row: which experts a router chooses. In a kernel of its own an invocation has a row to
 * itself; where a workgroup has computed all entries of one row, its invocations find their places among them side by side.
 */
import type { Poly } from '../ir/poly.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { Memory } from './printer.ts';

export interface TopKSpec {
  readonly rows: Poly;
  readonly width: number;
  readonly top: number;
  readonly from: View;
  /** i32, `top` a row: the largest first, the earlier of equals first. */
  readonly out: View;
}

export function topKKernel({ rows, width, top, from, out }: TopKSpec, options: KernelOptions, invocations = 64): Kernel {
  const memory = new Memory(options), x = memory.view('x', from, 1), numbers = memory.view('numbers', out, 1, { width: top });
  const body = `  let row = at.x;
  if (row >= ${memory.poly(rows)}) { return; }
  // Each round takes the largest of the entries that come after the one before: smaller, or equal and later.
  var last = 0.0;
  var before = 0u;
  for (var j = 0u; j < ${top}u; j++) {
    var best = 0.0;
    var number = ${width}u;
    for (var e = 0u; e < ${width}u; e++) {
      let value = ${x.load(x.element('row', 'e'), 1)};
      let left = j == 0u || value < last || (value == last && e > before);
      if (left && (number == ${width}u || value > best)) { best = value; number = e; }
    }
    last = best;
    before = number;
    ${numbers.storeInteger(numbers.element('row', 'j'), `i32(min(number, ${width - 1}u))`)}
  }
`;
  return {
    family: 'top-k',
    wgsl: `${memory.head()}
@compute @workgroup_size(${invocations})
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
${body}}
`,
    bindings: memory.bindings(), workgroup: [invocations, 1, 1], grid: [{ ceil: rows, by: invocations }, 1, 1], features: memory.features(),
  };
}

/** What a workgroup chooses of the columns that it has stored: `Choice.from` lies in their output. */
export type Choice = Omit<TopKSpec, 'rows'>;

/**
 * Statements, in uniform control flow, for all invocations of a workgroup that has stored row 0 of `from`, of which no other has any.
 * The place of an entry is how many come before it: larger ones, and equal ones with a smaller number. Where scores are NaN, places
 * may stay as they were; who reads choices checks them.
 */
export function declareChoice(memory: Memory, { width, top, from, out }: Choice, invocations: number): () => string {
  const x = memory.view('out', from, 1), numbers = memory.view('numbers', out, 1, { width: top }), at = (e: string): string => x.load(x.element('0u', e), 1);
  return () => `  storageBarrier();
  workgroupBarrier();
  for (var e = t; e < ${width}u; e += ${invocations}u) {
    let own = ${at('e')};
    var before = 0u;
    for (var i = 0u; i < ${width}u; i++) {
      let other = ${at('i')};
      before += select(0u, 1u, other > own || (other == own && i < e));
    }
    if (before < ${top}u) { ${numbers.storeInteger(numbers.element('0u', 'before'), 'i32(e)')} }
  }
`;
}
