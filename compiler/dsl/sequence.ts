import { UserError } from '../ir/errors.ts';
import { Poly } from '../ir/poly.ts';
import type { Kind, Sequence as IrSequence } from '../ir/rows.ts';
import { callSite } from './where.ts';

/** The kind whose rows are asked and generated. All other kinds are media: they come whole, before the question. */
export const generatedKind = 'text';

/**
 * The tokens that a model reads, by kind. `Kinds` is the union of their names: `Sequence<'visual' | 'text'>`.
 * Where a token stands in a prompt is data, so any order of images and text is the same sequence.
 */
export class Sequence<in out Kinds extends string> {
  /** @internal */
  constructor(readonly ir: IrSequence) {}
  get name(): string { return this.ir.name; }
  get kinds(): readonly Kinds[] { return this.ir.kinds.map((k) => k.name as Kinds); }
}
/** A sequence of any kinds. */
export interface AnySequence { readonly ir: IrSequence; readonly name: string; readonly kinds: readonly string[] }
/** The kinds of a sequence as a union: `KindsOf<typeof tokens>`. */
export type KindsOf<S> = S extends Sequence<infer Kinds> ? Kinds : never;

/** One name, one sequence: a file may declare again the sequence of the model that it extends. */
const declared = new Map<string, Sequence<string>>();

/**
 * The sequence of a language model: `sequence('visual', 'text')`. `text` is the kind that is generated; the others are
 * media. The dims that count their rows are the kinds' initials (`V`, `T`).
 */
export function sequence<const Kinds extends readonly [string, ...string[]]>(...kinds: Kinds): Sequence<Kinds[number]>;
/**
 * The sequence of a tower, whose rows are counted beforehand: `sequence('patches', { class: 1, patch: 576 })`. It is
 * one picture; several pictures are several such sequences, and no row of one reads a row of another. Where pictures are of
 * any size, the rows are as many as a dim says: `sequence('patches', { patch: 'P' })`.
 */
export function sequence<const Kinds extends string>(name: string, counts: Readonly<Record<Kinds, number | string>>): Sequence<Kinds>;
export function sequence(...given: readonly unknown[]): Sequence<string> {
  const [name, counts] = given;
  if (counts && typeof counts === 'object') return ofTower(String(name), counts as Record<string, number | string>);
  return ofTokens(given as string[]);
}

function ofTokens(kinds: readonly string[]): Sequence<string> {
  checkKinds(kinds);
  if (!kinds.includes(generatedKind))
    throw new UserError(`sequence(${kinds.map((k) => `'${k}'`).join(', ')}) has no kind '${generatedKind}', the kind that is generated. Add it, or count the rows of a tower: sequence('${kinds[0]}s', { ${kinds.map((k) => `${k}: 16`).join(', ')} }).`, callSite());
  return remember({ name: 'tokens', kinds: kinds.map((k) => ({ name: k, count: Poly.dim(dimOf(k, kinds)), media: k !== generatedKind })) });
}

function ofTower(name: string, counts: Readonly<Record<string, number | string>>): Sequence<string> {
  const kinds = Object.keys(counts);
  checkKinds(kinds);
  if (kinds.includes(generatedKind)) throw new UserError(`A sequence whose rows are counted is a tower's and generates nothing; it cannot hold '${generatedKind}'. The sequence of a language model is declared by its kinds: sequence('visual', '${generatedKind}').`, callSite());
  const wrong = kinds.find((k) => { const n = counts[k]; return typeof n === 'string' ? !/^[A-Z]\w*$/.test(n) || taken.test(n) : !Number.isSafeInteger(n) || n! < 1; });
  if (wrong !== undefined) throw new UserError(`Sequence '${name}' has ${counts[wrong]} rows of kind '${wrong}'; a count is a whole number of at least 1, or the name of a dim: a capital and letters, digits or '_' after it, other than V, T and what begins with C.`, callSite());
  return remember({ name, kinds: kinds.map((k): Kind => { const n = counts[k]!; return { name: k, count: typeof n === 'string' ? Poly.dim(n) : Poly.of(n), media: true }; }) });
}

/** Dims of prompts, of the rows so far, and of generated tokens. */
const taken = /^(V|T|G|S|C.*)$/;

function remember(ir: IrSequence): Sequence<string> {
  const key = `${ir.name}(${ir.kinds.map((k) => `${k.name}:${k.count}`).join(',')})`;
  const old = declared.get(key);
  if (old) return old;
  const made = new Sequence<string>(ir);
  declared.set(key, made);
  return made;
}

const reserved = new Set(['q', 'k', 'true', 'false', 'last', 'context']);
function checkKinds(kinds: readonly string[]): void {
  if (!kinds.length) throw new UserError(`A sequence needs at least one kind of token, as in sequence('visual', '${generatedKind}').`, callSite());
  for (const [i, k] of kinds.entries()) {
    if (!/^[A-Za-z]\w*$/.test(k) || reserved.has(k)) throw new UserError(`'${k}' cannot name a kind of token: a name starts with a letter, holds letters, digits and '_', and is none of ${[...reserved].join(', ')}.`, callSite());
    if (kinds.indexOf(k) !== i) throw new UserError(`The kind '${k}' is named twice in one sequence.`, callSite());
  }
}

/** `V` for visual, `T` for text; the whole name in capitals where two kinds share an initial. */
function dimOf(kind: string, kinds: readonly string[]): string {
  const initial = kind[0]!.toUpperCase();
  return kinds.some((k) => k !== kind && k[0]!.toUpperCase() === initial) ? kind.toUpperCase() : initial;
}
