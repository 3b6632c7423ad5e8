import type { SourcePos } from '../ir/errors.ts';
import { UserError } from '../ir/errors.ts';
import type { AnySequence, Sequence } from './sequence.ts';
import { callSite } from './where.ts';

/** What a mask may ask of a token. */
export interface Token<Kinds extends string> {
  /** Its kind of token. */
  readonly kind: Kinds;
  /** Its position in the whole prompt, from 0. */
  readonly pos: number;
  /** Its place within its own image or run of text, from 0. */
  readonly index: number;
  /** The number of its image in the prompt, from 0; -1 for text. */
  readonly image: number;
}

/** Values that a mask takes besides its two tokens: fixed when the mask is made, constants to the compiler. */
export type MaskParameters = Readonly<Record<string, number | boolean | string>>;
type Predicate = (q: Token<string>, k: Token<string>, parameters: MaskParameters) => boolean;

/** Where a mask comes from: one predicate, or several that must all hold. @internal */
export type MaskDefinition =
  | { readonly is: 'predicate'; readonly fn: Predicate; readonly parameters?: MaskParameters; readonly where?: SourcePos }
  | { readonly is: 'all'; readonly parts: readonly AnyMask[] };

/**
 * Who may attend to whom: true where query `q` may read key `k`. It is a function, so one mask may call another, and
 * a test may ask it.
 */
export interface Mask<in out Kinds extends string> {
  (q: Token<Kinds>, k: Token<Kinds>): boolean;
  readonly sequence: Sequence<Kinds>;
  /** @internal */
  readonly definition: MaskDefinition;
}

/** A mask over any sequence. */
export interface AnyMask { readonly sequence: AnySequence; readonly definition: MaskDefinition }

/**
 * Declares a mask over a sequence: `mask(tokens, (q, k) => k.pos <= q.pos)`.
 *
 * The predicate is pure: the compiler reads its source, and proves from it for each pair of kinds what need not be
 * computed. It may compare, calculate with whole numbers, choose (`? :`), use `kind`, `pos`, `index` and `image` of
 * both tokens, constants, and other pure predicates. `parameters` are handed to it as a third argument; a value that
 * is known only when the mask is made (a window's width) goes there.
 */
export function mask<Kinds extends string>(sequence: Sequence<Kinds>, allows: (q: Token<Kinds>, k: Token<Kinds>) => boolean): Mask<Kinds>;
export function mask<Kinds extends string, const Parameters extends MaskParameters>(
  sequence: Sequence<Kinds>, allows: (q: Token<Kinds>, k: Token<Kinds>, parameters: Parameters) => boolean, parameters: Parameters): Mask<Kinds>;
export function mask(sequence: Sequence<string>, allows: Predicate, parameters?: MaskParameters): Mask<string> {
  const where = callSite();
  if (typeof allows !== 'function') throw new UserError(`mask() takes a sequence and a predicate, as in mask(tokens, (q, k) => k.pos <= q.pos); the predicate given is ${typeof allows}.`, where);
  return assemble(sequence, (q, k) => allows(q, k, parameters ?? {}), { is: 'predicate', fn: allows, ...(parameters && { parameters }), ...(where && { where }) });
}

/** The mask that lets a query read what all of the given masks let it read: a sliding window over any other mask. */
export function allOf<Kinds extends string>(first: Mask<Kinds>, ...others: readonly Mask<Kinds>[]): Mask<Kinds> {
  const parts = [first, ...others];
  for (const m of others)
    if (m.sequence !== first.sequence) throw new UserError(`allOf() takes masks of one sequence; given are masks over ${describe(first.sequence)} and ${describe(m.sequence)}.`, callSite());
  return assemble(first.sequence, (q, k) => parts.every((m) => m(q, k)), { is: 'all', parts });
}

export const isMask = (x: unknown): x is AnyMask => typeof x === 'function' && 'definition' in x && 'sequence' in x;
/** The call that declared the mask; of several, the first. */
export const maskPlace = (m: AnyMask): SourcePos | undefined => (m.definition.is === 'predicate' ? m.definition.where : maskPlace(m.definition.parts[0]!));
export const describe = (s: AnySequence): string => `'${s.name}' (${s.kinds.join(', ')})`;

const assemble = <Kinds extends string>(sequence: Sequence<Kinds>, allows: (q: Token<Kinds>, k: Token<Kinds>) => boolean, definition: MaskDefinition): Mask<Kinds> =>
  Object.freeze(Object.assign(allows, { sequence, definition }));
