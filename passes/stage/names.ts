/** Names of states, made of the module path of what they hold. */
import type { Node } from '../../compiler/ir/graph.ts';
import { isLeaf, leafName } from '../../compiler/ir/graph.ts';
import type { KeyGroup } from './key-groups.ts';
import type { StagePlan } from './plan.ts';

export interface StateNames {
  /** `language_model.model.layers.0.self_attn.k`, and `.v`. */
  key(group: KeyGroup, part: 'k' | 'v'): string;
  /** `language_model.model.layers.8.memory` */
  memory(origin: Node): string;
}

export function nameStates(plan: StagePlan): StateNames {
  const used = new Set<string>();
  const unique = (base: string): string => {
    let name = base;
    for (let i = 2; used.has(name); i++) name = `${base}.${i}`;
    used.add(name);
    return name;
  };
  const keys = new Map(plan.groups.all.map((group) => {
    const path = group.attention.path || 'attention';
    return [group, { k: unique(`${path}.k`), v: unique(`${path}.v`) }];
  }));
  const order = new Map(plan.g.nodes.map((n, i) => [n, i]));
  const origins = [...plan.memories.keys()].sort((a, b) => (order.get(a) ?? -1) - (order.get(b) ?? -1));
  const memories = new Map(origins.map((n) => [n, unique(`${(isLeaf(n) ? leafName(n) : n.path) || n.op}.memory`)]));
  return { key: (group, part) => keys.get(group)![part], memory: (origin) => memories.get(origin)! };
}
