/** How each convention takes the pairs of query and key of an attention (`PairRule` of conventions.ts). */
import type { GraphHead, Node } from '../ir/graph.ts';
import { keysRead, maskOf } from '../ir/ops/attention.ts';
import { Poly } from '../ir/poly.ts';
import type { RowSet } from '../ir/rows.ts';
import { rowCount } from '../ir/rows.ts';
import type { PairRule } from './conventions.ts';
import { admittedPairs, isPerImage } from './pairs.ts';
import type { Pairs } from './work.ts';

/** The keys that the queries of an attention meet: a state may hold kinds of key for other attentions too. */
function keysMet(n: Node, head: GraphHead): RowSet | undefined {
  const keys = n.inputs[1]!.type.rows!;
  return keys.context ? keysRead(maskOf(n.attrs, head), n.inputs[0]!.type.rows!, keys) : keys;
}
const times = (queries: RowSet, keys: RowSet | undefined): Poly => (keys ? rowCount(queries).mul(rowCount(keys)) : Poly.zero);

/** Every query with every key that is computed. */
const rectangle = (n: Node, head: GraphHead): Poly => times(n.inputs[0]!.type.rows!, keysMet(n, head));

/**
 * Half of the square where rows of text are computed; a tower's whole. One row by itself is no square: it stands behind all
 * keys. Keys of earlier steps are no part of the square of the new rows, and count in full.
 */
function half(n: Node, head: GraphHead): Poly {
  const queries = n.inputs[0]!.type.rows!, keys = keysMet(n, head), all = times(queries, keys);
  if (!keys || queries.last || isPerImage(n.type.rows)) return all;
  return all.sub(times(queries, { ...keys, context: false }).div(2));
}

export const pairRules: Readonly<Record<PairRule, Pairs>> = { admitted: admittedPairs, rectangle, half };
