/** The whole way: a traced model through the passes, staging and fusion to the content of a bundle. */
import type { EntryName, Manifest, Tiling } from '../runtime/manifest.ts';
import { schemaVersion } from '../runtime/manifest.ts';
import { defaultBindingLimit } from './bundle/binding-limit.ts';
import type { Checkpoint } from './bundle/checkpoint.ts';
import type { DeviceClass, Made, UsualPrompt } from './bundle/families.ts';
import { familiesFor, usualPrompt } from './bundle/families.ts';
import { weightsOf } from './bundle/packed-weights.ts';
import type { QuantisationReport } from './bundle/quantisation-report.ts';
import { QuantisationLog } from './bundle/quantisation-report.ts';
import type { BuiltTarget, TargetOptions } from './bundle/target.ts';
import { buildTarget } from './bundle/target.ts';
import type { BundleContent } from './bundle/write.ts';
import { dispatchBytes, dispatchFlops } from './bundle/flops.ts';
import { compiled as compiledStorage } from './cost/storage.ts';
import { rowsPerPicture } from './dsl/image-layout.ts';
import type { StorageOptions } from './entries.ts';
import { entriesOf, packingOf } from './entries.ts';
import { UserError } from './ir/errors.ts';
import type { Graph } from './ir/graph.ts';
import { keptShare } from './ir/ops/keep.ts';
import { printMaskExpr, readsFuture, staysInImage } from './ir/mask/index.ts';
import type { Sequence } from './ir/rows.ts';
import type { WeightFormat } from './ir/weight-format.ts';
import { formatOf, printWeightFormat, rowBytes } from './ir/weight-format.ts';
import type { Arithmetic } from './schedule/product-shape.ts';
import type { ScheduleTable } from './schedule/table.ts';
import { version } from './version.ts';

export interface CompileOptions extends StorageOptions {
  /** What to call the model; `model_type` of its config; which variant of masks and row rules this is. */
  readonly name: string;
  readonly type: string;
  readonly variant: string;
  /** Most image rows and text rows of a conversation. */
  readonly maxVisual: number;
  readonly maxText: number;
  /** Checkpoint to take weights and tokenizer from, and its own name of each parameter. */
  readonly checkpoint?: { readonly files: Pick<Checkpoint, 'folder' | 'source'>; readonly nameOf: (parameter: string) => string };
  /** How pictures of any size are cut, for models that see them as several pictures. */
  readonly tiling?: Tiling;
  readonly imageToken?: { readonly text: string; readonly id: number };
  readonly stopTokens?: readonly number[];
  /** Device classes to compile for; all by default. */
  readonly targets?: readonly DeviceClass[];
  /** The coarsest operands that products may be computed with; by default no coarser than their weights. `int8` changes results. */
  readonly arithmetic?: Arithmetic;
  /** Measured schedules; where they are others than the defaults, their adapters get programs of their own. */
  readonly tables?: readonly ScheduleTable[];
  /** The prompt that schedules are chosen for, as far as a session has room for it. */
  readonly usual?: UsualPrompt;
  /** Called for the kernels of every piece of work whose schedule was chosen. */
  readonly onMade?: (made: Made, target: string) => void;
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
  /** Bytes of all weights in the bundle, rows that are stored twice included; its files have safetensors' headers besides. */
  readonly weightBytes: bigint;
  /** What quantisation cost and saved; errors once the weights have been written. Absent if nothing was to be quantised. */
  readonly quantisation?: () => QuantisationReport;
}

