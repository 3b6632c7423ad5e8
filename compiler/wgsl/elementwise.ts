/**
 * Element by element work that stands alone: any epilogue expression over rows × columns, with or without a rope.
 *
 * Tile: four columns an invocation (two where a pair asks for no more, one for a single column), invocations along columns
 * first. Preconditions: the output may be a view of the very elements that the expression loads, and overlaps with
 * nothing else it loads; at most 65,535 · (rows of a workgroup) rows.
 */
import type { Poly } from '../ir/poly.ts';
import type { ElementExpr } from './expr.ts';
import type { OutputGroup, Rope } from './epilogue.ts';
import { declareFinish } from './epilogue.ts';
import type { Kernel, View } from './kernel.ts';
import type { KernelOptions, Lanes } from './printer.ts';
import { Memory } from './printer.ts';

export interface ElementwiseSpec {
  readonly rows: Poly;
  readonly width: number;
  readonly value: ElementExpr;
  readonly rope?: Rope;
  readonly out: View;
  readonly only?: OutputGroup['only'];
}

/** Invocations of a workgroup. */
const invocations = 64;

export function elementwiseKernel(spec: ElementwiseSpec, options: KernelOptions, family = 'elementwise'): Kernel {
  const lanes: Lanes = spec.width >= 3 ? 4 : spec.width >= 2 ? 2 : 1;
  const memory = new Memory(options);
  const finish = declareFinish(memory, spec, 0, 0, lanes, spec.rows);
  const pieces = Math.ceil(spec.width / lanes);
  let across = 1;
  while (across < pieces && across < invocations) across *= 2;
  const down = invocations / across;
  const text = finish.text();
  return {
    family,
    wgsl: `// ${down} rows x ${across * lanes} columns a workgroup
${memory.head()}${text}
@compute @workgroup_size(${across}, ${down})
fn main(@builtin(global_invocation_id) at: vec3<u32>) { ${finish.name}(at.y, at.x * ${lanes}u); }
`,
    bindings: memory.bindings(), workgroup: [across, down, 1], features: memory.features(),
    grid: [Math.ceil(pieces / across), { ceil: spec.rows, by: down }, 1],
  };
}

/** A rope that stands alone: `a`, as its linear left it, turned by its rows' positions and written in pairs; never in place. */
export const ropeKernel = (spec: { rows: Poly; width: number; a: View; rope: Rope; out: View }, options: KernelOptions): Kernel =>
  elementwiseKernel({ rows: spec.rows, width: spec.width, value: { op: 'load', view: spec.a, halves: spec.rope.headDim }, rope: spec.rope, out: spec.out }, options, 'rope');
