/**
 * What a mask proves, for every ordered pair of kinds, without looking at a single position.
 *
 * How two tokens can stand to each other is one of a few *relations*: the key's segment (an image, a run of text) lies
 * before or after the query's, or they share a segment and the key stands before, at or after the query. In each, the
 * things a mask may ask are linear in a few unknowns, where the segments start, the positions and the image numbers,
 * with the laws of sequences as inequalities between them (`Layout` below). So "does the mask hold always, never or
 * sometimes in this relation" is two questions of satisfiability, and every property of a mask reads off that table:
 * *causal* is always up to the query and never beyond; a mask reads the future if it is not never later. Two masks that
 * agree on all sequences get the same table however they are spelt. Where the prover cannot decide, the answer is
 * `sometimes`, and the class `mixed`: less is saved, nothing becomes wrong.
 */
import type { MaskExpr, MaskKind, Variable } from './expr.ts';
import { FormulaBuilder, all, any, formulaKey, satisfiable } from './formula.ts';
import type { Linear } from './linear.ts';
import { constantForm, difference, sum, unknown } from './linear.ts';

/** Where the key stands, seen from the query. The middle three are within one segment. */
export const relations = ['earlierSegment', 'earlier', 'same', 'later', 'laterSegment'] as const;
export type Relation = (typeof relations)[number];
export type Verdict = 'always' | 'never' | 'sometimes';
/** Tokens of different kinds never share a segment; they have only the outer two. */
export type Verdicts = Partial<Readonly<Record<Relation, Verdict>>>;

/**
 * - `empty`: no such query attends to such a key
 * - `full`: every one to every one
 * - `causal`: exactly to those at or before its own position
 * - `diagonal`: exactly to itself
 * - `mixed`: anything else, or not proven
 */
export type PairClass = 'empty' | 'full' | 'causal' | 'diagonal' | 'mixed';

const patterns: readonly (readonly [PairClass, Readonly<Record<Relation, Verdict>>])[] = [
  ['empty', { earlierSegment: 'never', earlier: 'never', same: 'never', later: 'never', laterSegment: 'never' }],
  ['full', { earlierSegment: 'always', earlier: 'always', same: 'always', later: 'always', laterSegment: 'always' }],
  ['causal', { earlierSegment: 'always', earlier: 'always', same: 'always', later: 'never', laterSegment: 'never' }],
  ['diagonal', { earlierSegment: 'never', earlier: 'never', same: 'always', later: 'never', laterSegment: 'never' }],
];

/** The linear forms of a pair's fields in one relation, and the laws (`<= 0`) that hold between them. */
interface Layout { readonly formOf: (v: Variable) => Linear; readonly laws: readonly Linear[] }

const zero = constantForm(0);
const plus = (a: Linear, n: number): Linear => sum(a, constantForm(n));

/**
 * The laws: a segment starts at 0 or later, its tokens stand at start + index, segments do not overlap, and of two
 * images of one kind that with the smaller number stands earlier. `moved` shifts the whole sequence by an unknown
 * number of positions and of images, for asking whether a mask notices.
 */
const layout = (queryKind: number, keyKind: number, kinds: readonly MaskKind[], relation: Relation, moved = false): Layout => {
  const apart = relation === 'earlierSegment' || relation === 'laterSegment';
  const sameKind = queryKind === keyKind;
  const shift = moved ? unknown('moved positions') : zero;
  const imageShift = moved ? unknown('moved images') : zero;
  const start = { q: sum(unknown('q.start'), shift), k: sum(unknown(apart ? 'k.start' : 'q.start'), shift) };
  const pos = { q: sum(unknown('q.pos'), shift), k: sum(unknown(relation === 'same' ? 'q.pos' : 'k.pos'), shift) };
  const imageOf = (kind: number, name: string): Linear => (kinds[kind]!.hasImages ? sum(unknown(name), imageShift) : constantForm(-1));
  const image = { q: imageOf(queryKind, 'q.image'), k: imageOf(keyKind, apart ? 'k.image' : 'q.image') };
  const kind = { q: constantForm(queryKind), k: constantForm(keyKind) };

  const notBefore = (a: Linear, b: Linear): Linear => difference(b, a); // a >= b
  const laws = [notBefore(start.q, shift), notBefore(start.k, shift), notBefore(pos.q, start.q), notBefore(pos.k, start.k), notBefore(shift, zero), notBefore(imageShift, zero)];
  for (const t of ['q', 'k'] as const) if (kinds[t === 'q' ? queryKind : keyKind]!.hasImages) laws.push(notBefore(image[t], imageShift));
  const order = (first: 'q' | 'k', second: 'q' | 'k'): void => {
    laws.push(notBefore(apart ? start[second] : pos[second], plus(pos[first], 1)));
    if (apart && sameKind && kinds[queryKind]!.hasImages) laws.push(notBefore(image[second], plus(image[first], 1)));
  };
  if (relation === 'earlier' || relation === 'earlierSegment') order('k', 'q');
  if (relation === 'later' || relation === 'laterSegment') order('q', 'k');

  const formOf = ({ token, field }: Variable): Linear =>
    field === 'index' ? difference(pos[token], start[token]) : { pos, image, kind }[field][token];
  return { formOf, laws };
};

