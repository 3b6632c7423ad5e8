/** Along which size a model's cost is drawn, and at which values. */
import { imageLayout, rowsPerPicture } from '../../dsl/image-layout.ts';
import type { Model } from '../../dsl/index.ts';
import type { Graph } from '../../ir/graph.ts';
import type { ModelSource } from '../model.ts';
import { resolutionOf } from '../resolution.ts';
import type { SizeName } from '../sweep/over.ts';
import { readOver } from '../sweep/over.ts';

export interface SizeAxis {
  /** What is swept. */
  readonly name: SizeName;
  /** The same in words. */
  readonly says: string;
  /** What its values are, in a sentence. */
  readonly unit: string;
  /** Values that are told of; the first is drawn in detail. */
  readonly asked: readonly number[];
  /** These, and some between them. */
  readonly values: readonly number[];
}

/** How many steps there are about from the least to the largest value. */
const steps = 7;

/**
 * A model that cuts pictures into tiles is drawn over the picture's side, or over their number where its rule brings all to one
 * size; one with pictures of one size over its tower's resolution; one without a tower, or with a given number of visual
 * tokens, over that number.
 */
export function sizeAxis(source: ModelSource, { model, graph }: { readonly model: Model; readonly graph: Graph }, given: { readonly sizes?: string; readonly visual?: number }): SizeAxis {
  const own = resolutionOf(source), [name, says, unit, usual] = usualAxis();
  const asked = given.sizes === undefined ? usual : readOver(`${name}=${given.sizes}`, []).values.map(Number);
  return { name, says, unit, asked, values: between(asked) };

  function usualAxis(): readonly [SizeName, string, string, readonly number[]] {
    if (given.visual !== undefined || own === undefined || !(source.model.imageLayout || rowsPerPicture(graph) !== undefined)) return ['visual', 'number of visual tokens', 'visual tokens', multiples(given.visual || 576)];
    if (!source.model.imageLayout) return ['resolution', 'resolution of the tower', 'px', multiples(own)];
    const layouts = new Set(multiples(own).map((side) => imageLayout(model, graph, { width: side, height: side }).visual));
    return layouts.size > 1 || given.sizes !== undefined ? ['image', 'side of the picture', 'px', multiples(own)] : ['pictures', 'number of pictures', 'pictures', [1, 2, 4, 8]];
  }
}

const multiples = (n: number): number[] => [n, 2 * n, 3 * n];

function between(asked: readonly number[]): number[] {
  const least = Math.min(...asked), most = Math.max(...asked), step = Math.max(1, Math.round((most - least) / steps)), far = (x: number): boolean => asked.every((a) => Math.abs(a - x) >= step / 2);
  const more = Array.from({ length: steps }, (_, i) => least + i * step).filter((x) => x < most && far(x));
  return [...new Set([...asked, ...more])].sort((a, b) => a - b);
}
