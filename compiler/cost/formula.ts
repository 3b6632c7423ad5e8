/**
 * What a graph costs under a convention: polynomials per part, evaluated exactly at any size. The graph must have been
 * prepared as the convention wants (passes/flops.ts does it); nothing here knows a model.
 */
import type { Graph, Node } from '../ir/graph.ts';
import type { CountClass, Counts } from '../ir/ops/def.ts';
import { Poly } from '../ir/poly.ts';
import { sequenceKind } from '../ir/rows.ts';
import type { Convention, Part } from './conventions.ts';
import { hasFractions, partNames } from './conventions.ts';
import { pairRules } from './pair-rules.ts';
import { partOf } from './parts.ts';
import type { Dims } from './resolve.ts';
import { resolvePairs } from './resolve.ts';
import { countsOf, shareOf } from './work.ts';

/** The decoder's work: what visual rows and text rows take outside attention, and the scores of attention. */
export interface DecoderSplit<T> { readonly visual: T; readonly text: T; readonly scores: T }

export interface Cost<T> {
  readonly parts: Readonly<Record<Part, T>>;
  readonly decoder: DecoderSplit<T>;
  readonly total: T;
}

/**
 * Sizes at which a cost is asked for: dims of the graph, how many images the media rows are (1 by default), and how many
 * tiles, the pictures that the vision tower sees (as many as images by default; more where an image is cut into tiles).
 */
export interface Sizes { readonly dims: Dims; readonly images?: number; readonly tiles?: number }

/** FLOPs of counts under a convention, in one part. */
export function flopsOf(counts: Counts, c: Convention, part: Part): Poly {
  const weights = c.partWeights?.[part] ?? c.weights;
  const sum = Poly.sum((Object.entries(counts) as [CountClass, Poly][]).map(([cls, p]) => p.mul(weights[cls] ?? 0)));
  const counted = c.absent?.length ? sum.substitute(Object.fromEntries(c.absent.map((dim) => [dim, 0]))) : sum;
  return c.layers === undefined || part !== 'decoder' ? counted : counted.div(c.layers);
}

export class CostFormula implements Cost<Poly> {
  readonly parts: Readonly<Record<Part, Poly>>;
  readonly decoder: DecoderSplit<Poly>;
  readonly total: Poly;
  /** Per op, in the order of the graph; ops that cost nothing are left out. */
  readonly nodes: readonly { readonly node: Node; readonly part: Part; readonly flops: Poly }[];

  constructor(readonly graph: Graph, readonly convention: Convention) {
    const pairs = pairRules[convention.pairs];
    const parts: Record<Part, Poly> = { vision: Poly.zero, projector: Poly.zero, decoder: Poly.zero, head: Poly.zero };
    let visual = Poly.zero, text = Poly.zero, scores = Poly.zero;
    const nodes: { node: Node; part: Part; flops: Poly }[] = [];
    for (const n of graph.nodes) {
      if (convention.without?.test(n.path)) continue;
      const part = partOf(n), counts = countsOf(n, graph, pairs), flops = flopsOf(counts, convention, part);
      if (flops.isZero) continue;
      nodes.push({ node: n, part, flops });
      parts[part] = parts[part].add(flops);
      if (part !== 'decoder') continue;
      if (n.op === 'attention') { scores = scores.add(flops); continue; }
      const rows = n.type.rows!, media = rows.kinds.filter((k) => sequenceKind(rows.sequence, k).media);
      const share = shareOf(n, media), ofMedia = share ? flopsOf(countsOf(share, graph, pairs), convention, part) : Poly.zero;
      visual = visual.add(ofMedia);
      text = text.add(flops.sub(ofMedia));
    }
    this.parts = parts;
    this.nodes = nodes;
    this.decoder = { visual, text, scores };
    this.total = Poly.sum(convention.total.map((p) => parts[p]));
  }

  /**
   * Exact integers at given sizes; dims that the mask decides are counted. Under a convention of fractions (of rows, of the
   * layers that a mean is over) the nearest integers, and sums are the sums of what is shown.
   */
  at({ dims, images = 1, tiles = images }: Sizes): Cost<bigint> {
    const used = new Set(partNames.flatMap((p) => this.parts[p].variables)), all = resolvePairs(this.graph, { ...dims, tiles }, images, used);
    const value = (p: Poly): bigint => (hasFractions(this.convention) ? p.nearest(all) : p.evaluate(all));
    const decoder = { visual: value(this.decoder.visual), text: value(this.decoder.text), scores: value(this.decoder.scores) };
    const parts = { vision: value(this.parts.vision), projector: value(this.parts.projector), decoder: decoder.visual + decoder.text + decoder.scores, head: value(this.parts.head) };
    return { parts, decoder, total: this.convention.total.reduce((sum, p) => sum + parts[p], 0n) };
  }
}