const number = (kinds: readonly MaskKind[], name: string): number => {
  const i = kinds.findIndex((x) => x.name === name);
  if (i < 0) throw new RangeError(`The mask's sequence has no kind '${name}'; its kinds are ${kinds.map((x) => x.name).join(', ')}.`);
  return i;
};
const relationsOf = (queryKind: number, keyKind: number): readonly Relation[] => (queryKind === keyKind ? relations : ['earlierSegment', 'laterSegment']);

const canBe = (expr: MaskExpr, value: boolean, { formOf, laws }: Layout): boolean =>
  satisfiable(laws, () => {
    const builder = new FormulaBuilder(formOf);
    return { formula: builder.predicate(expr, value), definitions: builder.definitions };
  });

const cache = new WeakMap<object, Map<string, unknown>>();
/** Proofs about one expression are made once. */
const remembered = <T>(expr: MaskExpr, kinds: readonly MaskKind[], question: string, answer: () => T): T => {
  let answers = cache.get(expr);
  if (!answers) cache.set(expr, (answers = new Map()));
  const key = `${question} ${JSON.stringify(kinds)}`;
  if (!answers.has(key)) answers.set(key, answer());
  return answers.get(key) as T;
};

/** For each relation in which a query of one kind and a key of another can stand: whether the mask lets it attend. */
export const verdicts = (expr: MaskExpr, queryKind: string, keyKind: string, kinds: readonly MaskKind[]): Verdicts =>
  remembered(expr, kinds, `verdicts ${queryKind} ${keyKind}`, () => {
    const [a, b] = [number(kinds, queryKind), number(kinds, keyKind)];
    return Object.fromEntries(relationsOf(a, b).map((relation) => {
      const where = layout(a, b, kinds, relation);
      return [relation, !canBe(expr, true, where) ? 'never' : !canBe(expr, false, where) ? 'always' : 'sometimes'];
    }));
  });

/** What is proven of the pair of kinds. */
export const classify = (expr: MaskExpr, queryKind: string, keyKind: string, kinds: readonly MaskKind[]): PairClass => {
  const found = Object.entries(verdicts(expr, queryKind, keyKind, kinds)) as [Relation, Verdict][];
  return patterns.find(([, pattern]) => found.every(([relation, verdict]) => pattern[relation] === verdict))?.[0] ?? 'mixed';
};

/** `classify` for all pairs: `table[queryKind][keyKind]`. */
export const classTable = (expr: MaskExpr, kinds: readonly MaskKind[]): Record<string, Record<string, PairClass>> =>
  Object.fromEntries(kinds.map((a) => [a.name, Object.fromEntries(kinds.map((b) => [b.name, classify(expr, a.name, b.name, kinds)]))]));

/** Whether a query of the one kind may attend to a later key of the other. `false` is proven. */
export const readsFuture = (expr: MaskExpr, queryKind: string, keyKind: string, kinds: readonly MaskKind[]): boolean => {
  const v = verdicts(expr, queryKind, keyKind, kinds);
  return [v.later, v.laterSegment].some((x) => x !== undefined && x !== 'never');
};

/** Whether tokens of this kind attend, among their own kind, only within their own image (for text: run). `true` is proven. */
export const staysInImage = (expr: MaskExpr, kind: string, kinds: readonly MaskKind[]): boolean => {
  const v = verdicts(expr, kind, kind, kinds);
  return v.earlierSegment === 'never' && v.laterSegment === 'never';
};

/**
 * Whether moving the whole sequence, by any number of positions and image numbers, can change what the mask says of
 * such a pair. `false` is proven: then what the tokens of one image read of each other is the same wherever that image
 * stands in a prompt, and whichever number it has there.
 */
export const usesAbsolutePosition = (expr: MaskExpr, queryKind: string, keyKind: string, kinds: readonly MaskKind[]): boolean =>
  remembered(expr, kinds, `absolute ${queryKind} ${keyKind}`, () => {
    const [a, b] = [number(kinds, queryKind), number(kinds, keyKind)];
    return relationsOf(a, b).some((relation) => {
      const here = layout(a, b, kinds, relation);
      const there = layout(a, b, kinds, relation, true);
      return satisfiable([...here.laws, ...there.laws], () => {
        const x = new FormulaBuilder(here.formOf);
        const y = new FormulaBuilder(there.formOf);
        const [before, after] = [x.predicate(expr, true), y.predicate(expr, true)];
        // Differences cancel the shift, so most masks need no search.
        if (formulaKey(before) === formulaKey(after)) return { formula: any(), definitions: [] };
        const formula = any(all(before, y.predicate(expr, false)), all(x.predicate(expr, false), after));
        return { formula, definitions: [...x.definitions, ...y.definitions] };
      });
    });
  });
