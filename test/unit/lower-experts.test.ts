/** Which dispatches a block of experts becomes: whole, with weights that are split, with products beside the router, with too many operands. */
import { describe, expect, test } from 'vitest';
import { familiesFor } from '../../compiler/bundle/families.ts';
import { dispatchFlops } from '../../compiler/bundle/flops.ts';
import { Packing } from '../../compiler/bundle/packing.ts';
import { buildTarget, wantWeights } from '../../compiler/bundle/target.ts';
import { parseGraph } from '../../compiler/ir/index.ts';
import { fuse } from '../../passes/fuse.ts';

const [K, width] = [12, 20];

/** A block of experts over the last row; `own`: a product beside the router's; `epilogue`: values that scale the sum, one after the other. */
function dispatches({ own = false, experts = 3, epilogue = 0, limit = Infinity, device = 'gpu' as 'gpu' | 'software' } = {}) {
  const each = (name: string): string => Array.from({ length: experts }, (_, e) => `@"${name}${e}"`).join(', '), R = 'text.last';
  const weight = (name: string, type: string): string => `  weight "${name}": f32[${type}]\n`;
  const text = `graph prefill {
  sequence tokens(text: T)
  input x: f32[text, ${K}] at prompt
${weight('norm', `${K}`)}${weight('gate', `${experts}, ${K}`)}${weight('own', `9, ${K}`)}${Array.from({ length: experts }, (_, e) => weight(`up${e}`, `${width}, ${K}`) + weight(`down${e}`, `${K}, ${width}`)).join('')}${Array.from({ length: epilogue }, (_, i) => `  input r${i}: f32[text, ${K}] at prompt\n`).join('')}
  %0 = rows %x {rows = "${R}"} : f32[${R}, ${K}]
  %1 = rms_norm %0, @"norm" {eps = 0.00001} : f32[${R}, ${K}]
  %2 = linear %1, @"gate" : f32[${R}, ${experts}]
  %3 = top_k %2 {top = 2} : i32[${R}, 2]
  %4 = expert_linear %1, %3, ${each('up')} {experts = ${experts}} : f32[${R}, ${2 * width}]
  %5 = expert_linear %4, %3, ${each('down')} {experts = ${experts}} : f32[${R}, ${2 * K}]
  %6 = mix_experts %5, %3, %2 : f32[${R}, ${K}]
  %7 = add %0, %6 : f32[${R}, ${K}]
${Array.from({ length: epilogue }, (_, i) => `  %${8 + 2 * i} = rows %r${i} {rows = "${R}"} : f32[${R}, ${K}]\n  %${9 + 2 * i} = mul %${7 + 2 * i}, %${8 + 2 * i} : f32[${R}, ${K}]\n`).join('')}${own ? `  %${8 + 2 * epilogue} = linear %1, @"own" : f32[${R}, 9]\n` : ''}  return out = %${7 + 2 * epilogue}${own ? `, own = %${8 + 2 * epilogue}` : ''}
}`;
  const graph = fuse.run(parseGraph(text)), packing = new Packing(() => ({ kind: 'f32' }), { limit });
  wantWeights(packing, [graph]);
  const [options] = familiesFor([{ kind: 'f32' }], [...graph.sequences.values()], { devices: [device] });
  const { target, plans } = buildTarget({ entries: { prefill: graph }, capacities: { text: 8 }, packing, flops: dispatchFlops }, options!), list = target.entries.prefill!.dispatches;
  for (const d of list) expect(d.bind.filter((b) => b.buffer !== 'dims').length, d.label).toBeLessThanOrEqual(8);
  // Each product once, whatever it takes.
  expect(list.reduce((sum, d) => sum + Number(d.flops), 0)).toBe(2 * K * (experts + (own ? 9 : 0)) + 2 * 2 * 2 * K * width);
  const families = plans.get('prefill')!.steps.map((s) => s.kernel.family);
  return list.map((d, i) => `${d.label}: ${families[i]}`);
}

describe('one row', () => {
  test('takes three kernels', () => expect(dispatches()).toEqual(['gate+top_k: matvec', 'up0: experts', 'down0+mix: experts']));
  test('chooses in a kernel of its own where no workgroup has all scores', () => {
    expect(dispatches({ experts: 64 })).toEqual(['gate+top_k: matvec', 'up0: experts', 'down0+mix: experts']);
    expect(dispatches({ experts: 65 })).toEqual(['gate+top_k: matvec', 'gate+top_k: top-k', 'up0: experts', 'down0+mix: experts']);
    expect(dispatches({ experts: 65, device: 'software' })[0]).toBe('gate+top_k: matvec');
    expect(dispatches({ experts: 65, device: 'software' })[1]).toBe('up0: experts');
  });
  test('chooses in a kernel of its own beside other products', () => expect(dispatches({ own: true })).toEqual(['gate+own: matvec', 'top_k: top-k', 'up0: experts', 'down0+mix: experts']));
  test('mixes in a kernel of its own what several tensors give', () => {
    // A matrix is 960 bytes, so two experts lie in one tensor; the router is whole.
    expect(dispatches({ limit: 2000 })).toEqual(['gate+top_k: matvec', 'up0: experts', 'up0: experts', 'down0: experts', 'down0: experts', 'elementwise: elementwise']);
    expect(dispatches({ limit: 2000, experts: 50 }).filter((d) => d.includes('gate') || d.includes('top'))).toEqual(['gate: matvec', 'gate: matvec', 'top_k: top-k']);
  });
  test('mixes in a kernel of its own where one would bind too many buffers', () => {
    expect(dispatches({ epilogue: 2 }).at(-1)).toBe('down0+mix: experts');
    expect(dispatches({ epilogue: 3 }).slice(-2)).toEqual(['down0: experts', 'elementwise: elementwise']);
  });
});
