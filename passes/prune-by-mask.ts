/**
 * Pruning by mask: each attention is cut into groups of query kinds that the mask treats alike.
 *
 * A kind that reads nothing gets zeros. A kind that reads itself alone gets its own values: the softmax over one key
 * is 1, so neither its queries nor its keys nor a score is needed (EE-MLLM, arXiv 2408.11795, derived). The others
 * stay attention, over the kinds of key that the mask leaves them.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { rewrite } from '../compiler/ir/builder.ts';
import type { MaskDecl, Node } from '../compiler/ir/graph.ts';
import { maskOf, pairClass } from '../compiler/ir/ops/attention.ts';
import { num } from '../compiler/ir/ops/def.ts';
import { printRows, restrictRows } from '../compiler/ir/rows.ts';
import { localToImage } from './masks.ts';
import type { Pass } from './pass.ts';

export const pruneByMask: Pass = {
  name: 'prune-by-mask',
  proves: 'No pair of query and key that the mask excludes by kind is computed, and a row that reads itself alone gets its own value.',
  run: (g) => rewrite(g, (n, inputs, b) => (n.op === 'attention' ? prune(b, n, inputs) : undefined)),
};

/** What a kind of query gets: nothing, its own value, or attention over some kinds of key. */
type Treatment = 'empty' | 'diagonal' | { readonly keys: readonly string[] };

function treatment(m: MaskDecl, q: string, keys: readonly string[]): Treatment {
  const read = keys.filter((k) => pairClass(m, q, k) !== 'empty');
  if (!read.length) return 'empty';
  return read.length === 1 && read[0] === q && pairClass(m, q, q) === 'diagonal' ? 'diagonal' : { keys: read };
}

function prune(b: GraphBuilder, n: Node, [q, k, v]: readonly Node[]): Node | undefined {
  const m = maskOf(n.attrs, b), keys = k!.type.rows!, queries = n.type.rows!;
  b.path = n.path; b.where = n.where;
  const groups = new Map<string, { treatment: Treatment; kinds: string[] }>();
  for (const kind of queries.kinds) {
    const t = treatment(m, kind, keys.kinds);
    // Rows that stay within their image can be computed before the prompt is known, so they never share an attention with others.
    const id = typeof t === 'string' ? t : `${t.keys.join('+')} ${localToImage(m, kind, keys.kinds)}`;
    const group = groups.get(id);
    if (group) group.kinds.push(kind); else groups.set(id, { treatment: t, kinds: [kind] });
  }
  const only = groups.size === 1 ? [...groups.values()][0]!.treatment : undefined;
  if (typeof only === 'object' && (keys.context || only.keys.length === keys.kinds.length)) return undefined;

  const heads = { heads: num(n.attrs, 'heads'), kv_heads: num(n.attrs, 'kv_heads') };
  return b.merge([...groups.values()].map((group) => {
    const rows = restrictRows(queries, group.kinds)!;
    if (group.treatment === 'empty') return b.op('zeros', [], { rows: printRows(rows), width: n.type.dims[0]! }, n);
    if (group.treatment === 'diagonal') return b.op('repeat_heads', [b.select(v!, rows)], heads, n);
    // A state keeps its rows: which of them a query reads is then the mask's business alone.
    const read = keys.context ? keys : restrictRows(keys, group.treatment.keys)!;
    return b.op('attention', [b.select(q!, rows), b.select(k!, read), b.select(v!, read)], n.attrs, n);
  }));
}
