/**
 * What one kernel computes where there is one row (a token that is decoded, the last row of a prompt), and several kernels where there
 * are more: a norm is the prologue of every product that reads it, also of products with chosen experts; the choice of a router's
 * largest scores is made by the workgroup that has them all; and what the chosen experts give is added up in their product.
 */
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { opDef } from '../compiler/ir/ops/index.ts';
import { rowCount } from '../compiler/ir/rows.ts';
import type { Group } from './fuse.ts';

/** The readers of a value, one entry a use. */
type Uses = (n: Node) => readonly Node[];

export const isNorm = (n: Node): boolean => n.op === 'rms_norm' || n.op === 'layer_norm';
const oneRow = ({ type: { rows } }: Node): boolean => !!rows && rowCount(rows).constant() === 1;

/** Products with experts that read the same row for every choice; a norm over the parts of all choices is no norm of one of them. */
const expertsOfRow = (u: Node, x: Node): boolean => u.op === 'expert_linear' && u.inputs[2]!.type.dims[1] === x.type.dims[0];

/** Whether a value is computed anew by each of its readers, as their prologue, and so needs no kernel. */
export function isPrologue(x: Node, uses: Uses): boolean {
  if (x.op !== 'patches' && !isNorm(x)) return false;
  // Of many rows every expert would normalise its own, tile by tile.
  return uses(x).every((u) => u.op === 'linear' || (isNorm(x) && oneRow(x) && expertsOfRow(u, x)));
}

/**
 * Takes into the products of one row the choice of the largest entries of a result. The result leaves the group too, for who reads
 * the chosen scores; without such a reader nobody would store it. It lies as it is counted, which a rotated one does not.
 */
export function takeChoices(g: Graph, groupOf: Map<Node, Group>, uses: Uses): void {
  for (const n of g.nodes) {
    const scores = n.inputs[0], group = scores && groupOf.get(scores);
    if (n.op !== 'top_k' || !oneRow(n) || group?.family !== 'matmul' || !group.roots.includes(scores!)) continue;
    const inOrder = scores!.op === 'linear' || opDef(scores!.op).elementwise === true;
    if (!inOrder || group.roots.some((r) => r.op === 'top_k') || uses(scores!).every((u) => u.op === 'top_k')) continue;
    group.members.add(n);
    group.roots = [...group.roots, n];
    groupOf.set(n, group);
  }
}

/** The product whose parts `mix` adds up, where both are one kernel's: nobody else reads it, and its experts are those that are mixed. */
export function mixedProduct(mix: Node, uses: Uses): Node | undefined {
  const [product, chosen] = mix.inputs;
  return mix.op === 'mix_experts' && oneRow(mix) && product!.op === 'expert_linear' && product!.inputs[1] === chosen && uses(product!).length === 1 ? product : undefined;
}
