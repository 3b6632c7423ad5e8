/** The whole way: a traced model through the passes, staging and fusion to the content of a bundle. */
import type { EntryName, Manifest, Tiling } from '../runtime/manifest.ts';
import { schemaVersion } from '../runtime/manifest.ts';
import { byTile, byTileName } from '../passes/by-tile.ts';
import { fuse } from '../passes/fuse.ts';
import { firstStep, optimise, stageProgram } from '../passes/pipeline.ts';
import type { QuantiseRules } from '../passes/quantise.ts';
import { checkRules, quantise } from '../passes/quantise.ts';
import type { Checkpoint } from './bundle/checkpoint.ts';
import type { DeviceClass } from './bundle/families.ts';
import { familiesFor } from './bundle/families.ts';
import { packedTensor } from './bundle/pack-data.ts';
import { Packing } from './bundle/packing.ts';
import type { QuantisationReport } from './bundle/quantisation-report.ts';
import { QuantisationLog } from './bundle/quantisation-report.ts';
import type { BuiltTarget } from './bundle/target.ts';
import { buildTarget, wantWeights } from './bundle/target.ts';
import type { BundleContent } from './bundle/write.ts';
import { dispatchFlops } from './bundle/flops.ts';
import { rowsPerPicture } from './dsl/image-layout.ts';
import { GraphBuilder, rewrite } from './ir/builder.ts';
import { UserError } from './ir/errors.ts';
import type { Graph } from './ir/graph.ts';
import { keptShare } from './ir/ops/keep.ts';
import { printMaskExpr, readsFuture, staysInImage } from './ir/mask/index.ts';
import { program } from './ir/program.ts';
import type { Sequence } from './ir/rows.ts';
import type { WeightFormat } from './ir/weight-format.ts';
import { formatOf, printWeightFormat } from './ir/weight-format.ts';
import { version } from './version.ts';

export interface CompileOptions {
  /** What to call the model; `model_type` of its config; which variant of masks and row rules this is. */
  readonly name: string;
  readonly type: string;
  readonly variant: string;
  /** Storage of the weight matrices that are not quantised. Vectors, activations and sums are f32. */
  readonly dtype: 'f32' | 'f16';
  /** Which matrices are stored in fewer bits. */
  readonly quantise?: QuantiseRules;
  /** Most image rows and text rows of a conversation. */
  readonly maxVisual: number;
  readonly maxText: number;
  /** Checkpoint to take weights and tokenizer from, and its own name of each parameter. */
  readonly checkpoint?: { readonly files: Checkpoint; readonly nameOf: (parameter: string) => string };
  /** How pictures of any size are cut, for models that see them as several pictures. */
  readonly tiling?: Tiling;
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
  /** Format of every weight, by the graph's name of it. */
  readonly formats: ReadonlyMap<string, WeightFormat>;
  /** What quantisation cost and saved; errors once the weights have been written. Absent if nothing was to be quantised. */
  readonly quantisation?: () => QuantisationReport;
}

/** Compiles a traced graph whose output `logits` is the last text row. */
export function compile(traced: Graph, options: CompileOptions): Compiled {
  refuseChoices(traced, options.variant);
  if (options.quantise) checkRules(traced, options.quantise);
  const whole = optimise(withNextToken(traced), options.onPass, options.quantise ? [quantise(options.quantise)] : []);
  const steps = stageProgram(whole, options.onPass), first = firstStep(whole, steps, options.onPass);
  const staged = byTile(program([...steps.graphs.values(), ...(first ? [first] : [])])), tiled = staged.graphs.has('tile');
  if (tiled) for (const name of ['tile', 'vision', 'first']) if (staged.graphs.has(name)) options.onPass?.(`${name}: ${byTileName}`, staged.graphs.get(name)!);
  const entries: Partial<Record<EntryName, Graph>> = {};
  for (const [name, g] of staged.graphs) {
    const fused = fuse.run(g);
    options.onPass?.(`${name}: ${fuse.name}`, fused);
    entries[name as EntryName] = fused;
  }
  const plain = { kind: options.dtype }, log = new QuantisationLog(), weights = new Map(Object.values(entries).flatMap((g) => [...g.weights]));
  const formats = new Map([...weights].map(([name, n]) => [name, formatOf(n, plain)]));
  const packing = new Packing((name) => formats.get(name)!);
  wantWeights(packing, Object.values(entries));
  const [main, ...towers] = orderSequences(traced);
  const capacities = Object.fromEntries(main!.kinds.map((k) => [k.name, k.media ? options.maxVisual : options.maxText]));
  const targets = familiesFor([...weights.values()].filter((n) => n.type.dims.length > 1).map((n) => formatOf(n, plain)), [main!, ...towers], options.targets, tiled).map((t) => buildTarget({ entries, capacities, tiles: mostTiles(options), packing, flops: dispatchFlops }, t));
  const kernels = new Map(targets.flatMap((t) => [...t.files]));
  const { checkpoint } = options;
  return {
    entries, targets, formats, ...(options.quantise ? { quantisation: () => log.report(Object.values(entries), plain) } : {}),
    content: {
      manifest: manifestOf(traced, [main!, ...towers], capacities, targets, options),
      kernels,
      tensors: checkpoint ? [...packing.tensors.values()].map((p) => packedTensor(p, checkpoint.files, checkpoint.nameOf, log.note)) : [],
      ...(checkpoint ? { checkpoint: checkpoint.files.folder } : {}),
    },
  };
}

/** No kernel chooses rows yet. Rows of which none goes on need no choice. */
function refuseChoices(g: Graph, variant: string): void {
  const n = g.nodes.find((x) => x.op === 'keep' && keptShare(x.attrs).num > 0n);
  if (n) throw new UserError(`The variant '${variant}' cannot be compiled, since it chooses at run time which '${String(n.attrs['kind'])}' rows go on and no kernel chooses rows yet; what it costs can be computed with eemllm flops.`, n.where);
}

const mostTiles = ({ tiling }: CompileOptions): number => (tiling?.rule === 'any_resolution' ? tiling.most : 1);

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
      name: options.name, type: options.type, variant: options.variant, dtype: options.dtype, ...(options.quantise ? { quantised: printWeightFormat(options.quantise.format) } : {}),
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
  const rows = rowsPerPicture(g);
  const kinds = main.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
  const lookahead = [...g.masks.values()].some((m) => m.sequence === main && main.kinds.some((q) => main.kinds.some((k) => k.media && !(q.name === k.name && staysInImage(m.expr, k.name, kinds)) && readsFuture(m.expr, q.name, k.name, kinds))));
  return { media: {
    kind: kind.name, lookahead, input: { source: input.type.dims.length === 3 ? 'pixels' : 'values', shape: [...input.type.dims] },
    ...(rows === undefined ? {} : { rowsPerImage: rows }), ...(options.tiling ? { tiling: options.tiling } : {}), ...(options.imageToken ? { imageToken: options.imageToken } : {}),
  } };
}
