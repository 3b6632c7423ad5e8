/** The parts of a multimodal model, by module path and by the sequence that a value's rows belong to. */
import type { Node } from '../ir/graph.ts';
import { movesOf } from '../ir/ops/index.ts';
import { isPerImage } from './pairs.ts';
import type { Part } from './conventions.ts';

/** Names that checkpoints give to the parts; everything else is the decoder, or the tower if its rows are a picture's. */
const paths: readonly (readonly [Part, RegExp])[] = [
  ['vision', /(^|\.)(vision_tower|vision_model)(\.|$)/],
  ['projector', /(^|\.)(multi_modal_projector|projector|connector)(\.|$)/],
  ['head', /(^|\.)lm_head(\.|$)/],
];

/** What paths say, each looked at once. */
const named = new Map<string, Part | undefined>();
export function partOf(n: Node): Part {
  if (!named.has(n.path)) named.set(n.path, paths.find(([, path]) => path.test(n.path))?.[0]);
  return named.get(n.path) ?? (isPerImage(n.type.rows) ? 'vision' : 'decoder');
}

/** True for ops that only name rows: they belong to no part. */
export const isView = (n: Node): boolean => n.inputs.length > 0 && movesOf(n).writes.isZero;

/** The values that a value is a view of; itself, if it is none. */
export const viewed = (n: Node): Node[] => (isView(n) ? n.inputs.flatMap(viewed) : [n]);
