/**
 * Towers that see a picture as several tiles run tile by tile: a graph's rows of a tower are those of one picture, and so is the
 * memory that they take. What `vision` computes of one tile becomes an entry point of its own, which leaves the rows that
 * `gather_rows` reads in a state, tile after tile; `vision` then runs once an image, over the rows of all its tiles.
 */
import { GraphBuilder, rewrite, sweep } from '../compiler/ir/builder.ts';
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { hasText } from '../compiler/ir/layout.ts';
import type { Program } from '../compiler/ir/program.ts';
import { program } from '../compiler/ir/program.ts';
import type { TensorType } from '../compiler/ir/types.ts';
import { verifyProgram } from '../compiler/ir/verify.ts';

export const byTileName = 'by-tile';

/** The program with an entry point `tile` in front of `vision` and `first`; the same program if no rows of pictures are gathered. */
export function byTile(p: Program): Program {
  const vision = p.graphs.get('vision');
  if (!vision || !gatheredIn(vision).size) return p;
  const out = program([tileOf(vision, gatheredIn(vision)), ...[...p.graphs.values()].map((g) => (g === vision || g.name === 'first' ? restOf(g, gatheredIn(g)) : g))]);
  verifyProgram(out, { pass: byTileName });
  return out;
}

/** Rows of pictures that a graph gathers, and the states that will hold those of all tiles. */
const gatheredIn = (g: Graph): Map<Node, string> => {
  const read = new Set(g.nodes.flatMap((n) => (n.op === 'gather_rows' && n.inputs[1]!.op !== 'state' ? [n.inputs[1]!] : [])));
  return new Map([...read].map((x, i) => [x, `${x.path || 'pictures'}.tiles${i ? `.${i + 1}` : ''}`]));
};

/** Rows of a tower's own sequence, as its pictures have them. */
const ofTower = ({ type: { rows } }: Node): boolean => !!rows && !hasText(rows.sequence);
const stateType = ({ type }: Node): TensorType => ({ ...type, rows: { ...type.rows!, context: true } });

/** Everything of one tile, and its rows stored. */
function tileOf(vision: Graph, names: ReadonlyMap<Node, string>): Graph {
  const b = GraphBuilder.like({ ...vision, name: 'tile' });
  for (const [map, leaves] of [[b.inputs, vision.inputs], [b.weights, vision.weights]] as const) for (const n of leaves.values()) b.leaf(map, n);
  b.nodes.push(...vision.nodes);
  for (const [name, n] of vision.outputs) if (ofTower(n)) b.output(name, n);
  for (const [x, state] of names) b.output(state, b.op('store', [b.state(state, stateType(x)), x], { state }, x));
  return sweep(b.finish());
}

/** What is left: the rows of the prompt, gathered from those of all tiles. */
function restOf(vision: Graph, names: ReadonlyMap<Node, string>): Graph {
  const g = rewrite(vision, (n, inputs, b) => {
    const state = n.op === 'gather_rows' ? names.get(n.inputs[1]!) : undefined;
    return state === undefined ? undefined : b.op(n.op, [inputs[0]!, b.state(state, stateType(n.inputs[1]!)), ...inputs.slice(2)], n.attrs, n);
  });
  const out = sweep({ ...g, outputs: new Map([...g.outputs].filter(([, n]) => !ofTower(n))) });
  const other = out.nodes.find((n) => n.inputs.some((x) => x.op !== 'state' && ofTower(x)));
  if (other) throw new UserError(`${other.op}${other.path ? ` (in ${other.path})` : ''} reads rows of a picture, but the model sees an image as several pictures. Gather their rows (gatherRows) before they are read otherwise.`, other.where);
  return out;
}
