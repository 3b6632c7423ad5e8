/**
 * Zero rows: what follows from rows that are zero, as those of an attention in which a kind may read nothing.
 *
 * A linear map of zeros is its bias, a sum with zeros the other summand, and so on; the rows concerned leave the op, and
 * the others stay in it. So the output projection of a kind that reads nothing is never computed.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { rewrite } from '../compiler/ir/builder.ts';
import type { Node } from '../compiler/ir/graph.ts';
import { unaryFunctions } from '../compiler/ir/ops/elementwise.ts';
import { printRows, restrictRows } from '../compiler/ir/rows.ts';
import type { Pass } from './pass.ts';
import { narrowNode } from './row-demand.ts';

export const zeroRows: Pass = {
  name: 'zero-rows',
  proves: 'Rows that are zero, and what depends on nothing else, are not computed.',
  run: (g) => {
    const zeroKinds = zeroKindsOf();
    return rewrite(g, (n, inputs, b) => simplify(b, n, inputs, zeroKinds));
  },
};

type ZeroKinds = (n: Node) => ReadonlySet<string>;
const noKinds: ReadonlySet<string> = new Set();

/** Kinds of row of a value that are known to be zero; remembered. */
function zeroKindsOf(): ZeroKinds {
  const known = new Map<Node, ReadonlySet<string>>();
  const of: ZeroKinds = (n) => {
    const old = known.get(n);
    if (old) return old;
    const kinds = n.type.rows?.kinds ?? [];
    const zero = n.op === 'zeros' ? new Set(kinds)
      : n.op === 'rows' || n.op === 'merge' ? new Set(n.inputs.flatMap((x) => [...of(x)]).filter((k) => kinds.includes(k)))
      : noKinds;
    known.set(n, zero);
    return zero;
  };
  return of;
}

/** What becomes of rows some of whose inputs are zero: zeros, an input as it is, or one vector for every row. */
type Outcome = 'zero' | { readonly input: number } | { readonly vector: number };
type Rule = (zero: readonly boolean[], n: Node) => Outcome | undefined;
const zeroOfFirst: Rule = ([x]) => (x ? 'zero' : undefined);
const biasOfFirst = (bias: number): Rule => ([x], n) => (!x ? undefined : n.inputs[bias] ? { vector: bias } : 'zero');

const rules: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(Object.entries(unaryFunctions).filter(([, f]) => f(0) === 0).map(([name]) => [name, zeroOfFirst])),
  scale: zeroOfFirst, rms_norm: zeroOfFirst, rope: zeroOfFirst, repeat_heads: zeroOfFirst,
  mul: ([a, b]) => (a || b ? 'zero' : undefined),
  add: ([a, b], n) => (a && b ? 'zero' : b ? { input: 0 } : !a ? undefined : n.inputs[1]!.type.rows ? { input: 1 } : { vector: 1 }),
  sub: ([a, b]) => (a && b ? 'zero' : b ? { input: 0 } : undefined),
  linear: biasOfFirst(2),
  layer_norm: biasOfFirst(2),
};

function simplify(b: GraphBuilder, n: Node, inputs: readonly Node[], zeroKinds: ZeroKinds): Node | undefined {
  const rule = rules[n.op], rows = n.type.rows;
  if (!rule || !rows || n.type.dtype !== 'f32' || n.type.dims.length !== 1) return undefined;
  const groups = new Map<string, { outcome: Outcome | undefined; kinds: string[] }>();
  for (const kind of rows.kinds) {
    const outcome = rule(inputs.map((x) => zeroKinds(x).has(kind)), n);
    const id = JSON.stringify(outcome ?? null);
    const group = groups.get(id);
    if (group) group.kinds.push(kind); else groups.set(id, { outcome, kinds: [kind] });
  }
  if (groups.size === 1 && groups.has('null')) return undefined;
  b.path = n.path; b.where = n.where;
  return b.merge([...groups.values()].map(({ outcome, kinds }) => {
    const part = restrictRows(rows, kinds)!;
    if (!outcome) return narrowNode(b, n, inputs, part);
    if (outcome === 'zero') return b.op('zeros', [], { rows: printRows(part), width: n.type.dims[0]! });
    return 'input' in outcome ? b.select(inputs[outcome.input]!, part) : b.op('broadcast', [inputs[outcome.vector]!], { rows: printRows(part) });
  }));
}
