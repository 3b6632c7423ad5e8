/** Where a row really comes from, looking through the ops that only select and join rows. */
import type { Node } from '../compiler/ir/graph.ts';

/** The value that computes (or holds) the rows of one kind. */
export function originOf(n: Node, kind: string): Node {
  let at = n;
  while (at.op === 'rows' || at.op === 'merge') {
    const next: Node | undefined = at.op === 'rows' ? at.inputs[0] : at.inputs.find((x) => x.type.rows!.kinds.includes(kind));
    // A view of a state, or of the last row alone, is more than a choice of kinds.
    if (!next || next.type.rows!.context !== at.type.rows!.context || next.type.rows!.last !== at.type.rows!.last) return at;
    at = next;
  }
  return at;
}
