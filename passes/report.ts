/** What a pass changed: ops, FLOPs and bytes of the graph before and after it. */
import { conventions } from '../compiler/cost/conventions.ts';
import { CostFormula } from '../compiler/cost/formula.ts';
import { traffic } from '../compiler/cost/traffic.ts';
import type { Graph } from '../compiler/ir/graph.ts';
import { Poly } from '../compiler/ir/poly.ts';

export interface GraphSize {
  readonly ops: number;
  /** 2 per multiply-add of what the graph computes (convention `exact`). */
  readonly flops: Poly;
  /** Bytes that its ops read and write, weights included, if each op runs by itself. */
  readonly bytes: Poly;
}

export interface Change { readonly before: GraphSize; readonly after: GraphSize }

const known = new WeakMap<Graph, GraphSize>();
export function sizeOf(g: Graph): GraphSize {
  let size = known.get(g);
  if (!size) {
    const moved = traffic(g);
    size = { ops: g.nodes.length, flops: Poly.sum(new CostFormula(g, conventions['exact']!).nodes.map((n) => n.flops)), bytes: moved.weights.add(moved.read).add(moved.written) };
    known.set(g, size);
  }
  return size;
}

/** The sizes are worked out when they are asked for. */
export const changeOf = (before: Graph, after: Graph): Change => ({ get before() { return sizeOf(before); }, get after() { return sizeOf(after); } });
