/** What the kernels of one attention have to ask of its mask, after everything that is proven of it has been used. */
import type { MaskExpr, MaskKind } from '../ir/mask/index.ts';
import { apply, constantValue, int, k, kind, q, simplify, substitute } from '../ir/mask/index.ts';
import { pairClass } from '../ir/ops/attention.ts';
import type { AttentionSpec } from './attention.ts';

export interface MaskFacts {
  /** The predicate, for the kinds of query and key that need it; undefined if no pair has to be asked. */
  readonly expr: MaskExpr | undefined;
  /** Kinds of key that some query may read, by number; spans of all others are passed over. */
  readonly read: readonly number[];
  /** True if `read` holds every kind of the sequence: nothing needs to be passed over. */
  readonly readsEveryKind: boolean;
  /** Kinds of key that every query may read whole. */
  readonly whole: readonly number[];
}

export function maskFacts(spec: Pick<AttentionSpec, 'mask' | 'sequence' | 'queryKinds' | 'keyKinds'>): MaskFacts {
  const { mask, sequence, queryKinds } = spec;
  const number = (name: string): number => sequence.kinds.findIndex((s) => s.name === name);
  const classes = (key: string): string[] => queryKinds.map((query) => pairClass(mask, query, key));
  const read = spec.keyKinds.filter((key) => classes(key).some((c) => c !== 'empty'));
  const whole = read.filter((key) => classes(key).every((c) => c === 'full'));
  const asked = read.filter((key) => !whole.includes(key));
  const expr = asked.length ? predicateOf(spec, asked, asked.every((key) => classes(key).every((c) => c === 'causal'))) : undefined;
  // Without mask analysis a mask may still turn out to allow everything once the kinds are put in.
  const always = expr !== undefined && constantValue(expr) === true;
  return {
    expr: always ? undefined : expr, read: read.map(number), readsEveryKind: read.length === sequence.kinds.length, whole: (always ? read : whole).map(number),
  };
}

function predicateOf({ mask, sequence, queryKinds }: Pick<AttentionSpec, 'mask' | 'sequence' | 'queryKinds'>, asked: readonly string[], causal: boolean): MaskExpr {
  if (causal) return apply('le', k.pos, q.pos);
  const kinds: MaskKind[] = sequence.kinds.map((s) => ({ name: s.name, hasImages: s.media }));
  const only = { q: queryKinds.length === 1 ? queryKinds[0] : undefined, k: asked.length === 1 ? asked[0] : undefined };
  return simplify(substitute(mask.expr, (v) => {
    const name = only[v.token];
    if (name === undefined) return v;
    if (v.field === 'kind') return kind(kinds, name);
    return v.field === 'image' && !kinds.find((x) => x.name === name)!.hasImages ? int(-1) : v;
  }));
}
