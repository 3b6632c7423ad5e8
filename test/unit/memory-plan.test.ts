/** The memory plan: what may share bytes does, what is alive at the same time does not. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseGraph } from '../../compiler/ir/index.ts';
import type { Graph, Node } from '../../compiler/ir/index.ts';
import { isLeaf } from '../../compiler/ir/graph.ts';
import { bytes } from '../../compiler/ir/types.ts';
import { isVirtual, planMemory, printMemoryPlan } from '../../compiler/schedule/memory.ts';
import { fuse } from '../../passes/fuse.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { randomCase } from '../support/random-graphs.ts';

const text = `graph mlp {
  sequence tokens(media visual: V, text: T)
  input ids: i32[text] at prompt
  input features: f32[visual, 16] at image
  weight "embed.weight": f32[9, 16]
  weight "up.weight": f32[32, 16]
  weight "down.weight": f32[16, 32]
  weight "norm.weight": f32[16]

  %0 = embed %ids, @"embed.weight" : f32[text, 16]
  %1 = silu %features : f32[visual, 16]
  %2 = merge %1, %0 : f32[visual+text, 16]
  %3 = rms_norm %2, @"norm.weight" {eps = 0.00001} : f32[visual+text, 16]
  %4 = linear %3, @"up.weight" : f32[visual+text, 32]
  %5 = silu %4 : f32[visual+text, 32]
  %6 = linear %5, @"down.weight" : f32[visual+text, 16]
  %7 = add %2, %6 : f32[visual+text, 16]
  %8 = rows %7 {rows = "text.last"} : f32[text.last, 16]
  %9 = rms_norm %8, @"norm.weight" {eps = 0.00001} : f32[text.last, 16]
  return logits = %9
}`;

test('parts of a merge are written in place, the residual is overwritten, and the peak is what lives at once', () => {
  const g = fuse.run(parseGraph(text));
  expect(printMemoryPlan(g, planMemory(g, { V: 8, T: 8 }))).toMatchInlineSnapshot(`
    "0..2048  steps 3-4  %3 f32[visual+text, 32]
    0..64  steps 6-7  %6 f32[text.last, 16]
    2048..3072  steps 0-6  %2 f32[visual+text, 16], %0 f32[text, 16], %1 f32[visual, 16], %4 f32[visual+text, 16]
    peak 3072 bytes for 3136 bytes of values"
  `);
});

/** Pairs of values that are alive at the same time in overlapping bytes although neither takes over from the other. */
function clashes(g: Graph, sizes: Readonly<Record<string, number>>): string[] {
  const plan = planMemory(g, sizes), order = new Map(g.nodes.map((n, i) => [n, i])), outputs = new Set(g.outputs.values());
  const readers = new Map<Node, Node[]>();
  for (const n of g.nodes) for (const i of n.inputs) readers.set(i, [...(readers.get(i) ?? []), n]);
  const written = (n: Node): number => order.get(n.op === 'result' ? n.inputs[0]! : n)!;
  const isCopied = (m: Node, part: Node): boolean => plan.copies.get(m)?.includes(part) ?? false;
  /** When the bytes of a value are last looked at, through views and through merges that it was written into. */
  const lastRead = (n: Node): number => Math.max(outputs.has(n) ? g.nodes.length : written(n), ...(readers.get(n) ?? []).map((u) =>
    (u.op === 'rows' || u.op === 'as_rows' || (u.op === 'merge' && !isCopied(u, n)) ? Math.max(order.get(u)!, lastRead(u)) : order.get(u)!)));
  const values = g.nodes.filter((n) => !isLeaf(n) && !isVirtual(n) && n.op !== 'rows' && n.op !== 'as_rows' && n.op !== 'merge' && plan.places.has(n) && 'bytes' in plan.places.get(n)!.in);
  const range = (n: Node) => {
    const at = plan.places.get(n)!, base = (at.in as { offset: number }).offset, row = bytes({ ...n.type, rows: undefined }).at(sizes);
    return { from: base + at.offset.at(sizes) * row, to: base + at.offset.at(sizes) * row + bytes(n.type).at(sizes) };
  };
  const out: string[] = [];
  values.forEach((a, i) => values.slice(i + 1).forEach((b) => {
    const [x, y] = [range(a), range(b)];
    if (x.from >= y.to || y.from >= x.to) return;
    const [early, late] = written(a) <= written(b) ? [a, b] : [b, a];
    if (written(early) === written(late)) { out.push(`results ${written(a)} and ${written(b)} of one kernel`); return; }
    const end = lastRead(early), at = written(late);
    // In place: the last reader is the very kernel that writes, reading element by element.
    const heir = end === at && plan.places.get(early)!.in === plan.places.get(late)!.in && (late.op === 'fused' || late.op === 'result');
    if (end >= at && !heir) out.push(`%${written(early)} is read until ${end}, and %${at} overwrites it`);
  }));
  for (const n of values) if (range(n).to > plan.bytes) out.push(`%${written(n)} lies outside the arena`);
  return out;
}

test('no two values that are alive at once overlap, unless one takes over from the other', () => {
  fc.assert(fc.property(randomCase({ generates: true }), fc.nat(5), fc.integer({ min: 1, max: 6 }), (c, V, T) => {
    try { maskAnalysis.run(c.graph); } catch { return; }
    for (const g of stageProgram(optimise(c.graph)).graphs.values()) expect(clashes(fuse.run(g), { V, T, CV: V + 2, CT: T + 3 })).toEqual([]);
  }), { numRuns: Number(process.env['PASS_RUNS'] ?? 30) });
});
