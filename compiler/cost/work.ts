/**
 * The work of a graph, read off the op table node by node: counts by class (`CountClass`), each a polynomial in the
 * graph's dims. Conventions (conventions.ts) say what of it is a FLOP.
 *
 * Rows of a tower are those of one picture, so their work is taken `tiles` times, a dim like the others: the pictures that
 * the tower sees. An image of any resolution is one image to masks and several tiles to the tower.
 */
import type { Graph, GraphHead, Node } from '../ir/graph.ts';
import type { CountClass, Counts } from '../ir/ops/def.ts';
import { opDef } from '../ir/ops/index.ts';
import { Poly } from '../ir/poly.ts';
import type { RowSet } from '../ir/rows.ts';
import { restrictRows } from '../ir/rows.ts';
import { admittedPairs, isPerImage } from './pairs.ts';

export interface NodeWork {
  readonly node: Node;
  readonly counts: Counts;
}
/** Counts the query-key pairs of an attention. */
export type Pairs = (attention: Node, head: GraphHead) => Poly;

/** How many pictures the vision tower sees. */
export const tiles = Poly.dim('tiles');

/** The work of every op of a graph. */
export const work = (g: Graph, pairs: Pairs = admittedPairs): NodeWork[] => g.nodes.map((node) => ({ node, counts: countsOf(node, g, pairs) }));

const known = new WeakMap<Node, Counts>();
/** The work of one node. What depends on no mask is counted once. */
export function countsOf(n: Node, head: GraphHead, pairs: Pairs = admittedPairs): Counts {
  const old = known.get(n);
  if (old) return old;
  let masked = false;
  let counts = opDef(n.op).counts(n, (a) => { masked = true; return pairs(a, head); });
  if (isPerImage(n.type.rows)) counts = mapCounts(counts, (p) => p.mul(tiles));
  if (!masked) known.set(n, counts);
  return counts;
}

/** The same node over the rows of some kinds alone: its work is their share. */
export function shareOf(n: Node, kinds: readonly string[]): Node | undefined {
  const restrict = (rows: RowSet | undefined): RowSet | undefined => rows && restrictRows(rows, kinds);
  const rows = restrict(n.type.rows);
  if (!rows) return undefined;
  const inputs = n.inputs.map((x, i) => (n.op === 'attention' && i > 0 ? x : { ...x, type: { ...x.type, rows: restrict(x.type.rows) } }));
  return { ...n, inputs, type: { ...n.type, rows } };
}

export const mapCounts = (counts: Counts, f: (p: Poly, cls: CountClass) => Poly): Counts =>
  Object.fromEntries((Object.entries(counts) as [CountClass, Poly][]).map(([cls, p]) => [cls, f(p, cls)]));

export function addCounts(a: Counts, b: Counts): Counts {
  const out: Counts = { ...a };
  for (const [cls, p] of Object.entries(b) as [CountClass, Poly][]) out[cls] = (out[cls] ?? Poly.zero).add(p);
  return out;
}
