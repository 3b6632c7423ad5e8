/** Where FLOPs went: those of every variant by role, and by layer, evaluated at the report's sizes. */
import { layerOf } from '../cost/layers.ts';
import type { Part } from '../cost/conventions.ts';
import { resolvePairs } from '../cost/resolve.ts';
import type { LayerRole, Role } from './roles.ts';
import { roleIn, roles, rolesOf } from './roles.ts';
import type { PromptSizes, VariantStudy } from './study.ts';

/** One layer, or what stands outside the layers of a part. */
export interface Column {
  readonly part: Part;
  /** Number of the layer in its stack. */
  readonly layer: number | undefined;
  readonly flops: ReadonlyMap<LayerRole, bigint>;
  readonly total: bigint;
}
export interface Spent {
  readonly columns: readonly Column[];
  readonly byRole: ReadonlyMap<Role, bigint>;
  readonly total: bigint;
}

/** Of the parts that make the convention's total, in the order of the graph: tower, projector, decoder, head. */
export function spentBy({ formula }: VariantStudy, { visual, text, images, tiles, tower }: PromptSizes): Spent {
  const dims = resolvePairs(formula.graph, { V: visual, T: text, tiles, ...tower }, images), role = rolesOf(formula);
  // Of a tower by itself the layers are told apart, else the decoder's.
  const main: Part = formula.nodes.some((n) => n.part === 'decoder') ? 'decoder' : 'vision';
  const columns = new Map<string, { part: Part; layer: number | undefined; flops: Map<LayerRole, bigint> }>(), byRole = new Map<Role, bigint>();
  for (const { node, part, flops } of formula.nodes) {
    if (!formula.convention.total.includes(part)) continue;
    const layer = layerOf(node.path), key = layer ? `${layer.stack} ${layer.index}` : part, amount = flops.nearest(dims), own = role.get(node)!;
    const column = columns.get(key) ?? { part, layer: layer?.index, flops: new Map<LayerRole, bigint>() };
    columns.set(key, column);
    column.flops.set(own, (column.flops.get(own) ?? 0n) + amount);
    byRole.set(roleIn(part, own, main), (byRole.get(roleIn(part, own, main)) ?? 0n) + amount);
  }
  const sum = (xs: Iterable<bigint>): bigint => [...xs].reduce((a, b) => a + b, 0n);
  return {
    columns: [...columns.values()].map((c) => ({ ...c, total: sum(c.flops.values()) })),
    byRole: new Map(roles.filter((r) => byRole.has(r)).map((r) => [r, byRole.get(r)!])), total: sum(byRole.values()),
  };
}
