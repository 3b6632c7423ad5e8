/** One target of a bundle: all entry points of a program as dispatches of kernels over buffers, for one class of device. */
import { createHash } from 'node:crypto';
import type { Graph, Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { hasText } from '../ir/layout.ts';
import { Poly } from '../ir/poly.ts';
import type { Sequence } from '../ir/rows.ts';
import { rowCount, rowSet } from '../ir/rows.ts';
import { bytes, dtypeBytes, rowElements } from '../ir/types.ts';
import { stateFormatOf, stateRowBytes } from '../ir/state-format.ts';
import { rowBytes } from '../ir/weight-format.ts';
import type { BufferDecl, Dispatch, Entry, EntryName, GridDecl, KernelDecl, Target } from '../../runtime/manifest.ts';
import type { MemoryPlan } from '../schedule/memory.ts';
import { planMemory } from '../schedule/memory.ts';
import type { ScheduleTable } from '../schedule/table.ts';
import type { GridSize, Kernel } from '../wgsl/kernel.ts';
import { checkBindings } from './binding-limit.ts';
import type { Families } from './families.ts';
import type { LowerContext, Step } from './lower.ts';
import { workOf } from './executed.ts';
import { expertWeights } from './lower-experts.ts';
import { lower } from './lower.ts';
import { vectorLists, weightBlocks } from './node-weights.ts';
import { lowerSampling } from './lower-sampling.ts';
import type { Capacities, EntryDims, Range } from './operands.ts';
import { Operands, capacityOf, inputBuffer, stateSlots, tilesDim } from './operands.ts';
import type { Packing } from './packing.ts';

export interface TargetOptions {
  readonly name: string;
  readonly device: Target['device'];
  readonly features: readonly string[];
  readonly families: Families;
  /** It is there to be better than the plain target of its class, and nothing if it is the same. */
  readonly refines?: boolean;
  /** The table whose schedules these are, and whether they are legal within WebGPU's default limits (asked when all are chosen). */
  readonly table?: ScheduleTable;
  readonly modest?: () => boolean;
}
/** What a target is made from: fused graphs by entry point, and how many rows a session may hold. */
export interface TargetInput {
  readonly entries: Readonly<Partial<Record<EntryName, Graph>>>;
  readonly capacities: Capacities;
  /** Most tiles of an image, for towers that run tile by tile. */
  readonly tiles?: number;
  readonly packing: Packing;
  /** Most bytes of a buffer that a kernel may see; any number by default. */
  readonly bindingLimit?: number;
  /** FLOPs of a node, a polynomial in the dims of its entry point. */
  readonly flops: (n: Node) => Poly;
  /** Bytes that it moves at least. */
  readonly bytes?: (n: Node) => Poly;
}
export interface BuiltTarget {
  readonly target: Target;
  /** WGSL by file name. */
  readonly files: ReadonlyMap<string, string>;
  readonly plans: ReadonlyMap<EntryName, { readonly graph: Graph; readonly plan: MemoryPlan; readonly steps: readonly Step[] }>;
}

/** Runs of text and images that a conversation may alternate between. */
const mostSpans = 256;

/** Decode computes one new text row and no new media rows. */
export const entryDims = (name: EntryName, sequences: Iterable<Sequence>): EntryDims => {
  if (name !== 'decode') return {};
  const dims: Record<string, number> = {};
  for (const s of sequences) for (const k of s.kinds) for (const v of k.count.variables) dims[v] = k.media ? 0 : 1;
  return dims;
};

/** Asks the packing for every weight that the graphs read. */
export function wantWeights(packing: Packing, graphs: Iterable<Graph>): void {
  const list = [...graphs];
  for (const g of list) for (const n of g.nodes) {
    if (n.op === 'fused' && n.attrs['family'] === 'matmul') packing.want(weightBlocks(n), n.body!.nodes.find((m) => m.op === 'linear')!.inputs[1]!.type.dims[1]!);
    if (n.op === 'fused' && n.attrs['family'] === 'experts') for (const w of expertWeights(n)) packing.want(w.blocks, w.columns);
    if (n.op === 'embed') { const t = n.inputs[1]!; packing.want([{ tensors: [leafName(t)], rows: t.type.dims[0]! }], t.type.dims[1]!); }
    for (const list of vectorLists(n)) packing.want(list);
  }
}

export function buildTarget(input: TargetInput, options: TargetOptions): BuiltTarget {
  const { capacities, packing } = input, { families } = options;
  const graphs = Object.values(input.entries);
  const sequences = [...new Map(graphs.flatMap((g) => [...g.sequences])).values()];
  const tiles = input.tiles ?? 1, sizes = { ...dimCapacities(sequences, capacities), [tilesDim]: tiles };
  const buffers = new Map<string, BufferDecl>();
  const need = (name: string, decl: () => BufferDecl, writable = false): Range => {
    if (!buffers.has(name)) buffers.set(name, decl());
    return { buffer: name, offset: 0, bytes: buffers.get(name)!.bytes, writable };
  };
  const ropeIds = new Map<string, string>();

  const context = (graph: Graph, plan: MemoryPlan, dims: EntryDims): LowerContext => ({
    graph, plan, capacities, entryDims: dims, sizes: { ...sizes, ...dims }, packing, families,
    weightRange: (view, columns) => {
      const packed = packing.tensors.get(view.name)!;
      const row = rowBytes(packed.format, columns ?? 1), tensorBytes = packed.shape[0]! * row;
      const range = need(view.name, () => ({ kind: 'weight', bytes: tensorBytes, format: packed.format, parts: [{ tensor: view.name, offset: 0, bytes: tensorBytes }] }));
      return { ...range, offset: view.firstRow * row, bytes: Math.ceil((view.rows * row) / 4) * 4 };
    },
    leafRange: (n) => {
      if (n.op === 'state') {
        const rows = n.type.rows!, format = stateFormatOf(n), rowBytes = format.kind === 'f32' ? rowElements(n.type) * dtypeBytes[n.type.dtype] : stateRowBytes(n);
        return need(`state:${leafName(n)}`, () => ({ kind: 'state', bytes: stateSlots(rows, capacities, tiles) * rowBytes, rowBytes, sequence: rows.sequence.name, kinds: [...rows.kinds], ...(format.kind === 'f32' ? {} : { format }) }), true);
      }
      if (n.op === 'weight') throw new Error(`Weight '${leafName(n)}' is read as a value with rows.`);
      return need(inputBuffer(n), () => ({ kind: 'input', source: inputSource(graph, n), input: leafName(n), bytes: Math.max(16, bytes(n.type).at(sizes)) }));
    },
    ropeRange: (frequencies) => {
      const key = frequencies.join();
      if (!ropeIds.has(key)) ropeIds.set(key, `rope:${ropeIds.size}`);
      const positions = sequences.reduce((m, s) => Math.max(m, s.kinds.reduce((n, k) => n + capacityOf(s, k.name, capacities), 0)), 0);
      return need(ropeIds.get(key)!, () => ({ kind: 'rope', positions, frequencies: [...frequencies], bytes: positions * frequencies.length * 8 }));
    },
    scratchRange: (size, name = 'scratch') => {
      const old = buffers.get(name);
      if (!old || old.bytes < size) buffers.set(name, { kind: 'arena', bytes: size });
      return { buffer: name, offset: 0, bytes: size, writable: true };
    },
    dataRange: (source, sequence) => {
      if (source === 'draw') return need('draw', () => ({ kind: 'input', source, bytes: 16 }));
      if (source === 'dims') return need('dims', () => ({ kind: 'input', source, bytes: Math.ceil(families.dims.length / 4) * 16 }));
      const s = sequences.find((x) => x.name === sequence)!;
      const rows = s.kinds.reduce((n, k) => n + capacityOf(s, k.name, capacities), 0);
      return need(`${source}:${sequence}`, () => ({ kind: 'input', source, sequence: s.name, bytes: source === 'rows' ? Math.max(1, rows) * 16 : mostSpans * 32 }));
    },
  });

  const plans = new Map<EntryName, { graph: Graph; plan: MemoryPlan; steps: readonly Step[]; sampling: readonly Step[] }>();
  let arena = 0;
  for (const [name, graph] of Object.entries(input.entries) as [EntryName, Graph][]) {
    const dims = entryDims(name, graph.sequences.values()), plan = planMemory(graph, { ...sizes, ...dims }, dims);
    arena = Math.max(arena, plan.bytes);
    const ctx = context(graph, plan, dims);
    plans.set(name, { graph, plan, steps: lower(ctx), sampling: lowerSampling(ctx) });
  }
  if (arena) buffers.set('arena', { kind: 'arena', bytes: arena });

  const kernels: Record<string, KernelDecl> = {}, files = new Map<string, string>(), ids = new Map<Kernel['wgsl'], string[]>();
  const kernelId = (k: Kernel): string => {
    const grid = k.grid.map(gridDecl) as [GridDecl, GridDecl, GridDecl], hash = createHash('sha256').update(k.wgsl).digest('hex');
    // One text may run over several grids (another number of rows), so a kernel is a text and its grid.
    const known = ids.get(k.wgsl)?.find((id) => JSON.stringify(kernels[id]!.grid) === JSON.stringify(grid));
    if (known) return known;
    const same = ids.get(k.wgsl) ?? [];
    const id = `${k.family}-${hash.slice(0, 12)}${same.length ? `-${same.length + 1}` : ''}`, file = `kernels/${k.family}-${hash.slice(0, 12)}.wgsl`;
    kernels[id] = { file, sha256: hash, family: k.family, features: [...k.features], bindings: k.bindings.map((b) => b.access), grid, ...workOf(k) };
    files.set(file, k.wgsl);
    ids.set(k.wgsl, [...same, id]);
    return id;
  };

  const entries: Partial<Record<EntryName, Entry>> = {};
  for (const [name, { graph, plan, steps, sampling }] of plans) {
    const dims = entryDims(name, graph.sequences.values());
    const dispatch = (s: Step): Dispatch => {
      const rows = s.node.type.rows && s.node.op !== 'store' ? workRows(s.node) : undefined;
      return {
        label: s.label, path: s.node.path, kernel: kernelId(s.kernel),
        bind: s.bind.map((r) => ({ buffer: r.buffer, offset: r.offset, bytes: r.bytes })),
        rows: s.main && rows ? Object.fromEntries(rows.kinds.map((k) => [k, (rows.last ? Poly.of(1) : rowCount(rowSet(rows.sequence, [k]))).substitute(dims).toString()]).filter(([, p]) => p !== '0')) : {},
        flops: s.main ? input.flops(s.node).substitute(dims).toString() : '0', ...(s.main && input.bytes ? { bytes: Poly.sum([s.node, ...(s.together ?? [])].map(input.bytes)).substitute(dims).toString() } : {}), ...(s.attention ? { attention: s.attention } : {}), ...(s.few && s.main ? { few: { rows: s.few.rows, kernel: kernelId(s.few.kernel) } } : {}),
      };
    };
    const outputs: Entry['outputs'] = {};
    for (const [key, n] of graph.outputs) {
      const o = new Operands(plan, capacities, dims, context(graph, plan, dims).leafRange, families.heldAs);
      const place = plan.places.get(n);
      if (!place || !('bytes' in place.in)) continue;
      outputs[key] = { buffer: 'arena', offset: place.in.offset, row: o.known(place.offset).toString(), rows: n.type.rows ? o.count(n.type.rows).toString() : '1', width: rowElements(n.type), dtype: n.type.dtype as 'f32' };
    }
    entries[name] = { dispatches: steps.map(dispatch), ...(sampling.length ? { sampling: sampling.map(dispatch) } : {}), outputs };
  }
  const target: Target = {
    name: options.name, features: [...new Set([...options.features, ...Object.values(kernels).flatMap((k) => k.features)])], device: options.device, dims: [...families.dims],
    ...(options.table ? forAdapter(options.table, options.modest?.() ?? false, Object.values(kernels)) : {}),
    buffers: Object.fromEntries([...buffers].sort(([a], [b]) => (a < b ? -1 : 1))), kernels, entries: entries as Target['entries'],
  };
  checkBindings(target, input.bindingLimit ?? Infinity);
  return { target, files, plans };
}

/** Whom a target with measured schedules is for, and what these need. */
function forAdapter(table: ScheduleTable, modest: boolean, kernels: readonly KernelDecl[]): Pick<Target, 'adapter' | 'needs'> {
  const uses = (feature: string): boolean => kernels.some((k) => k.features.includes(feature));
  const needs: NonNullable<Target['needs']> = {
    ...(modest ? {} : { limits: { ...table.limits } }),
    ...(uses('subgroups') && table.subgroups ? { subgroups: table.subgroups } : {}),
    ...(uses('chromium-experimental-subgroup-matrix') && table.subgroupMatrix ? { subgroupMatrix: table.subgroupMatrix } : {}),
  };
  return { adapter: { ...table.adapter }, ...(Object.keys(needs).length ? { needs } : {}) };
}

/** Who gives an input: token ids, what an image is, where its patches are, or by which rows of its tiles an image's rows are gathered. */
function inputSource(g: Graph, n: Node): Extract<BufferDecl, { kind: 'input' }>['source'] {
  const gather = g.nodes.find((x) => x.op === 'gather_rows' && x.inputs.includes(n));
  if (gather) return gather.inputs[0] === n ? 'row_map' : 'row_weights';
  if (!hasText(n.type.rows!.sequence) && n.type.dims.length < 2) return n.type.dtype === 'i32' ? 'positions' : 'patches';
  return n.type.dtype === 'i32' ? 'ids' : n.type.dims.length === 3 ? 'pixels' : 'values';
}

/** The rows that a node computes: those of what it makes, also where it writes them into a state. */
function workRows(n: Node) {
  const root = n.op === 'fused' ? n.body!.results[0]! : n;
  return root.op === 'store' ? root.inputs[1]!.type.rows : root.type.rows;
}

const gridDecl = (g: GridSize): GridDecl => {
  if (typeof g === 'number') return g;
  const constant = g.ceil.constant();
  return constant === undefined ? { ceil: g.ceil.toString(), by: g.by } : Math.ceil(constant / g.by);
};

/** Largest value of each dim: new rows and context rows up to the capacity of their kind. */
function dimCapacities(sequences: readonly Sequence[], capacities: Capacities): Record<string, number> {
  const out: Record<string, number> = {};
  for (const s of sequences) for (const k of s.kinds) for (const v of k.count.variables) { out[v] = capacities[k.name] ?? 0; out[`C${v}`] = out[v]!; }
  return out;
}
