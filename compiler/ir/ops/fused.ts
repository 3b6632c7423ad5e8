import type { Node } from '../graph.ts';
import { Poly } from '../poly.ts';
import { movesOf, opDef } from './index.ts';
import type { CountClass, Counts, OpDef } from './def.ts';
import { expect, nothing, num } from './def.ts';

/**
 * Several ops that become one kernel. The body says what is computed, so the interpreter needs no rule of its own and
 * the work is the body's work. Fusion is the last change of a graph: rows are settled before it.
 */
export const fused: OpDef = {
  name: 'fused', doc: 'Several ops that become one kernel; the body says which.',
  arity: [0, Infinity], attrs: { family: 'text', '*': 'any' },
  infer: (inputs, _attrs, _head, body) => {
    expect(!!body && body.results.length > 0 && body.params.length === inputs.length, () => 'needs a body with one parameter an input and at least one result.');
    return body!.results[0]!.type;
  },
  reads: (n, _out, i) => n.inputs[i]!.type.rows,
  narrow: (b, n, inputs) => b.op('fused', inputs, n.attrs, n),
  counts: (n, pairs) => {
    const sum: Counts = {};
    for (const m of n.body!.nodes)
      for (const [c, p] of Object.entries(opDef(m.op).counts(m, pairs)) as [CountClass, Poly][]) sum[c] = (sum[c] ?? Poly.zero).add(p);
    return sum;
  },
  moves: (n) => {
    const { params, nodes, results } = n.body!;
    // A parameter is read once, as widely as any op inside reads it.
    const reads = params.map((p) => nodes.flatMap((m) => m.inputs.flatMap((x, i) => (x === p ? [movesOf(m).reads[i]!] : [])))
      .reduce((most, r) => (r.isZero ? most : r), Poly.zero));
    return { reads, writes: Poly.sum(results.map((r) => movesOf(r).writes)) };
  },
  evaluate: (n, inputs, ctx) => {
    const results = ctx.run(n.body!, inputs);
    return { ...results[0]!, results };
  },
};

/** Picks result `index` of a fused node. */
export const result: OpDef = {
  name: 'result', doc: 'One result of a fused node.', arity: 1, attrs: { index: 'index' },
  infer: (_inputs, attrs, _head, body) => {
    const type = body?.results[num(attrs, 'index')]?.type;
    expect(!!type, () => `the fused node has no result ${num(attrs, 'index')}.`);
    return type!;
  },
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, [x]) => x!.results![resultIndex(n)]!,
};
export const resultIndex = (n: Node): number => num(n.attrs, 'index');
