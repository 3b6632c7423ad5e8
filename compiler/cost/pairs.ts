/**
 * How many pairs of query and key an attention computes, as a polynomial.
 *
 * What is proven of a pair of kinds settles it, in a standing layout: images first, kind by kind, then text, all keys of
 * earlier steps (`context` rows) before the new ones. Where the proof says `mixed`, the number of pairs depends on the
 * predicate and becomes a dim of its own, `pairs(mask:text>visual)`, whose value resolve.ts counts at given sizes.
 */
import type { GraphHead, MaskDecl, Node } from '../ir/graph.ts';
import { maskOf, pairClass } from '../ir/ops/attention.ts';
import { Poly } from '../ir/poly.ts';
import type { RowSet, Sequence } from '../ir/rows.ts';
import { rowCount, rowSet, sequenceKind } from '../ir/rows.ts';

/** The pairs of one kind of query and one kind of key that a predicate has to settle. */
export interface OpenPairs {
  readonly dim: string;
  readonly mask: MaskDecl;
  readonly query: RowSet;
  readonly key: RowSet;
}

/** The order in which kinds stand in a prompt: media as declared, then text. */
export const standingOrder = (s: Sequence): string[] => [...s.kinds.filter((k) => k.media), ...s.kinds.filter((k) => !k.media)].map((k) => k.name);

const one = (rows: RowSet, kind: string): RowSet => rowSet(rows.sequence, [kind], { last: rows.last, context: rows.context });

/** Rows of the kind in this step, and with those of all steps so far if the key rows are the context's. */
const count = (rows: RowSet): Poly => rowCount(rows);

const plain = (name: string): string => name.replace(/[^\w.]/g, '_');
const openDim = (m: MaskDecl, q: RowSet, k: RowSet): string =>
  `pairs(${plain(m.name)}:${q.kinds[0]}${q.last ? '.last' : ''}>${k.kinds[0]}${k.context ? '.context' : ''})`;

function pairsOfKinds(m: MaskDecl, q: RowSet, k: RowSet): Poly | OpenPairs {
  const [a, b] = [q.kinds[0]!, k.kinds[0]!], nq = count(q), nk = count(k);
  switch (pairClass(m, a, b)) {
    case 'empty': return Poly.zero;
    case 'full': return nq.mul(nk);
    case 'diagonal': return a === b ? nq : Poly.zero;
    case 'causal': {
      if (a === b) return nq.mul(nk).sub(nq.mul(nq.sub(1)).div(2));
      const order = standingOrder(m.sequence);
      // Of keys that stand after the queries only those of earlier steps are before them.
      const fresh = rowCount(rowSet(k.sequence, [b]));
      return nq.mul(order.indexOf(b) < order.indexOf(a) ? nk : nk.sub(fresh));
    }
    case 'mixed': return { dim: openDim(m, q, k), mask: m, query: q, key: k };
  }
}

/** Every pair of kinds of an attention. */
function* kindPairs(n: Node, head: GraphHead): Generator<Poly | OpenPairs> {
  const m = maskOf(n.attrs, head), queries = n.inputs[0]!.type.rows!, keys = n.inputs[1]!.type.rows!;
  for (const a of queries.kinds) for (const b of keys.kinds) yield pairsOfKinds(m, one(queries, a), one(keys, b));
}

/** Pairs that the mask admits. In a tower each picture is a sequence of its own, and this is one picture's. */
export const admittedPairs = (n: Node, head: GraphHead): Poly =>
  Poly.sum([...kindPairs(n, head)].map((p) => (p instanceof Poly ? p : Poly.dim(p.dim))));

/** Pairs whose number the predicate decides, for resolving their dims. */
export const openPairs = (n: Node, head: GraphHead): OpenPairs[] => [...kindPairs(n, head)].flatMap((p) => (p instanceof Poly ? [] : [p]));

/** Every query with every key: what dense kernels compute, and what most papers count. */
export const allPairs = (n: Node): Poly => rowCount(n.inputs[0]!.type.rows!).mul(rowCount(n.inputs[1]!.type.rows!));

/** True for a tower's rows: counted for one picture. */
export const isPerImage = (rows: RowSet | undefined): boolean => !!rows && rows.sequence.kinds.every((k) => sequenceKind(rows.sequence, k.name).media);
