/**
 * What an op does in its layer, read off the graph: the map that makes an attention's queries, its keys, its values; the map
 * that takes its result; the scores; the rest of the maps are the feed-forward. No name decides it.
 */
import type { Node } from '../ir/graph.ts';
import { isLeaf } from '../ir/graph.ts';
import type { CountClass } from '../ir/ops/def.ts';
import { opDef } from '../ir/ops/index.ts';
import { Poly } from '../ir/poly.ts';
import type { CostFormula } from '../cost/formula.ts';
import type { Part } from '../cost/conventions.ts';

export const layerRoles = ['query', 'key', 'value', 'output', 'scores', 'forward', 'other'] as const;
export type LayerRole = (typeof layerRoles)[number];
/** Roles of the decoder's layers, and the other parts as wholes. */
export const roles = ['vision', 'projector', ...layerRoles, 'head'] as const;
export type Role = (typeof roles)[number];

export const roleLabels: Readonly<Record<Role, string>> = {
  vision: 'vision tower', projector: 'projector', query: 'Q projection', key: 'K projection', value: 'V projection', output: 'output projection',
  scores: 'attention scores', forward: 'feed-forward', other: 'other', head: 'output head',
};

const does = (n: Node, cls: CountClass): boolean => !isLeaf(n) && cls in opDef(n.op).counts(n, () => Poly.of(1));

/** The linear maps that a value comes from, through whatever is no map itself. */
function maps(n: Node, found = new Set<Node>()): Set<Node> {
  if (does(n, 'matmul')) found.add(n);
  else if (!does(n, 'scores')) for (const x of n.inputs) maps(x, found);
  return found;
}

/** True for what an attention gives, whole or in part; `repeat_heads` is what is left of one that reads itself alone. */
const ofAttention = (n: Node): boolean => does(n, 'scores') || n.op === 'repeat_heads'
  || (!does(n, 'matmul') && !does(n, 'norm') && !does(n, 'residual') && n.inputs.some(ofAttention));

/** The role of every op of a formula. */
export function rolesOf(formula: CostFormula): ReadonlyMap<Node, LayerRole> {
  const out = new Map<Node, LayerRole>();
  for (const { node } of formula.nodes) {
    if (!does(node, 'scores')) continue;
    out.set(node, 'scores');
    (['query', 'key', 'value'] as const).forEach((role, i) => { for (const map of maps(node.inputs[i]!)) out.set(map, role); });
  }
  for (const { node } of formula.nodes) {
    if (out.has(node)) continue;
    out.set(node, !does(node, 'matmul') ? 'other' : node.inputs[0] && ofAttention(node.inputs[0]) ? 'output' : 'forward');
  }
  return out;
}

/** The role that an op has in the whole model; `main` is the part whose layers are told apart. */
export const roleIn = (part: Part, role: LayerRole, main: Part): Role => (part === main ? role : part === 'decoder' ? 'other' : part);
