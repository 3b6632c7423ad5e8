/** A traced model as the graphs that become kernels, and how its weights lie in a bundle: what `compile` lowers and `flops` measures. */
import type { EntryName } from '../runtime/manifest.ts';
import { byTile, byTileName } from '../passes/by-tile.ts';
import { fuse } from '../passes/fuse.ts';
import { holdStates, holdStatesName } from '../passes/hold-states.ts';
import { firstStep, optimise, stageProgram } from '../passes/pipeline.ts';
import type { QuantiseRules } from '../passes/quantise.ts';
import { checkRules, quantise } from '../passes/quantise.ts';
import { defaultBindingLimit } from './bundle/binding-limit.ts';
import { Packing } from './bundle/packing.ts';
import { wantWeights } from './bundle/target.ts';
import { GraphBuilder, rewrite } from './ir/builder.ts';
import type { Graph } from './ir/graph.ts';
import { program } from './ir/program.ts';
import type { StateFormatKind } from './ir/state-format.ts';
import type { WeightFormat } from './ir/weight-format.ts';
import { formatOf } from './ir/weight-format.ts';

/** How a bundle stores numbers. */
export interface StorageOptions {
  /** Of the weight matrices that are not quantised. Vectors, activations and sums are f32. */
  readonly dtype: 'f32' | 'f16';
  /** Which matrices are stored in fewer bits. */
  readonly quantise?: QuantiseRules;
  /** How keys and values are held for later steps; f32 by default. */
  readonly kv?: StateFormatKind;
  /** Most bytes of a buffer that a kernel may see at once: what every WebGPU device allows, unless given. */
  readonly bindingLimit?: number;
}
export type Entries = Readonly<Partial<Record<EntryName, Graph>>>;

/** The fused graphs of a model whose output `logits` is the last text row, by entry point. */
export function entriesOf(traced: Graph, { quantise: rules, kv = 'f32' }: Pick<StorageOptions, 'quantise' | 'kv'>, onPass?: (pass: string, graph: Graph) => void): Entries {
  if (rules) checkRules(traced, rules);
  const whole = optimise(withNextToken(traced), onPass, rules ? [quantise(rules)] : []);
  const steps = stageProgram(whole, onPass), first = firstStep(whole, steps, onPass);
  const cut = byTile(program([...steps.graphs.values(), ...(first ? [first] : [])]));
  if (cut.graphs.has('tile')) for (const name of ['tile', 'vision', 'first']) if (cut.graphs.has(name)) onPass?.(`${name}: ${byTileName}`, cut.graphs.get(name)!);
  const staged = holdStates(cut, kv);
  if (staged !== cut) for (const [name, g] of staged.graphs) onPass?.(`${name}: ${holdStatesName}`, g);
  const entries: Partial<Record<EntryName, Graph>> = {};
  for (const [name, g] of staged.graphs) {
    const fused = fuse.run(g);
    onPass?.(`${name}: ${fuse.name}`, fused);
    entries[name as EntryName] = fused;
  }
  return entries;
}

/** How the weights of all entry points lie, and the format of each by the graph's name of it. */
export function packingOf(entries: Entries, { dtype, bindingLimit = defaultBindingLimit }: Pick<StorageOptions, 'dtype' | 'bindingLimit'>): { readonly packing: Packing; readonly formats: ReadonlyMap<string, WeightFormat> } {
  const graphs = Object.values(entries), formats = new Map(graphs.flatMap((g) => [...g.weights]).map(([name, n]) => [name, formatOf(n, { kind: dtype })]));
  const packing = new Packing((name) => formats.get(name)!, { limit: bindingLimit });
  wantWeights(packing, graphs);
  return { packing, formats };
}

/** Adds the output `next`: the token with the largest logit. */
function withNextToken(g: Graph): Graph {
  const logits = g.outputs.get('logits');
  if (!logits || g.outputs.has('next')) return g;
  const b = GraphBuilder.like(g);
  const same = rewrite(g, () => undefined);
  for (const [map, leaves] of [[b.inputs, same.inputs], [b.weights, same.weights], [b.states, same.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  b.nodes.push(...same.nodes);
  for (const [name, n] of same.outputs) b.output(name, n);
  b.output('next', b.op('argmax', [same.outputs.get('logits')!], {}, { path: logits.path }));
  return b.finish();
}
