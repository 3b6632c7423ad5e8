/** What a convention has to know of a model before it can count it: how many layers a mean is over, which dims are text rows. */
import type { Graph } from '../ir/graph.ts';
import type { Convention } from './conventions.ts';
import { layerOf } from './layers.ts';
import { partOf } from './parts.ts';

/** How many layers the decoder has. */
function decoderLayers(g: Graph): number {
  const found = new Set<string>();
  for (const n of g.nodes) {
    const layer = partOf(n) === 'decoder' ? layerOf(n.path) : undefined;
    if (layer) found.add(`${layer.stack}.${layer.index}`);
  }
  return found.size;
}

/** Dims that count rows of text, in a step and in all steps so far. */
const textDims = (g: Graph): string[] =>
  [...g.sequences.values()].flatMap((s) => s.kinds.filter((k) => !k.media).flatMap((k) => k.count.variables)).flatMap((v) => [v, `C${v}`]);

/** The convention as it counts a model; `g` is its traced graph. A model without a decoder has no layers to take a mean over. */
export const settled = (c: Convention, g: Graph): Convention => ({
  ...c, ...(c.mean && { layers: decoderLayers(g) || 1 }), ...(c.media && { absent: textDims(g) }),
});
