/**
 * What becomes of every pair of query and key: how its author wrote an attention, and what the passes leave of it. Read from
 * the two graphs: the attentions that are left with their rows, and the copies in place of those that read themselves alone.
 */
import { layerOf } from '../cost/layers.ts';
import { admittedPairs } from '../cost/pairs.ts';
import { resolvePairs } from '../cost/resolve.ts';
import type { Graph, Node, PairClass } from '../ir/graph.ts';
import { pairKey } from '../ir/graph.ts';
import { maskOf, pairClass } from '../ir/ops/attention.ts';
import type { RowSet } from '../ir/rows.ts';
import { maskKind, restrictRows, rowCount, rowSet } from '../ir/rows.ts';
import { Demand } from '../../passes/row-demand.ts';
import type { PromptSizes, VariantStudy } from './study.ts';

/** An attention as written, and what is left of it. */
export interface LayerAttention {
  /** Where it stands: `layer 3`, or its module path. */
  readonly layer: number | undefined;
  readonly path: string;
  readonly written: Node;
  readonly left: readonly Node[];
  /** Rows whose result is their own value. */
  readonly copied: readonly RowSet[];
}
/** Layers whose attention is treated alike. */
export interface LayerGroup { readonly layers: readonly number[]; readonly like: LayerAttention }

/** Pairs of one kind of query and one kind of key in one layer. */
export interface PairCount {
  readonly query: string;
  readonly key: string;
  readonly proven: PairClass;
  /** Every row of the prompt with every other; of these what the mask admits among the rows that are there. */
  readonly written: bigint;
  readonly admitted: bigint;
  readonly computed: bigint;
  readonly copied: bigint;
}

const attentionsOf = (g: Graph): Node[] => g.nodes.filter((n) => n.op === 'attention' && n.type.rows!.sequence.kinds.some((k) => !k.media));

/** The attentions of a decoder, one entry for each that was written, in order. */
export function attentionsBefore({ analysed, pruned, optimised }: VariantStudy): LayerAttention[] {
  const left = attentionsOf(optimised), wanted = Demand.ofOutputs(pruned);
  // Where as many heads have values as ask, a copy is the value itself, and later passes leave no op of it.
  const copies = pruned.nodes.flatMap((n) => { const rows = n.op === 'repeat_heads' ? wanted.of(n) : undefined; return rows ? [{ path: n.path, rows }] : []; });
  return attentionsOf(analysed).map((written) => ({
    written, path: written.path, layer: layerOf(written.path)?.index,
    left: left.filter((n) => n.path === written.path), copied: copies.filter((c) => c.path === written.path).map((c) => c.rows),
  }));
}

const rowsText = (r: RowSet): string => `${r.kinds.join('+')}${r.last ? '.last' : ''}`;
const treatment = (a: LayerAttention): string => JSON.stringify([
  a.written.attrs['mask'], rowsText(a.written.type.rows!), a.left.map((n) => [n.attrs['mask'], ...n.inputs.slice(0, 2).map((x) => rowsText(x.type.rows!))]), a.copied.map(rowsText),
]);

/** Layers in groups of equal treatment, in the order of their first layer. */
export function groupLayers(all: readonly LayerAttention[]): LayerGroup[] {
  const groups = new Map<string, { layers: number[]; like: LayerAttention }>();
  for (const a of all) {
    const key = treatment(a), group = groups.get(key) ?? { layers: [], like: a };
    groups.set(key, group);
    if (a.layer !== undefined) group.layers.push(a.layer);
  }
  return [...groups.values()];
}

/** The pairs of one layer, by the kinds that its mask knows. */
export function pairCounts({ analysed, optimised }: Pick<VariantStudy, 'analysed' | 'optimised'>, a: LayerAttention, { visual, text, images, tiles, tower }: PromptSizes): PairCount[] {
  const dims = { V: visual, T: text, tiles, ...tower }, before = resolvePairs(analysed, dims, images), after = resolvePairs(optimised, dims, images);
  const s = a.written.type.rows!.sequence, m = maskOf(a.written.attrs, analysed), out = new Map<string, PairCount>();
  const between = (n: Node, g: Graph, q: string, k: string, at: typeof dims | typeof before): bigint => {
    const [queries, keys, values] = n.inputs as [Node, Node, Node], rows = [restrictRows(queries.type.rows!, [q]), restrictRows(keys.type.rows!, [k])] as const;
    if (!rows[0] || !rows[1]) return 0n;
    return admittedPairs({ ...n, inputs: [{ ...queries, type: { ...queries.type, rows: rows[0] } }, { ...keys, type: { ...keys.type, rows: rows[1] } }, values] }, g).evaluate(at);
  };
  for (const { name: q } of s.kinds)
    for (const { name: k } of s.kinds) {
      const key = pairKey(maskKind(s, q), maskKind(s, k)), old = out.get(key);
      const copied = q === k ? a.copied.flatMap((r) => restrictRows(r, [q]) ?? []).reduce((sum, r) => sum + rowCount(r).evaluate(after), 0n) : 0n;
      out.set(key, {
        query: maskKind(s, q), key: maskKind(s, k), proven: old && q !== k ? old.proven : pairClass(m, q, k),
        written: (old?.written ?? 0n) + rowCount(rowSet(s, [q])).mul(rowCount(rowSet(s, [k]))).evaluate(before),
        admitted: (old?.admitted ?? 0n) + between(a.written, analysed, q, k, before),
        computed: (old?.computed ?? 0n) + a.left.reduce((sum, n) => sum + between(n, optimised, q, k, after), 0n),
        copied: (old?.copied ?? 0n) + copied,
      });
    }
  return [...out.values()];
}
