/**
 * Demand: every value is computed for those rows alone that somebody reads.
 *
 * This is where pruning by mask pays: visual rows whose queries nobody needs lose their query projection, the last
 * decoder layer keeps one row beyond keys and values, and a tower's last layers vanish when an earlier one is read.
 */
import { GraphBuilder, sweep } from '../compiler/ir/builder.ts';
import type { Node } from '../compiler/ir/graph.ts';
import type { Pass } from './pass.ts';
import { Demand, narrowNode } from './row-demand.ts';

export const demand: Pass = {
  name: 'demand',
  proves: 'Every row that is computed is read, directly or not, by an output; and every row that is read is computed.',
  run: (g) => {
    const wanted = Demand.ofOutputs(g);
    const b = GraphBuilder.like(g);
    for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const)
      for (const n of leaves.values()) b.leaf(map, n);
    const done = new Map<Node, Node>();
    for (const n of g.nodes) {
      const out = wanted.of(n);
      if (out) done.set(n, narrowNode(b, n, n.inputs.map((x) => done.get(x) ?? x), out));
    }
    for (const [name, n] of g.outputs) b.output(name, done.get(n) ?? n);
    return sweep(b.finish());
  },
};
