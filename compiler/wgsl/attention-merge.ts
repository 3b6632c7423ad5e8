/**
 * Merges the partial results of split keys: each split left its weighted sum, its maximum (in units of log2) and its sum
 * of weights. One invocation a vector of channels.
 */
import type { AttentionWork } from './attention.ts';
import { activeSplits, recordElements } from './attention.ts';
import type { Kernel } from './kernel.ts';
import type { Lanes } from './printer.ts';
import { Memory, vecType } from './printer.ts';

const invocations = 64;

export function mergeKernel(work: AttentionWork): Kernel {
  const { spec, schedule, shape, tile, options } = work;
  const memory = new Memory(options), w = shape.vector as Lanes, record = recordElements(shape);
  const out = memory.view('out', spec.out, w, { width: spec.heads * spec.valueDim });
  const scratch = memory.view('scratch', spec.scratch!, w);
  const fixed = shape.queryRows === undefined ? undefined : activeSplits(work, shape.queryRows);
  const count = memory.poly(spec.qRows);
  const vectors = spec.heads * tile.valueVectors;
  const column = `c % ${tile.valueVectors}u${w > 1 ? ` * ${w}u` : ''}`;
  const body = `
@compute @workgroup_size(${invocations})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let count = ${count};
  let splits = ${fixed !== undefined ? `${fixed}u` : `clamp(${schedule.splitRows}u / max(count, 1u), 1u, ${schedule.splits}u)`};
  let c = id.x;
  let row = id.y;
  if (splits == 1u || c >= ${vectors}u) { return; } // a single split has written its results itself
  let head = c / ${tile.valueVectors}u;
  var high = -1e30;
  var total = 0.0;
  var sum = ${vecType(w)}(${w === 1 ? '0.0' : ''});
  for (var s = 0u; s < splits; s++) {
    let start = ((s * count + row) * ${spec.heads}u + head) * ${record}u;
    let m = ${scratch.load(scratch.element('0u', `start + ${spec.valueDim}u`), 1)};
    let weight = ${scratch.load(scratch.element('0u', `start + ${spec.valueDim + 1}u`), 1)};
    let next = max(high, m);
    let old = exp2(high - next);
    let now = select(0.0, exp2(m - next), weight > 0.0);
    sum = sum * old + ${scratch.load(scratch.element('0u', `start + ${column}`), w)} * now;
    total = total * old + weight * now;
    high = next;
  }
  let y = sum * (select(0.0, 1.0, total > 0.0) / max(total, 1e-30));
  ${out.store(out.element('row', `head * ${spec.valueDim}u + ${column}`), 'y', w).join('\n  ')}
}
`;
  return {
    family: 'attention-merge', wgsl: memory.head() + body, bindings: memory.bindings(), workgroup: [invocations, 1, 1],
    grid: [Math.ceil(vectors / invocations), { ceil: spec.qRows, by: 1 }, 1], features: memory.features(),
  };
}
