/** The whole way: a traced model through the passes, staging and fusion to the content of a bundle. */
import type { EntryName, Manifest } from '../runtime/manifest.ts';
import { schemaVersion } from '../runtime/manifest.ts';
import { fuse } from '../passes/fuse.ts';
import { optimise, stageProgram } from '../passes/pipeline.ts';
import type { Checkpoint } from './bundle/checkpoint.ts';
import type { DeviceClass } from './bundle/families.ts';
import { familiesFor } from './bundle/families.ts';
import { packedTensor } from './bundle/pack-data.ts';
import { Packing } from './bundle/packing.ts';
import type { BuiltTarget } from './bundle/target.ts';
import { buildTarget, wantWeights } from './bundle/target.ts';
import type { BundleContent } from './bundle/write.ts';
import { dispatchFlops } from './bundle/flops.ts';
import { GraphBuilder, rewrite } from './ir/builder.ts';
import type { Graph } from './ir/graph.ts';
import { printMaskExpr, readsFuture, staysInImage } from './ir/mask/index.ts';
import { rowCount } from './ir/rows.ts';
import type { Sequence } from './ir/rows.ts';
import { version } from './version.ts';

export interface CompileOptions {
  /** What to call the model; `model_type` of its config; which variant of masks and row rules this is. */
  readonly name: string;
  readonly type: string;
  readonly variant: string;
  /** Storage of the weight matrices. Vectors, activations and sums are f32. */
  readonly dtype: 'f32' | 'f16';
  /** Most image rows and text rows of a conversation. */
  readonly maxVisual: number;
  readonly maxText: number;
  /** Checkpoint to take weights and tokenizer from, and its own name of each parameter. */
  readonly checkpoint?: { readonly files: Checkpoint; readonly nameOf: (parameter: string) => string };
  readonly imageToken?: { readonly text: string; readonly id: number };
  readonly stopTokens?: readonly number[];
  /** Device classes to compile for; all by default. */
  readonly targets?: readonly DeviceClass[];
  /** Called after every pass. */
  readonly onPass?: (pass: string, graph: Graph) => void;
}

export interface Compiled {
  readonly content: BundleContent;
  /** Fused graphs by entry point. */
  readonly entries: Readonly<Partial<Record<EntryName, Graph>>>;
  readonly targets: readonly BuiltTarget[];
}

/** Compiles a traced graph whose output `logits` is the last text row. */
export function compile(traced: Graph, options: CompileOptions): Compiled {
  const staged = stageProgram(optimise(withNextToken(traced), options.onPass), options.onPass);
  const entries: Partial<Record<EntryName, Graph>> = {};
  for (const [name, g] of staged.graphs) {
    const fused = fuse.run(g);
    options.onPass?.(`${name}: ${fuse.name}`, fused);
    entries[name as EntryName] = fused;
  }
  const packing = new Packing(options.dtype === 'f16' ? 2 : 4);
  wantWeights(packing, Object.values(entries));
  const [main, ...towers] = orderSequences(traced);
  const capacities = Object.fromEntries(main!.kinds.map((k) => [k.name, k.media ? options.maxVisual : options.maxText]));
  const targets = familiesFor(options.dtype, [main!, ...towers], options.targets).map((t) => buildTarget({ entries, capacities, packing, flops: dispatchFlops }, t));
  const kernels = new Map(targets.flatMap((t) => [...t.files]));
  const { checkpoint } = options;
  return {
    entries, targets,
    content: {
      manifest: manifestOf(traced, [main!, ...towers], capacities, targets, options),
      kernels,
      tensors: checkpoint ? [...packing.tensors.values()].map((p) => packedTensor(p, p.shape.length === 1 ? 'F32' : options.dtype === 'f16' ? 'F16' : 'F32', checkpoint.files, checkpoint.nameOf)) : [],
      ...(checkpoint ? { checkpoint: checkpoint.files.folder } : {}),
    },
  };
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

/** The sequence of the prompt first, then those of the towers. */
function orderSequences(g: Graph): Sequence[] {
  const all = [...g.sequences.values()];
  return [...all.filter((s) => s.kinds.some((k) => !k.media)), ...all.filter((s) => s.kinds.every((k) => k.media))];
}

function manifestOf(g: Graph, sequences: readonly Sequence[], capacities: Readonly<Record<string, number>>, targets: readonly BuiltTarget[], options: CompileOptions): BundleContent['manifest'] {
  const logits = g.outputs.get('logits')!;
  return {
    schema: schemaVersion, generator: `eemllm ${version}`,
    model: {
      name: options.name, type: options.type, variant: options.variant, dtype: options.dtype,
      mask: Object.fromEntries([...g.masks.values()].map((m) => [m.name, printMaskExpr(m.expr)])),
    },
    sequences: sequences.map((s) => ({ name: s.name, kinds: s.kinds.map((k) => ({ name: k.name, media: k.media, ...(k.count.isConstant ? {} : { dim: k.count.variables[0]! }), capacity: k.count.constant() ?? capacities[k.name] ?? 0 })) })),
    ...mediaOf(g, sequences[0]!, options),
    vocabulary: logits.type.dims[0]!, stopTokens: [...(options.stopTokens ?? [])], targets: targets.map((t) => t.target),
  };
}

/** How images enter: the input that is known with the image, and how many rows of the prompt one of them takes. */
function mediaOf(g: Graph, main: Sequence, options: CompileOptions): Pick<Manifest, 'media'> {
  const input = [...g.inputs.values()].find((n) => n.attrs['time'] === 'image'), kind = main.kinds.find((k) => k.media);
  if (!input || !kind) return {};
  const place = g.nodes.find((n) => n.op === 'as_rows' && n.type.rows!.sequence === main);
  const rows = place && rowCount(place.inputs[0]!.type.rows!).constant();
  const kinds = main.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
  const lookahead = [...g.masks.values()].some((m) => m.sequence === main && main.kinds.some((q) => main.kinds.some((k) => k.media && !(q.name === k.name && staysInImage(m.expr, k.name, kinds)) && readsFuture(m.expr, q.name, k.name, kinds))));
  return { media: {
    kind: kind.name, lookahead, input: { source: input.type.dims.length === 3 ? 'pixels' : 'values', shape: [...input.type.dims] },
    ...(rows === undefined ? {} : { rowsPerImage: rows }), ...(options.imageToken ? { imageToken: options.imageToken } : {}),
  } };
}
