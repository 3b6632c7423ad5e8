/** In which format the KV cache and the visual memory hold their rows. */
import { GraphBuilder, copyNode } from '../compiler/ir/builder.ts';
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { leafName } from '../compiler/ir/graph.ts';
import type { Program } from '../compiler/ir/program.ts';
import { program } from '../compiler/ir/program.ts';
import type { StateFormat, StateFormatKind } from '../compiler/ir/state-format.ts';
import { printStateFormat } from '../compiler/ir/state-format.ts';
import { verifyProgram } from '../compiler/ir/verify.ts';

export const holdStatesName = 'hold-states';

/**
 * The program with its keys and values in a format. It changes what the model computes: later steps read rows that were rounded. A state
 * that some other op reads too, such as the image that a prompt's own rows begin with, stays as it is.
 * @throws UserError for a program that keeps no keys and values.
 */
export function holdStates(p: Program, kind: StateFormatKind): Program {
  if (kind === 'f32') return p;
  const heads = headsOfStates([...p.graphs.values()]);
  if (!heads.size) throw new UserError(`The model keeps no keys and values for later steps, so none can be held as ${kind}. Leave --kv away.`);
  const out = program([...p.graphs.values()].map((g) => withFormats(g, (name) => {
    const n = heads.get(name);
    return n === undefined ? undefined : kind === 'int8' ? { kind, heads: n } : { kind };
  })));
  verifyProgram(out, { pass: holdStatesName });
  return out;
}

/** KV heads in a row of each state that attentions alone read. */
function headsOfStates(graphs: readonly Graph[]): Map<string, number> {
  const heads = new Map<string, number>(), others = new Set<string>();
  for (const g of graphs) for (const n of g.nodes) n.inputs.forEach((x, i) => {
    const name = stateOf(x);
    if (name === undefined || (n.op === 'store' && i === 0)) return;
    const own = n.op === 'attention' && i > 0 ? Number(n.attrs['kv_heads']) : undefined;
    if (own === undefined || (heads.get(name) ?? own) !== own) others.add(name); else heads.set(name, own);
  });
  for (const name of others) heads.delete(name);
  return heads;
}
/** The state that a value is, before or after stores into it. */
const stateOf = (x: Node): string | undefined => (x.op === 'state' ? leafName(x) : x.op === 'store' ? String(x.attrs['state']) : undefined);

function withFormats(g: Graph, formatOf: (state: string) => StateFormat | undefined): Graph {
  const b = GraphBuilder.like(g), done = new Map<Node, Node>(), get = (n: Node): Node => done.get(n) ?? n;
  for (const n of g.inputs.values()) b.leaf(b.inputs, n);
  for (const n of g.weights.values()) b.leaf(b.weights, n);
  for (const n of g.states.values()) {
    const format = formatOf(leafName(n));
    done.set(n, b.leaf(b.states, format ? { ...n, attrs: { ...n.attrs, format: printStateFormat(format) } } : n));
  }
  for (const n of g.nodes) done.set(n, copyNode(b, n, n.inputs.map(get)));
  for (const [name, n] of g.outputs) b.output(name, get(n));
  return b.finish();
}
