/**
 * An attention as a grid of cells, every cell a sample of the pairs in its place: rows ask, columns are read. Kinds get room
 * by their number of rows, but a few cells at least.
 */
import { standingLayout } from '../cost/resolve.ts';
import type { Graph, Node } from '../ir/graph.ts';
import type { MaskSegment } from '../ir/mask/count.ts';
import { predicate } from '../ir/mask/eval.ts';
import type { Token } from '../ir/mask/expr.ts';
import { maskOf } from '../ir/ops/attention.ts';
import type { Sequence } from '../ir/rows.ts';
import { maskKind, rowCount, rowSet } from '../ir/rows.ts';
import { resolvePairs } from '../cost/resolve.ts';
import type { LayerAttention } from './attention.ts';
import type { PromptSizes, VariantStudy } from './study.ts';

export const cellKinds = ['computed', 'masked', 'copied', 'skipped'] as const;
export type CellKind = (typeof cellKinds)[number];

/** A sampled row: its token as a mask sees it, the part of its kind that it belongs to, and whether it is the last of that. */
interface Sample { readonly token: Token; readonly part: string; readonly last: boolean }
export interface Grid {
  readonly cells: readonly (readonly CellKind[])[];
  /** Which cells belong to which kind. */
  readonly runs: readonly { readonly kind: string; readonly from: number; readonly length: number }[];
}

/** Cells along a side, and the fewest of a kind. */
const side = 52, fewest = 11;

/** The sampled rows of a sequence, in the standing layout. */
export function samplesOf(s: Sequence, g: Graph, { visual, text, images, tiles, tower }: PromptSizes): Sample[] {
  const dims = resolvePairs(g, { V: visual, T: text, tiles, ...tower }, images);
  const layout = standingLayout(s, (kind) => rowCount(rowSet(s, [kind])).at(dims), images);
  const kinds = [...new Set(layout.map((x) => maskKind(s, x.kind)))];
  const rows = (kind: string): MaskSegment[] => layout.filter((x) => maskKind(s, x.kind) === kind), count = (xs: readonly MaskSegment[]): number => xs.reduce((n, x) => n + x.length, 0);
  const total = count(layout);
  return kinds.flatMap((kind) => {
    const own = rows(kind), n = count(own), cells = Math.min(n, Math.max(fewest, Math.round((side * n) / total)));
    return Array.from({ length: cells }, (_, i) => {
      let at = cells === 1 ? n - 1 : Math.round((i * (n - 1)) / (cells - 1)), segment = own[0]!;
      for (const x of own) { segment = x; if (at < x.length) break; at -= x.length; }
      const part = own.filter((x) => x.kind === segment.kind), ends = part.at(-1) === segment && at === segment.length - 1;
      return { part: segment.kind, last: ends, token: { kind, pos: segment.start + at, index: (segment.index ?? 0) + at, image: segment.image } };
    });
  });
}

const runsOf = (samples: readonly Sample[]): Grid['runs'] => {
  const out: { kind: string; from: number; length: number }[] = [];
  samples.forEach(({ token: { kind } }, i) => {
    const last = out.at(-1);
    if (last?.kind === kind) last.length++; else out.push({ kind, from: i, length: 1 });
  });
  return out;
};

/** As a kernel computes it that knows no mask: every pair, and what the mask excludes is thrown away. Rows that have left are skipped. */
export function gridWritten({ analysed }: VariantStudy, a: LayerAttention, samples: readonly Sample[]): Grid {
  const m = maskOf(a.written.attrs, analysed), holds = predicate(m.expr), queries = a.written.inputs[0]!.type.rows!, keys = a.written.inputs[1]!.type.rows!;
  return { runs: runsOf(samples), cells: samples.map((q) => samples.map((k): CellKind =>
    (!queries.kinds.includes(q.part) || !keys.kinds.includes(k.part) ? 'skipped' : holds(q.token, k.token) ? 'computed' : 'masked'))) };
}

/** As it is left: what the mask admits of the rows that still ask, own values where a row reads itself alone, nothing else. */
export function gridLeft({ optimised }: VariantStudy, a: LayerAttention, samples: readonly Sample[]): Grid {
  const asking = (n: Node, q: Sample): boolean => n.inputs[0]!.type.rows!.kinds.includes(q.part) && (!n.inputs[0]!.type.rows!.last || q.last);
  const holds = new Map(a.left.map((n) => [n, predicate(maskOf(n.attrs, optimised).expr)]));
  return { runs: runsOf(samples), cells: samples.map((q, i) => samples.map((k, j): CellKind => {
    if (i === j && a.copied.some((r) => r.kinds.includes(q.part) && (!r.last || q.last))) return 'copied';
    return a.left.some((n) => asking(n, q) && n.inputs[1]!.type.rows!.kinds.includes(k.part) && holds.get(n)!(q.token, k.token)) ? 'computed' : 'skipped';
  })) };
}
