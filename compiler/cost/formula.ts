/**
 * What a graph costs under a convention: polynomials per part, evaluated exactly at any size. The graph must have been
 * prepared as the convention wants (passes/flops.ts does it); nothing here knows a model.
 */
import type { Graph, Node } from '../ir/graph.ts';
import type { CountClass, Counts } from '../ir/ops/def.ts';
import { Poly } from '../ir/poly.ts';
import { sequenceKind } from '../ir/rows.ts';
import type { Convention, Part } from './conventions.ts';
import { partNames } from './conventions.ts';
import { admittedPairs, allPairs, isPerImage } from './pairs.ts';
import { partOf } from './parts.ts';
import type { Dims } from './resolve.ts';
import { resolvePairs } from './resolve.ts';
import type { Pairs } from './work.ts';
import { countsOf, shareOf } from './work.ts';

/** The decoder's work: what visual rows and text rows take outside attention, and the scores of attention. */
export interface DecoderSplit<T> { readonly visual: T; readonly text: T; readonly scores: T }

export interface Cost<T> {
  readonly parts: Readonly<Record<Part, T>>;
  readonly decoder: DecoderSplit<T>;
  readonly total: T;
}

/** Sizes at which a cost is asked for: dims of the graph, and how many images the media rows are. */
export interface Sizes { readonly dims: Dims; readonly images?: number }

const pairRules: Readonly<Record<Convention['pairs'], Pairs>> = {
  admitted: admittedPairs,
  rectangle: (n) => allPairs(n),
  half: (n) => (isPerImage(n.type.rows) ? allPairs(n) : allPairs(n).div(2)),
};

/** FLOPs of counts under a convention, in one part. */
function flopsOf(counts: Counts, c: Convention, part: Part): Poly {
  const weights = c.partWeights?.[part] ?? c.weights;
  return Poly.sum((Object.entries(counts) as [CountClass, Poly][]).map(([cls, p]) => p.mul(weights[cls] ?? 0)));
}

export class CostFormula implements Cost<Poly> {
  readonly parts: Readonly<Record<Part, Poly>>;
  readonly decoder: DecoderSplit<Poly>;
  readonly total: Poly;
  /** Per op, in the order of the graph; ops that cost nothing are left out. */
  readonly nodes: readonly { readonly node: Node; readonly part: Part; readonly flops: Poly }[];

  constructor(private readonly g: Graph, readonly convention: Convention) {
    const pairs = pairRules[convention.pairs];
    const parts: Record<Part, Poly> = { vision: Poly.zero, projector: Poly.zero, decoder: Poly.zero, head: Poly.zero };
    let visual = Poly.zero, text = Poly.zero, scores = Poly.zero;
    const nodes: { node: Node; part: Part; flops: Poly }[] = [];
    for (const n of g.nodes) {
      if (convention.without?.test(n.path)) continue;
      const part = partOf(n), counts = countsOf(n, g, pairs), flops = flopsOf(counts, convention, part);
      if (flops.isZero) continue;
      nodes.push({ node: n, part, flops });
      parts[part] = parts[part].add(flops);
      if (part !== 'decoder') continue;
      if (n.op === 'attention') { scores = scores.add(flops); continue; }
      const rows = n.type.rows!, media = rows.kinds.filter((k) => sequenceKind(rows.sequence, k).media);
      const share = shareOf(n, media), ofMedia = share ? flopsOf(countsOf(share, g, pairs), convention, part) : Poly.zero;
      visual = visual.add(ofMedia);
      text = text.add(flops.sub(ofMedia));
    }
    this.parts = parts;
    this.nodes = nodes;
    this.decoder = { visual, text, scores };
    this.total = Poly.sum(convention.total.map((p) => parts[p]));
  }

  /** Exact integers at given sizes; dims that the mask decides are counted. */
  at({ dims, images = 1 }: Sizes): Cost<bigint> {
    const all = resolvePairs(this.g, { ...dims, images }, images);
    const value = (p: Poly): bigint => p.evaluate(all);
    return {
      parts: Object.fromEntries(partNames.map((p) => [p, value(this.parts[p])])) as Record<Part, bigint>,
      decoder: { visual: value(this.decoder.visual), text: value(this.decoder.text), scores: value(this.decoder.scores) },
      total: value(this.total),
    };
  }
}