/** Compiles a traced graph whose output `logits` is the last text row. */
export function compile(traced: Graph, options: CompileOptions): Compiled {
  refuseChoices(traced, options.variant);
  const entries = entriesOf(traced, options, options.onPass), tiled = entries.tile !== undefined;
  const plain = { kind: options.dtype }, log = new QuantisationLog(), weights = new Map(Object.values(entries).flatMap((g) => [...g.weights]));
  const { packing, formats } = packingOf(entries, options), bindingLimit = options.bindingLimit ?? defaultBindingLimit;
  const [main, ...towers] = orderSequences(traced);
  const capacities = { ...Object.fromEntries(main!.kinds.map((k) => [k.name, k.media ? options.maxVisual : options.maxText])), ...towerCapacities(towers, options) };
  const { visual, text } = options.usual ?? usualPrompt, prompt = { visual: Math.min(visual, options.maxVisual), text: Math.min(text, options.maxText) };
  const choosing = { ...(options.targets ? { devices: options.targets } : {}), tiled, tables: options.tables ?? [], prompt, ...(options.arithmetic ? { arithmetic: options.arithmetic } : {}), ...(options.onMade ? { onMade: options.onMade } : {}) };
  const targets = distinct(familiesFor([...weights.values()].filter((n) => n.type.dims.length > 1).map((n) => formatOf(n, plain)), [main!, ...towers], choosing), (t) => buildTarget({ entries, capacities, tiles: mostTiles(options), packing, bindingLimit, flops: dispatchFlops, bytes: dispatchBytes(compiledStorage[options.dtype]) }, t));
  const kernels = new Map(targets.flatMap((t) => [...t.files]));
  const { checkpoint } = options;
  return {
    entries, targets, formats, weightBytes: [...packing.tensors.values()].reduce((sum, p) => sum + BigInt(p.shape[0]! * rowBytes(p.format, p.shape[1] ?? 1)), 0n), ...(options.quantise ? { quantisation: () => log.report(Object.values(entries), plain) } : {}),
    content: {
      manifest: manifestOf(traced, [main!, ...towers], capacities, targets, options),
      kernels,
      ...(checkpoint ? { weights: weightsOf(packing.tensors.values(), (tensor) => checkpoint.files.source(checkpoint.nameOf(tensor)), log.note), checkpoint: checkpoint.files.folder } : {}),
    },
  };
}

/** Bytes of the weights in a bundle of this storage: lowered, since which rows lie together depends on what kernels bind. */
export const bundledWeights = (traced: Graph, storage: StorageOptions): bigint =>
  compile(traced, { ...storage, name: '', type: '', variant: '', maxVisual: 1, maxText: 1, targets: ['software'] }).weightBytes;

/** Targets that refine their class's plain one only where they differ from it. */
function distinct(options: readonly TargetOptions[], build: (o: TargetOptions) => BuiltTarget): BuiltTarget[] {
  const program = ({ target: { name: _n, adapter: _a, needs: _s, ...rest } }: BuiltTarget): string => JSON.stringify(rest);
  const all = options.map((o) => ({ refines: o.refines, built: build(o) })), plain = new Set(all.filter((t) => !t.refines).map((t) => program(t.built)));
  return all.filter((t) => !t.refines || !plain.has(program(t.built))).map((t) => t.built);
}

/** No kernel chooses rows yet. Rows of which none goes on need no choice. */
function refuseChoices(g: Graph, variant: string): void {
  const n = g.nodes.find((x) => x.op === 'keep' && keptShare(x.attrs).num > 0n);
  if (n) throw new UserError(`The variant '${variant}' cannot be compiled, since it chooses at run time which '${String(n.attrs['kind'])}' rows go on and no kernel chooses rows yet; what it costs can be computed with eemllm flops.`, n.where);
}

const mostTiles = ({ tiling }: CompileOptions): number => (tiling?.rule === 'any_resolution' ? tiling.most : 1);

/** Most rows of the towers' kinds that a picture's size decides. */
function towerCapacities(towers: readonly Sequence[], { tiling }: CompileOptions): Record<string, number> {
  const open = towers.flatMap((s) => s.kinds.filter((k) => !k.count.isConstant));
  if (open.length && tiling?.rule !== 'native_resolution') throw new UserError(`The rows of the kind '${open[0]!.name}' are counted by the picture, and nothing says how many there may be. Give the model's class a rule for pictures in their own shape (static tiling).`);
  return Object.fromEntries(open.map((k) => [k.name, (tiling as Extract<Tiling, { rule: 'native_resolution' }>).most]));
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
      name: options.name, type: options.type, variant: options.variant, dtype: options.dtype, ...(options.quantise ? { quantised: printWeightFormat(options.quantise.format) } : {}), ...(options.kv && options.kv !== 'f32' ? { kv: options.kv } : {}),
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
    kind: kind.name, lookahead, input: { source: input.type.dims.length === 3 ? 'pixels' : input.type.rows!.sequence === main ? 'values' : 'patches', shape: [...input.type.dims] },
    ...(rows === undefined ? {} : { rowsPerImage: rows }), ...(options.tiling ? { tiling: options.tiling } : {}), ...(options.imageToken ? { imageToken: options.imageToken } : {}),
  } };
}
