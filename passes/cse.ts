/** Common subexpressions: equal ops on equal inputs become one. */
import { copyNode, rewrite } from '../compiler/ir/builder.ts';
import type { Attr, Node } from '../compiler/ir/graph.ts';
import type { Pass } from './pass.ts';

export const cse: Pass = {
  name: 'cse',
  proves: 'No two ops of the graph compute the same value from the same inputs.',
  run: (g) => {
    const ids = new Map<Node, number>();
    const id = (n: Node): number => {
      let i = ids.get(n);
      if (i === undefined) ids.set(n, (i = ids.size));
      return i;
    };
    const first = new Map<string, Node>();
    return rewrite(g, (n, inputs, b) => {
      if (n.body) return undefined;
      const key = `${n.op}(${inputs.map(id).join()})${sorted(n.attrs)}`;
      const old = first.get(key);
      if (old) return old;
      const made = copyNode(b, n, inputs);
      first.set(key, made);
      return made;
    });
  },
};

/** An attribute as text, the same for equal ones. */
const sorted = (a: Attr): string =>
  typeof a !== 'object' ? JSON.stringify(a)
    : Array.isArray(a) ? `[${a.map(sorted).join()}]`
    : `{${Object.entries(a).filter(([, v]) => v !== undefined).sort(([x], [y]) => (x < y ? -1 : 1)).map(([k, v]) => `${k}:${sorted(v)}`).join()}}`;
