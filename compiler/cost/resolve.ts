/**
 * Values of the dims `pairs(…)`: the pairs that a mask admits, counted in the standing layout at given sizes. Counting
 * looks at blocks of the mask, not at every pair (compiler/ir/mask/count.ts).
 */
import type { Graph } from '../ir/graph.ts';
import type { MaskSegment } from '../ir/mask/count.ts';
import { countPairs } from '../ir/mask/count.ts';
import type { RowSet, Sequence } from '../ir/rows.ts';
import { rowCount, rowSet, sequenceKind } from '../ir/rows.ts';
import type { OpenPairs } from './pairs.ts';
import { openPairs, standingOrder } from './pairs.ts';

export type Dims = Readonly<Record<string, number | bigint>>;

/**
 * The standing layout: every media kind in `images` images of one length (the first ones longer by a row), then text. Images
 * are numbered as they come; in a tower, where a sequence is one picture, all rows are of one image.
 */
export function standingLayout(s: Sequence, counts: (kind: string) => number, images = 1): MaskSegment[] {
  const out: MaskSegment[] = [], tower = s.kinds.every((k) => k.media);
  let start = 0, next = 0;
  for (const kind of standingOrder(s)) {
    const media = sequenceKind(s, kind).media, total = counts(kind), parts = media && !tower ? images : 1;
    for (let i = 0; i < parts; i++) {
      const length = Math.floor(total / parts) + (i < total % parts ? 1 : 0);
      if (length) out.push({ kind, image: !media ? -1 : tower ? 0 : next++, start, length });
      start += length;
    }
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

function countOpen(p: OpenPairs, dims: Dims, images: number): bigint {
  const s = p.mask.sequence, size = (rows: RowSet): number => rowCount(rows).at(dims);
  const layout = standingLayout(s, (kind) => size(rowSet(s, [kind], { context: p.key.context })), images);
  const of = (kind: string): MaskSegment[] => layout.filter((x) => x.kind === kind);
  const kinds = s.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
  return countPairs(p.mask.expr, lastOf(of(p.query.kinds[0]!), size(p.query)), of(p.key.kinds[0]!), kinds);
}

/** Sizes with the values of all dims `pairs(…)` of a graph added; the sizes themselves where there are none. */
export function resolvePairs(g: Graph, dims: Dims, images = 1): Dims {
  const open = new Map(g.nodes.flatMap((n) => (n.op === 'attention' ? openPairs(n, g) : [])).map((p) => [p.dim, p]));
  return open.size ? { ...dims, ...Object.fromEntries([...open].map(([dim, p]) => [dim, countOpen(p, dims, images)])) } : dims;
}
