/**
 * What each op of a graph costs: work by class, FLOPs under a convention, bytes. Of a fused graph the ops inside the groups,
 * each with what its kernel moves for it.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import type { Counts } from '../ir/ops/def.ts';
import { Poly } from '../ir/poly.ts';
import type { Convention, Part } from './conventions.ts';
import { flopsOf } from './formula.ts';
import type { Layer } from './layers.ts';
import { layerOf } from './layers.ts';
import type { MemoryRule, Step } from './memory-rules.ts';
import { stepsOf, storageIn, trafficBy } from './memory-rules.ts';
import { pairRules } from './pair-rules.ts';
import { partOf } from './parts.ts';
import type { Storage } from './storage.ts';
import type { Traffic } from './traffic.ts';
import { movedBytes, trafficInside, trafficOf } from './traffic.ts';
import { countsOf } from './work.ts';

export interface OpCost {
  /** The entry point that runs it: `tile`, `vision`, `prefill` or `decode`; the graph's own name, if it is none of a program. */
  readonly entry: string;
  /** The op itself, inside a fused node too. */
  readonly node: Node;
  /** The module with its weights (`q_proj`), or the op's name (`attention`, `add`). */
  readonly name: string;
  /** Which kernel of its entry point runs it. Ops of one fused node share a kernel; without fusion each op is its own. */
  readonly kernel: number;
  /** Module path of the author's model. */
  readonly path: string;
  readonly part: Part;
  /** Undefined for what stands outside the layers: embeddings, projector, head. */
  readonly layer: Layer | undefined;
  /** Work by class, whatever the convention says of it: multiply-adds, scores, elements. */
  readonly counts: Counts;
  /** FLOPs under the convention; zero where it leaves the op out. */
  readonly flops: Poly;
  /** Bytes that computing it moves. */
  readonly traffic: Traffic;
  /** The steps that a device does one after the other, where the op is more than one. */
  readonly steps?: readonly Step[];
  /** Weights that no op before it has read, in any entry point: summed over ops, each weight comes once. */
  readonly holds: readonly Node[];
}

export interface OpCostOptions {
  readonly entry?: string;
  /** What goes through memory, and how wide. */
  readonly memory?: MemoryRule;
  /** Names of weights that ops of earlier graphs hold; added to. */
  readonly held?: Set<string>;
}

/** Every op of a graph that takes work or moves bytes, in order. */
export function opCosts(g: Graph, convention: Convention, { entry = g.name, memory = {}, held = new Set<string>() }: OpCostOptions = {}): OpCost[] {
  const out: OpCost[] = [];
  const add = (node: Node, kernel: number, reads: readonly Node[], own: (storage: Storage | undefined) => Traffic): void => {
    const { path } = node, part = partOf(node), counts = countsOf(node, g, pairRules[convention.pairs]);
    const traffic = trafficBy(memory, node, part, counts, () => own(storageIn(memory, part)));
    const weights = reads.filter((x) => x.op === 'weight'), holds = [...new Set(weights)].filter((w) => !held.has(leafName(w)));
    if (!Object.keys(counts).length && movedBytes(traffic).isZero && !holds.length) return;
    for (const w of holds) held.add(leafName(w));
    const flops = convention.without?.test(path) ? Poly.zero : flopsOf(counts, convention, part);
    out.push({
      entry, node, name: weights.length && path ? path.split('.').at(-1)! : node.op, kernel, path, part, layer: layerOf(path), counts, flops, traffic, holds,
      ...(memory.attention === 'apart' && node.op === 'attention' && { steps: stepsOf(memory, node, part, counts, convention) }),
    });
  };
  g.nodes.forEach((n, kernel) => {
    if (!n.body) { add(n, kernel, n.inputs, (storage) => trafficOf(n, storage)); return; }
    const outside = new Map(n.body.params.map((p, i) => [p, n.inputs[i]!]));
    for (const m of n.body.nodes) add(m, kernel, m.inputs.flatMap((x) => outside.get(x) ?? []), (storage) => trafficInside(n, storage).get(m)!);
  });
  return out;
}
