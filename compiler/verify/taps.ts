/**
 * Taps: the values of a traced model that a golden file has tensors of, as further outputs of the graph. A tap in the
 * prompt's sequence is one output a kind of row, so that staging may compute each in the step where it is known.
 */
import type { Traced } from '../frontend/trace.ts';
import { GraphBuilder } from '../ir/builder.ts';
import type { Graph, Node } from '../ir/graph.ts';
import { isLeaf } from '../ir/graph.ts';
import { hasText } from '../ir/layout.ts';
import { rowSet } from '../ir/rows.ts';

/** A value and the golden tensor that it belongs to. */
export interface Tap {
  /** Name in the golden file, without the case; `hidden.0` and its like also without the variant. */
  readonly tensor: string;
  /** True for tensors that each variant has of its own. */
  readonly ofVariant: boolean;
  readonly node: Node;
  /** Elements of one row. */
  readonly width: number;
  /** Outputs that hold its rows, by kind. A kind without one is given by the caller as it is. */
  readonly outputs: ReadonlyMap<string, string>;
}

/** Where the decoder's modules stand: a language model alone, or as part of a larger model. */
export function decoderPath({ values }: Traced): string {
  const table = '.embed_tokens', path = [...values.keys()].find((p) => p.endsWith(table));
  return path === undefined ? 'model' : path.slice(0, -table.length);
}

/** The traced graph with an output for every tap. */
export function withTaps(traced: Traced): { graph: Graph; taps: Tap[] } {
  const { graph: g } = traced, b = GraphBuilder.like(g);
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  b.nodes.push(...g.nodes);
  for (const [name, n] of g.outputs) b.output(name, n);
  const taps = probes(traced).map(([tensor, node, ofVariant]): Tap => {
    const rows = node.type.rows!, outputs = new Map<string, string>();
    const parts = hasText(rows.sequence) ? rows.kinds.map((k) => [k]) : [rows.kinds];
    for (const kinds of parts) {
      const part = b.select(node, rowSet(rows.sequence, kinds)), name = `${ofVariant ? 'variant' : 'shared'}:${tensor}:${kinds.join('+')}`;
      if (isLeaf(part)) continue;
      b.output(name, part);
      for (const kind of kinds) outputs.set(kind, name);
    }
    return { tensor, ofVariant, node, width: node.type.dims.reduce((a, d) => a * d, 1), outputs };
  });
  return { graph: b.finish(), taps };
}

/** Golden tensors and the nodes that compute them. */
function probes(traced: Traced): [tensor: string, node: Node, ofVariant: boolean][] {
  const { values } = traced, found: [string, Node | undefined, boolean][] = [];
  const within = values.has('model.vision_model'), tower = within ? 'model.vision_model' : 'vision_tower.vision_model', projector = within ? 'model.connector' : 'multi_modal_projector', decoder = decoderPath(traced);
  const given = (path: string): Node | undefined => traced.arguments.get(path)?.[0];
  found.push(['vision.patch_embed', values.get(`${tower}.embeddings.patch_embedding`), false], ['vision.embeddings', values.get(`${tower}.embeddings`), false]);
  found.push(['vision.hidden.0', given(`${tower}.encoder`) ?? given(`${tower}.encoder.layers.0`), false]);
  for (const [i, n] of layersOf(values, `${tower}.encoder.layers`)) found.push([`vision.hidden.${i + 1}`, n, false]);
  found.push(['vision.features', values.get(within ? tower : 'vision_tower'), false]);
  found.push(['projector.linear_1', values.get(`${projector}.linear_1`), false], ['projector.output', values.get(projector), false]);
  found.push(['text_embeds', values.get(`${decoder}.embed_tokens`), false], ['inputs_embeds', given(`${decoder}.layers.0`), false]);
  for (const [i, n] of layersOf(values, `${decoder}.layers`)) found.push([`hidden.${i}`, n, true]);
  found.push(['final_norm', values.get(`${decoder}.norm`), true], ['logits', values.get('lm_head') ?? values.get('language_model.lm_head'), true]);
  return found.flatMap(([tensor, node, own]) => (node ? [[tensor, node, own] as [string, Node, boolean]] : []));
}

/** What the modules `PATH.0`, `PATH.1`, … gave. */
function layersOf(values: ReadonlyMap<string, Node>, path: string): [number, Node][] {
  const out: [number, Node][] = [];
  for (let i = 0, n; (n = values.get(`${path}.${i}`)); i++) out.push([i, n]);
  return out;
}
