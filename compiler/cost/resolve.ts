/**
 * Values of the dims `pairs(…)`: the pairs that a mask admits, counted in the standing layout at given sizes. Counting
 * looks at blocks of the mask, not at every pair (compiler/ir/mask/count.ts).
 */
import type { Graph } from '../ir/graph.ts';
import type { MaskSegment } from '../ir/mask/count.ts';
import { countPairs } from '../ir/mask/count.ts';
import type { RowSet, Sequence } from '../ir/rows.ts';
import { maskKind, maskKinds, partsOf, rowCount, rowSet } from '../ir/rows.ts';
import type { OpenPairs } from './pairs.ts';
import { openPairs, standingOrder } from './pairs.ts';

export type Dims = Readonly<Record<string, number | bigint>>;

/**
 * The standing layout: every media kind in `images` images of one length (the first ones longer by a row), then text. Images
 * are numbered as they come; in a tower, where a sequence is one picture, all rows are of one image. The parts of a kind are
 * its rows in order, one part after the other, so that pairs of parts add up to those of the kind.
 */
export function standingLayout(s: Sequence, counts: (kind: string) => number, images = 1): MaskSegment[] {
  const out: MaskSegment[] = [], tower = s.kinds.every((k) => k.media);
  let start = 0, next = 0;
  for (const kind of new Set(standingOrder(s).map((k) => maskKind(s, k)))) {
    const parts = partsOf(s, kind), { media } = parts[0]!, total = parts.reduce((n, p) => n + counts(p.name), 0), runs = media && !tower ? images : 1;
    const whole: MaskSegment[] = [];
    for (let i = 0; i < runs; i++) {
      const length = Math.floor(total / runs) + (i < total % runs ? 1 : 0);
      if (length) whole.push({ kind, image: !media ? -1 : tower ? 0 : next++, start, length });
      start += length;
    }
    for (let rest = whole, i = 0; i < parts.length; i++) {
      const rows = counts(parts[i]!.name), left = rest.reduce((n, x) => n + x.length, 0) - rows;
      out.push(...firstOf(rest, rows).map((x) => ({ ...x, kind: parts[i]!.name })));
      rest = lastOf(rest, left);
    }
  }
  return out;
}

/** The first `n` tokens of segments in order. */
function firstOf(segments: readonly MaskSegment[], n: number): MaskSegment[] {
  const out: MaskSegment[] = [];
  for (const s of segments) {
    const length = Math.min(n, s.length);
    if (length) out.push({ ...s, length });
    n -= length;
  }
  return out;
}

/** The last `n` tokens of segments in order. */
function lastOf(segments: readonly MaskSegment[], n: number): MaskSegment[] {
  const out: MaskSegment[] = [];
  for (const s of [...segments].reverse()) {
    const length = Math.min(n, s.length), skip = s.length - length;
    if (length) out.unshift({ ...s, start: s.start + skip, length, index: (s.index ?? 0) + skip });
    n -= length;
  }
  return out;
}

/** The value of such a dim: pairs that the predicate admits, at dims of the graph. */
export function countOpen(p: OpenPairs, dims: Dims, images: number): bigint {
  // A share of rows may be no whole number; tokens are.
  const s = p.mask.sequence, size = (rows: RowSet): number => Number(rowCount(rows).nearest(dims));
  const layout = standingLayout(s, (kind) => size(rowSet(s, [kind], { context: p.key.context })), images);
  const of = (kind: string): MaskSegment[] => layout.flatMap((x) => (x.kind === kind ? [{ ...x, kind: maskKind(s, kind) }] : []));
  return countPairs(p.mask.expr, lastOf(of(p.query.kinds[0]!), size(p.query)), of(p.key.kinds[0]!), maskKinds(s));
}

/**
 * Sizes with the values of all dims `pairs(…)` of a graph added; the sizes themselves where there are none. With `used`, only
 * of those that are in use: counting takes its time, and a share of rows need not be a whole number.
 */
export function resolvePairs(g: Graph, dims: Dims, images = 1, used?: ReadonlySet<string>): Dims {
  const open = openOf(g).filter((p) => used?.has(p.dim) ?? true);
  return open.length ? { ...dims, ...Object.fromEntries(open.map((p) => [p.dim, countOpen(p, dims, images)])) } : dims;
}

const known = new WeakMap<Graph, readonly OpenPairs[]>();
/** The open pairs of a graph, each once. A graph is asked at many sizes. */
function openOf(g: Graph): readonly OpenPairs[] {
  let open = known.get(g);
  if (!open) known.set(g, open = [...new Map(g.nodes.flatMap((n) => (n.op === 'attention' ? openPairs(n, g) : [])).map((p) => [p.dim, p])).values()]);
  return open;
}
