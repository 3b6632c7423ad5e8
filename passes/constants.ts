/**
 * Constants and identities: factors fold into their neighbours, and ops that change nothing go. The rules are local;
 * rows are looked up through the ops that only select and join them.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { rewrite } from '../compiler/ir/builder.ts';
import type { Node } from '../compiler/ir/graph.ts';
import { isLeaf } from '../compiler/ir/graph.ts';
import { num } from '../compiler/ir/ops/def.ts';
import { restrictRows, sameRows } from '../compiler/ir/rows.ts';
import type { Pass } from './pass.ts';
import { narrowNode } from './row-demand.ts';

export const constants: Pass = {
  name: 'constants',
  proves: 'Factors that are known are multiplied once, here, and no op is left that gives its input back.',
  run: (g) => rewrite(g, (n, inputs, b) => { b.path = n.path; b.where = n.where; return rules[n.op]?.(n, inputs, b); }),
};

type Rule = (n: Node, inputs: readonly Node[], b: GraphBuilder) => Node | undefined;

const rules: Readonly<Record<string, Rule>> = {
  scale: (n, [x], b) => {
    const by = num(n.attrs, 'by');
    if (by === 1) return x;
    return x!.op === 'scale' ? b.op('scale', [x!.inputs[0]!], { by: by * num(x!.attrs, 'by') }, n) : undefined;
  },
  /** softmax(s · (aq)(bk)ᵀ) = softmax((s·a·b) · qkᵀ) */
  attention: (n, [q, k, v], b) => {
    if (q!.op !== 'scale' && k!.op !== 'scale') return undefined;
    const [factor, plain] = [q!, k!].reduce<[number, Node[]]>(([f, xs], x) => (x.op === 'scale' ? [f * num(x.attrs, 'by'), [...xs, x.inputs[0]!]] : [f, [...xs, x]]), [1, []]);
    return b.op('attention', [...plain, v!], { ...n.attrs, scale: num(n.attrs, 'scale') * factor }, n);
  },
  repeat_heads: (n, [x]) => (num(n.attrs, 'heads') === num(n.attrs, 'kv_heads') ? x : undefined),
  rows: (n, [x], b) => {
    const want = n.type.rows!;
    if (sameRows(x!.type.rows!, want)) return x;
    if (x!.op === 'rows') return b.select(x!, want);
    // What reads no rows is made for just these.
    if (x!.op !== 'merge') return isLeaf(x!) || x!.inputs.some((i) => i.type.rows) ? undefined : narrowNode(b, x!, x!.inputs, want);
    return b.merge(x!.inputs.flatMap((part) => {
      const own = restrictRows(want, part.type.rows!.kinds);
      return own ? [b.select(part, own)] : [];
    }));
  },
  merge: (n, inputs, b) => {
    if (inputs.length === 1) return inputs[0];
    const source = (x: Node): Node => (x.op === 'rows' ? x.inputs[0]! : x);
    const whole = source(inputs[0]!);
    if (inputs.every((x) => source(x) === whole) && sameRows(whole.type.rows!, n.type.rows!)) return whole;
    return inputs.some((x) => x.op === 'merge') ? b.merge(inputs) : undefined;
  },
};

