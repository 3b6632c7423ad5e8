/** What passes ask of masks, beyond the class of a pair. */
import type { MaskDecl } from '../compiler/ir/graph.ts';
import { staysInImage, usesAbsolutePosition } from '../compiler/ir/mask/prove.ts';
import { pairClass } from '../compiler/ir/ops/attention.ts';
import type { Sequence } from '../compiler/ir/rows.ts';
import { maskKind, maskKinds, sequenceKind } from '../compiler/ir/rows.ts';

/** Rows of a tower: no text, so every image is a sequence of its own. */
export const isTower = (s: Sequence): boolean => s.kinds.every((k) => k.media);

/**
 * True if what rows of kind `q` read among keys of the given kinds lies within their own image and is the same wherever
 * that image stands: then it can be computed once per image.
 */
export function localToImage(m: MaskDecl, q: string, keys: readonly string[]): boolean {
  if (isTower(m.sequence)) return true;
  if (!sequenceKind(m.sequence, q).media) return false;
  const kinds = maskKinds(m.sequence), whole = maskKind(m.sequence, q);
  return keys.every((k) => {
    const c = pairClass(m, q, k);
    return c === 'empty' || c === 'diagonal'
      || (maskKind(m.sequence, k) === whole && staysInImage(m.expr, whole, kinds) && !usesAbsolutePosition(m.expr, whole, whole, kinds));
  });
}
