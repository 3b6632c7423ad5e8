/** Which score of a prompt's attention is computed, copied or skipped, from the mask itself. No DOM in here. */
import { predicate } from '../../../compiler/ir/mask/eval.ts';
import type { Token } from '../../../compiler/ir/mask/expr.ts';
import type { MaskFacts } from './data.ts';

export interface PromptToken extends Token { readonly text: string }

export const cellKinds = ['skipped', 'computed', 'copied'] as const;
export type CellKind = (typeof cellKinds)[number];

export interface AttentionMap {
  readonly tokens: readonly PromptToken[];
  /** What happens to the score of query `q` and key `k`. */
  readonly at: (q: number, k: number) => CellKind;
}

/**
 * A query of a kind that attends to itself alone, and to no other kind, gets its own V: softmax over one key is 1. Such a
 * cell is copied, whatever the mask leaves of the others is computed, and the rest is skipped.
 */
export function attentionMap({ expr, pairs }: MaskFacts, tokens: readonly PromptToken[]): AttentionMap {
  const holds = predicate(expr);
  const copies = new Set(Object.entries(pairs).filter(([kind, row]) => Object.entries(row).every(([key, c]) => c === (key === kind ? 'diagonal' : 'empty'))).map(([kind]) => kind));
  const cells = tokens.map((q) => tokens.map((k): CellKind => (!holds(q, k) ? 'skipped' : copies.has(q.kind) ? 'copied' : 'computed')));
  return { tokens, at: (q, k) => cells[q]![k]! };
}

/** Cells of each sort, over the whole map or for given kinds of query and key. */
export function countCells({ tokens, at }: AttentionMap, queryKind?: string, keyKind?: string): Record<CellKind, number> {
  const counts: Record<CellKind, number> = { skipped: 0, computed: 0, copied: 0 };
  tokens.forEach((q, i) => tokens.forEach((k, j) => {
    if ((queryKind ?? q.kind) === q.kind && (keyKind ?? k.kind) === k.kind) counts[at(i, j)]++;
  }));
  return counts;
}

/** Runs of tokens of one kind: what the axes name. */
export function runs(tokens: readonly PromptToken[]): { kind: string; from: number; length: number }[] {
  const out: { kind: string; from: number; length: number }[] = [];
  tokens.forEach((t, i) => {
    const last = out.at(-1);
    if (last?.kind === t.kind && t.index > 0) last.length++;
    else out.push({ kind: t.kind, from: i, length: 1 });
  });
  return out;
}

/** One SVG path over all cells of a sort, a rectangle for each run in a row. */
export function cellPath({ tokens, at }: AttentionMap, sort: CellKind): string {
  let path = '';
  for (let q = 0; q < tokens.length; q++)
    for (let k = 0; k < tokens.length;) {
      if (at(q, k) !== sort) { k++; continue; }
      const from = k;
      while (k < tokens.length && at(q, k) === sort) k++;
      path += `M${from} ${q}h${k - from}v1h${from - k}z`;
    }
  return path;
}
