import type { Attr, Attrs, Body, GraphHead } from '../graph.ts';
import { parseRows } from '../rows.ts';
import { suggest } from '../spelling.ts';
import type { TensorType } from '../types.ts';
import { maskNamed } from './attention.ts';
import type { AttrKind, AttrRules, OpDef } from './def.ts';
import { opDef } from './index.ts';

/** An attribute that is missing, unknown or of the wrong sort; a parser points at the attribute itself. */
export class AttrError extends RangeError {
  constructor(readonly attr: string, message: string) { super(message); }
}

/**
 * The type of an op over inputs of the given types: the one way into the table's shape rules. Throws a RangeError, one
 * sentence without the op's name, for a wrong number of inputs, a wrong attribute, and inputs that disagree.
 */
export function inferType(op: string, inputs: readonly TensorType[], attrs: Attrs, head: GraphHead, body?: Body): TensorType {
  const def = opDef(op);
  checkArity(def, inputs.length);
  checkAttrs(def.attrs, attrs, head);
  return def.infer(inputs, attrs, head, body);
}

function checkArity({ arity }: OpDef, given: number): void {
  const [least, most] = typeof arity === 'number' ? [arity, arity] : arity;
  if (given >= least && given <= most) return;
  const want = least === most ? `${least}` : most === Infinity ? `at least ${least}` : `${least} to ${most}`;
  throw new RangeError(`takes ${want} input${/\b1$/.test(want) ? '' : 's'}, but was given ${given}.`);
}

const finite = (v: Attr | undefined): boolean =>
  typeof v === 'number' ? Number.isFinite(v) : v !== undefined && v !== null && (typeof v !== 'object' || Object.values(v).every(finite));

const kinds: Readonly<Record<AttrKind, { readonly is: string; test(v: Attr, head: GraphHead): boolean }>> = {
  count: { is: 'an integer of at least 1', test: (v) => Number.isSafeInteger(v) && (v as number) >= 1 },
  index: { is: 'an integer of at least 0', test: (v) => Number.isSafeInteger(v) && (v as number) >= 0 },
  number: { is: 'a finite number', test: (v) => Number.isFinite(v) },
  text: { is: 'text', test: (v) => typeof v === 'string' },
  rows: { is: 'the name of a set of rows', test: (v, head) => typeof v === 'string' && !!parseRows(head.sequences.values(), v) },
  mask: { is: 'the name of a mask', test: (v, head) => typeof v === 'string' && !!maskNamed(v, head) },
  any: { is: 'text, a boolean, a finite number, or a list or record of such', test: finite },
};

function checkAttrs(rules: AttrRules, attrs: Attrs, head: GraphHead): void {
  for (const [name, value] of Object.entries(attrs)) {
    if (Object.hasOwn(rules, name)) continue;
    if (!Object.hasOwn(rules, '*')) throw new AttrError(name, `has no attribute '${name}'.${suggest(name, Object.keys(rules), 'Its attributes are')}`);
    if (!finite(value)) throw new AttrError(name, `the attribute '${name}' must be ${kinds.any.is}.`);
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (name === '*' || (attrs[name] === undefined && rule.endsWith('?'))) continue;
    const kind = kinds[rule.replace('?', '') as AttrKind], value = attrs[name];
    if (value === undefined) throw new RangeError(`needs the attribute '${name}' (${kind.is}).`);
    let fits: boolean;
    try { fits = kind.test(value, head); } catch (e) { throw e instanceof RangeError ? new AttrError(name, e.message) : e; }
    if (!fits) throw new AttrError(name, `the attribute '${name}' must be ${kind.is}, not ${JSON.stringify(value)}.`);
  }
}
