/** Quantisation of weights: which matrices a bundle stores in fewer bits. Their leaves say so from here on. */
import { partOf } from '../compiler/cost/parts.ts';
import { GraphBuilder, copyNode } from '../compiler/ir/builder.ts';
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { leafName } from '../compiler/ir/graph.ts';
import { expertMatrices } from '../compiler/ir/ops/experts.ts';
import { suggest } from '../compiler/ir/spelling.ts';
import { printType } from '../compiler/ir/types.ts';
import type { WeightFormat } from '../compiler/ir/weight-format.ts';
import { isQuantised, printWeightFormat } from '../compiler/ir/weight-format.ts';
import type { Pass } from './pass.ts';

/** Weights whose names hold `pattern` as a run of whole path components (`*` stands for any one) are stored in `format`. */
export interface KeepRule { readonly pattern: string; readonly format: WeightFormat }
export interface QuantiseRules {
  /**
   * Format of the decoder's products. Embedding tables, the head, the projector and the vision tower keep the compilation's own
   * dtype: they are a small part of the bytes, and what they lose is lost for every token or every picture.
   */
  readonly format: WeightFormat;
  /** Exceptions either way; the first that fits counts. */
  readonly keep: readonly KeepRule[];
}

/** True if the name has the pattern's components in a row: `layers.0` fits `model.layers.0.mlp.up_proj.weight`, not `layers.01`. */
export function matchesPath(name: string, pattern: string): boolean {
  const have = name.split('.'), want = pattern.split('.');
  return have.some((_, i) => want.every((w, j) => w === '*' ? have[i + j] !== undefined : w === have[i + j]));
}

export const quantise = (rules: QuantiseRules): Pass => ({
  name: 'quantise',
  proves: 'Changes what the model computes: chosen weight matrices are rounded to fewer bits, each element by at most half a step of its scale.',
  run: (g) => {
    const products = new Map<string, boolean>();
    for (const n of g.nodes) {
      const matrices = n.op === 'linear' || n.op === 'embed' ? [n.inputs[1]!] : n.op === 'expert_linear' ? expertMatrices(n) : [];
      // A matrix that is also a table, or that another part reads too, is not the decoder's alone.
      for (const w of matrices) if (w.op === 'weight') products.set(leafName(w), (products.get(leafName(w)) ?? true) && n.op !== 'embed' && partOf(n) === 'decoder');
    }
    const formats = new Map<Node, WeightFormat>();
    for (const [name, w] of g.weights) {
      const rule = rules.keep.find((r) => matchesPath(name, r.pattern));
      if (w.type.dims.length < 2) continue;
      if (rule && isQuantised(rule.format) && !products.has(name))
        throw new UserError(`The weight '${name}' (${printType(w.type)}) cannot be stored as ${printWeightFormat(rule.format)}: only matrices of linear layers and embedding tables can. Give it f16 or f32.`);
      const format = rule?.format ?? (products.get(name) ? rules.format : undefined);
      if (format) formats.set(w, format);
    }
    if (![...formats.values()].some(isQuantised)) throw new UserError(`No weight is left to quantise as ${printWeightFormat(rules.format)}: the rules keep every matrix in another format.`);
    return withFormats(g, formats);
  },
});

/**
 * That every rule is about some weight of the model as its author wrote it (passes may find that nobody reads it).
 * @throws UserError for a pattern that fits no weight, or vectors alone where it asks for fewer bits.
 */
export function checkRules(g: Graph, { keep }: QuantiseRules): void {
  for (const { pattern, format } of keep) {
    const fitting = [...g.weights].filter(([name]) => matchesPath(name, pattern));
    if (!fitting.length) {
      const components = new Set([...g.weights.keys()].flatMap((name) => name.split('.').filter((c) => !/^\d+$/.test(c) && c !== 'weight' && c !== 'bias')));
      throw new UserError(`No weight has '${pattern}' in its name, so no format can be given to it.${suggest(pattern, components, 'Names are made of')}`);
    }
    if (isQuantised(format) && fitting.every(([, w]) => w.type.dims.length < 2))
      throw new UserError(`The pattern '${pattern}' fits vectors alone (such as '${fitting[0]![0]}'), and vectors are f32 in every bundle: none can be stored as ${printWeightFormat(format)}.`);
  }
}

/** The graph with other weight leaves. */
function withFormats(g: Graph, formats: ReadonlyMap<Node, WeightFormat>): Graph {
  const b = GraphBuilder.like(g), done = new Map<Node, Node>(), get = (n: Node): Node => done.get(n) ?? n;
  for (const n of g.inputs.values()) b.leaf(b.inputs, n);
  for (const n of g.states.values()) b.leaf(b.states, n);
  for (const n of g.weights.values()) {
    const format = formats.get(n);
    done.set(n, b.leaf(b.weights, format ? { ...n, attrs: { ...n.attrs, format: printWeightFormat(format) } } : n));
  }
  for (const n of g.nodes) done.set(n, copyNode(b, n, n.inputs.map(get)));
  for (const [name, n] of g.outputs) b.output(name, get(n));
  return b.finish();
}
