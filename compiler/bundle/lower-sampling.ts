/** Lowering of the draw of the next token, which is no op of the model: it runs after a step whose caller does not want the likeliest token. */
import { Poly } from '../ir/poly.ts';
import type { View } from '../wgsl/kernel.ts';
import { keptWidth } from '../wgsl/sample.ts';
import type { LowerContext, Step } from './lower.ts';
import { Operands } from './operands.ts';

/** Takes the output `next` from the likeliest token to the one that `draw` asks for; nothing where a graph does not choose a token. */
export function lowerSampling(ctx: LowerContext): Step[] {
  const logits = ctx.graph.outputs.get('logits'), next = ctx.graph.outputs.get('next');
  if (!logits || next?.op !== 'argmax' || next.inputs[0] !== logits) return [];
  const o = new Operands(ctx.plan, ctx.capacities, ctx.entryDims, ctx.leafRange, ctx.families.heldAs), width = logits.type.dims[0]!;
  const kept: View = { binding: o.role(ctx.scratchRange(keptWidth(width) * 4, 'scratch')), storage: 'f32', stride: keptWidth(width), offset: Poly.zero };
  const kernel = ctx.families.sample({ row: o.view(logits), width, next: o.view(next, 1), draw: o.role(ctx.dataRange('draw')), kept }, o.writable);
  return [{ kernel, node: next, label: 'sample', main: false, bind: kernel.bindings.map((b) => (b.access === 'uniform' ? ctx.dataRange('dims') : o.ranges.get(b.name)!)) }];
}
