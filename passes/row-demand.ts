/**
 * Demand: which rows of each value somebody reads, backwards from the roots. A graph has no cycles, so one sweep against
 * the order of its nodes reaches the fixed point.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { copyNode } from '../compiler/ir/builder.ts';
import type { Graph, GraphHead, Node } from '../compiler/ir/graph.ts';
import { opDef } from '../compiler/ir/ops/index.ts';
import type { RowSet } from '../compiler/ir/rows.ts';
import { sameRows, unionRows } from '../compiler/ir/rows.ts';

/** Rows of input `i` that are read to compute rows `out` of a node; undefined for none, and for inputs without rows. */
export function rowsRead(n: Node, out: RowSet, i: number, head: GraphHead): RowSet | undefined {
  const reads = opDef(n.op).reads;
  if (!n.inputs[i]!.type.rows) return undefined;
  return reads ? reads(n, out, i, head) : out;
}

/** Rows demanded of values; a value that nobody reads has none. */
export class Demand {
  private readonly rows = new Map<Node, RowSet>();
  add(n: Node, rows: RowSet | undefined): void {
    const all = unionRows(this.rows.get(n), rows);
    if (all) this.rows.set(n, all);
  }
  of(n: Node): RowSet | undefined { return this.rows.get(n); }

  /** Demand of every value of `g`, if its outputs are read whole. */
  static ofOutputs(g: Graph): Demand {
    const demand = new Demand();
    for (const n of g.outputs.values()) demand.add(n, n.type.rows);
    for (const n of [...g.nodes].reverse()) {
      const out = demand.of(n);
      if (out) n.inputs.forEach((x, i) => demand.add(x, rowsRead(n, out, i, g)));
    }
    return demand;
  }
}

/**
 * The node computed for rows `out` alone, over rewritten inputs that hold at least the rows that are read. An input of
 * which nothing is read may be given as it was: no op looks at more than its type.
 */
export function narrowNode(b: GraphBuilder, n: Node, inputs: readonly Node[], out: RowSet): Node {
  const kept = (x: Node, i: number): boolean => x === n.inputs[i] && (!x.type.rows || !!rowsRead(n, out, i, b));
  if (sameRows(out, n.type.rows!) && inputs.every(kept)) return copyNode(b, n, inputs);
  const narrow = opDef(n.op).narrow;
  if (!narrow) return b.op(n.op, inputs.map((x) => (x.type.rows ? b.select(x, out) : x)), n.attrs, n);
  b.path = n.path; b.where = n.where;
  return narrow(b, n, inputs, out);
}
