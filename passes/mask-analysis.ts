/**
 * Mask analysis: what each mask says of each pair of kinds, proven from its predicate (compiler/ir/mask/prove.ts) and
 * written beside it. Every later pass reads these classes and never the predicate's text.
 */
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, MaskDecl, PairClass } from '../compiler/ir/graph.ts';
import { pairKey } from '../compiler/ir/graph.ts';
import { classify, readsFuture } from '../compiler/ir/mask/prove.ts';
import { maskKind, maskKinds } from '../compiler/ir/rows.ts';
import type { Pass } from './pass.ts';

export const maskAnalysis: Pass = {
  name: 'mask-analysis',
  proves: 'Every class beside a mask holds for all sequences, and no mask in use lets a token read a text token that comes after it.',
  run: (g) => {
    const used = new Set(g.nodes.flatMap((n) => (typeof n.attrs['mask'] === 'string' ? [n.attrs['mask']] : [])));
    const masks = new Map([...g.masks].map(([name, m]) => {
      if (used.has(name)) checkDecodable(m);
      return [name, { ...m, pairs: pairsOf(m) }];
    }));
    return { ...g, masks } satisfies Graph;
  },
};

function pairsOf(m: MaskDecl): NonNullable<MaskDecl['pairs']> {
  const kinds = maskKinds(m.sequence), names = m.sequence.kinds.map((k) => k.name);
  const classOf = (q: string, k: string): PairClass => {
    const found = classify(m.expr, maskKind(m.sequence, q), maskKind(m.sequence, k), kinds);
    // No row of one part is a row of another.
    return found === 'diagonal' && q !== k ? 'empty' : found;
  };
  return Object.fromEntries(names.flatMap((q) => names.map((k) => [pairKey(q, k), classOf(q, k)])));
}

/** Text is generated token by token, so nobody can have read a text token that comes after its own. */
function checkDecodable(m: MaskDecl): void {
  const kinds = maskKinds(m.sequence);
  for (const k of kinds) {
    if (k.hasImages) continue;
    const q = kinds.find((x) => readsFuture(m.expr, x.name, k.name, kinds));
    if (q)
      throw new UserError(
        `The mask '${m.name}' may let a '${q.name}' token read a '${k.name}' token at a later position. '${k.name}' is generated token by token, so a later one is not known yet and decoding is impossible. `
        + `Allow keys of kind '${k.name}' only where k.pos <= q.pos.`, m.where);
  }
}
