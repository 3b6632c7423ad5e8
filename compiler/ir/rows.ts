import { renameDim } from './fraction.ts';
import type { MaskKind } from './mask/expr.ts';
import { Poly } from './poly.ts';
import { suggest } from './spelling.ts';

/**
 * Sequences, and sets of their rows.
 *
 * A sequence is made of *kinds* of token. Where a token stands in the prompt is data (its position), so rows lie in
 * memory kind after kind, in the order of the declaration: all visual rows, then all text rows. A set of kinds is then
 * a slice of that order, and "the rows that somebody reads" is part of a value's type.
 */
export interface Kind {
  readonly name: string;
  /** How many rows of this kind there are, a polynomial in the graph's dims. */
  readonly count: Poly;
  /** Media rows come in images, whole, and are known before the question; text rows are asked and generated. */
  readonly media: boolean;
  /**
   * Of a kind some of whose rows leave the model on the way (`keep`): the kind of which this is a part. Its parts stand side by
   * side in the sequence, and a mask knows no parts: their tokens have the position, place and image that they have anyway.
   */
  readonly of?: string;
}

export interface Sequence {
  readonly name: string;
  readonly kinds: readonly Kind[];
}

/**
 * Rows of one sequence: a set of kinds in the order of the declaration, or the last row of one kind.
 * `context` is false for the rows that this step computes, true for all rows so far (the past of the KV cache too).
 */
export interface RowSet {
  readonly sequence: Sequence;
  readonly kinds: readonly string[];
  readonly last: boolean;
  readonly context: boolean;
}

export const sequenceKind = (s: Sequence, name: string): Kind => {
  const k = s.kinds.find((x) => x.name === name);
  if (!k) throw new RangeError(`Sequence '${s.name}' has no kind '${name}'.${suggest(name, s.kinds.map((x) => x.name), 'Its kinds are')}`);
  return k;
};

/** The kind of token that a mask sees in rows of this kind: of a part, the whole. */
export const maskKind = (s: Sequence, name: string): string => sequenceKind(s, name).of ?? name;
/** The kinds as the mask language knows them. */
export const maskKinds = (s: Sequence): MaskKind[] =>
  [...new Map(s.kinds.map((k) => [k.of ?? k.name, { name: k.of ?? k.name, hasImages: k.media }])).values()];
/** The kinds in whose rows a mask sees one kind of token: its parts, or the kind itself. */
export const partsOf = (s: Sequence, kind: string): Kind[] => s.kinds.filter((k) => (k.of ?? k.name) === kind);

export const rowSet = (sequence: Sequence, kinds: Iterable<string>, opts: { last?: boolean; context?: boolean } = {}): RowSet => {
  const want = new Set(kinds);
  for (const k of want) sequenceKind(sequence, k);
  if (opts.last && want.size !== 1) throw new RangeError(`'.last' is the last row of one kind, not of '${[...want].join('+')}'.`);
  return { sequence, kinds: sequence.kinds.map((k) => k.name).filter((k) => want.has(k)), last: opts.last ?? false, context: opts.context ?? false };
};
export const allRows = (s: Sequence): RowSet => rowSet(s, s.kinds.map((k) => k.name));

/** `visual+text`, `text.last`, `visual+text.context`. */
export const printRows = (r: RowSet): string => r.kinds.join('+') + (r.last ? '.last' : '') + (r.context ? '.context' : '');
export const parseRows = (all: Iterable<Sequence>, text: string): RowSet => {
  const sequences = [...all];
  const [kinds, ...flags] = text.split('.');
  const names = kinds!.split('+');
  const odd = flags.find((f) => f !== 'last' && f !== 'context');
  if (odd !== undefined) throw new RangeError(`'.${odd}' of the rows '${text}' is not known.${suggest(odd, ['last', 'context'], 'Known are')}`);
  for (const s of sequences) if (s.kinds.some((k) => k.name === names[0])) return rowSet(s, names, { last: flags.includes('last'), context: flags.includes('context') });
  throw new RangeError(`'${text}' names rows of no sequence of this graph.${suggest(names[0]!, sequences.flatMap((s) => s.kinds.map((k) => k.name)), 'The kinds are')}`);
};

/** How many rows the set has. Context rows count the whole cache: dim `V` of new rows is `CV` in the cache. */
export const rowCount = (r: RowSet): Poly => {
  if (r.last) return Poly.of(1);
  const n = Poly.sum(r.kinds.map((k) => sequenceKind(r.sequence, k).count));
  return r.context ? n.substitute(Object.fromEntries(n.variables.map((v) => [v, Poly.dim(renameDim(v, (dim) => `C${dim}`))]))) : n;
};

export const sameRows = (a: RowSet, b: RowSet): boolean => a.sequence.name === b.sequence.name && printRows(a) === printRows(b);
/** True if every row of `a` is in `b`. */
export const rowsWithin = (a: RowSet, b: RowSet): boolean =>
  a.sequence.name === b.sequence.name && a.kinds.every((k) => b.kinds.includes(k)) && (!b.last || a.last) && (a.context === b.context || (b.context && !a.context));
/** Union; the union of `text.last` with anything that holds text is the latter. */
export const unionRows = (a: RowSet | undefined, b: RowSet | undefined): RowSet | undefined => {
  if (!a || !b) return a ?? b;
  if (rowsWithin(a, b)) return b;
  if (rowsWithin(b, a)) return a;
  return rowSet(a.sequence, [...a.kinds, ...b.kinds], { context: a.context || b.context });
};
/** The rows of `a` of the given kinds, or undefined if there are none. */
export const restrictRows = (a: RowSet, kinds: Iterable<string>): RowSet | undefined => {
  const want = new Set(kinds);
  const ks = a.kinds.filter((k) => want.has(k));
  return ks.length ? { ...a, kinds: ks } : undefined;
};
/** The kinds of `a` that are not in `b`. */
export const withoutRows = (a: RowSet, b: RowSet): RowSet | undefined => restrictRows(a, a.kinds.filter((k) => !b.kinds.includes(k)));
