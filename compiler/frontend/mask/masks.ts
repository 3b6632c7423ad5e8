/** Masks as functions inside other masks: `mask(tokens, (q, k) => causal(q, k) && near(q, k))`. */
import { and } from '../../ir/mask/index.ts';
import type { Reader, Value } from './values.ts';
import { asBoolean, plain, symbolic } from './values.ts';

/** A mask with this predicate and these parameters. */
export const knownMask = (reader: Reader, predicate: Value, parameters: Value = { is: 'record', what: 'the parameters of the mask', get: () => plain(undefined) }): Value =>
  ({ is: 'known', name: 'mask', call: ([q, k], node) => reader.call(predicate, [q ?? plain(undefined), k ?? plain(undefined), parameters], node) });

/** What all of the given masks admit. */
export const allOfMasks = (reader: Reader, parts: readonly Value[]): Value =>
  ({ is: 'known', name: 'allOf', call: (args, node) => symbolic(and(...parts.map((m) => asBoolean(reader.call(m, args, node), reader.kinds, node)))) });
