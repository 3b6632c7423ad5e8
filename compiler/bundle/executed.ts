/**
 * The work that a plan really executes: tiles, padding and mixed blocks included, beside the FLOPs of the graph.
 *
 * Products execute whole tiles of rows, so a kernel says what one started unit of rows costs. Attention depends on the
 * mask and on where tokens stand, so its blocks are replayed on the host by the rules that the kernel runs.
 */
import type { AttentionDecl, Dispatch, EntryName, KernelDecl, Manifest, Target } from '../../runtime/manifest.ts';
import type { Segment } from '../../runtime/context.ts';
import { rowData, spanData, towerSegments } from '../../runtime/context.ts';
import { parsePolynomial } from '../../runtime/polynomial.ts';
import type { PairClass } from '../ir/graph.ts';
import { pairKey } from '../ir/graph.ts';
import { classify, countPairs, parseMaskExpr } from '../ir/mask/index.ts';
import { Poly } from '../ir/poly.ts';
import type { AttentionSchedule } from '../schedule/attention-schedule.ts';
import { attentionBlocks } from '../wgsl/attention-blocks.ts';
import type { AttentionSpec } from '../wgsl/attention.ts';
import type { Kernel, View } from '../wgsl/kernel.ts';

/** What the manifest keeps of an attention. */
export const attentionDecl = (s: AttentionSpec, { family: _family, ...schedule }: AttentionSchedule): AttentionDecl => ({
  mask: s.mask.name, queryKinds: [...s.queryKinds], keyKinds: [...s.keyKinds], heads: s.heads, kvHeads: s.kvHeads, headDim: s.headDim, valueDim: s.valueDim,
  strides: [s.q.stride, s.k.stride, s.v.stride, s.out.stride], queryRows: s.qRows.toString(), rowData: s.qRowData.toString(), relative: s.relative !== undefined, schedule,
});

/** FLOPs of one started unit of a kernel's rows, found by asking the kernel: work grows by equal steps. */
export function workOf(k: Kernel): Pick<KernelDecl, 'work'> {
  if (!k.executed || k.family.startsWith('attention')) return {};
  const rows = k.grid[1];
  const poly = typeof rows === 'number' ? undefined : rows.ceil;
  const variable = poly?.variables[0];
  if (!poly || variable === undefined) return { work: { rows: '1', unit: 1, flops: k.executed({}).flops } };
  const others = Object.fromEntries(poly.variables.map((v) => [v, 0]));
  const at = (n: number): number => k.executed!({ ...others, [variable]: n }).flops;
  const flops = at(1);
  let unit = 1;
  while (at(unit + 1) === flops) unit++;
  return { work: { rows: poly.toString(), unit, flops } };
}

export interface ExecutedEntry { readonly name: EntryName; readonly graph: number; readonly executed: number; readonly blocks: { readonly full: number; readonly mixed: number; readonly skipped: number } }
export interface Executed { readonly visual: number; readonly text: number; readonly entries: readonly ExecutedEntry[] }

/**
 * The work of one prompt: `visual` media rows, then `text` rows, through `vision` once an image and `prefill` (the last image
 * and the text through `first`, where there is such a step), then one `decode`. The graph's FLOPs count just the pairs that the mask admits.
 */
export function executedWork(manifest: Manifest, target: Target, { visual, text }: { visual: number; text: number }): Executed {
  const entries = dispatchWork(manifest, target, { visual, text }).map(({ name, times, done }): ExecutedEntry => {
    const sum = (of: keyof Done): number => done.reduce((s, d) => s + d[of], 0);
    return { name, graph: sum('graph') * times, executed: sum('executed') * times, blocks: { full: sum('full'), mixed: sum('mixed'), skipped: sum('skipped') } };
  });
  return { visual, text, entries };
}

/** The same dispatch by dispatch, of one run of each entry point. */
export function dispatchWork(manifest: Manifest, target: Target, prompt: { visual: number; text: number }): { readonly name: EntryName; readonly times: number; readonly done: readonly Done[] }[] {
  const steps = promptSteps(manifest, target, prompt);
  return (Object.entries(target.entries) as [EntryName, Target['entries'][EntryName]][]).map(([name, entry]) => {
    const { fresh, keys, times } = steps[name], replay = new Replay(manifest, fresh, keys);
    return { name, times, done: times ? entry!.dispatches.map((d) => replay.dispatch(d, target.kernels[replay.kernelOf(d)]!)) : [] };
  });
}

/** What a run of an entry point computes and may read, and how often a prompt runs it. */
export interface PromptStep { readonly fresh: readonly Segment[]; readonly keys: readonly Segment[]; readonly times: number }
export function promptSteps(manifest: Manifest, target: Target, { visual, text }: { visual: number; text: number }): Readonly<Record<EntryName, PromptStep>> {
  const main = manifest.sequences[0]!, media = main.kinds.findIndex((k) => k.media), words = main.kinds.findIndex((k) => !k.media);
  const rowsPerImage = manifest.media?.rowsPerImage ?? Math.max(1, visual), images = Math.ceil(visual / rowsPerImage);
  const all: Segment[] = [];
  for (let i = 0; i < images; i++) all.push({ kind: media, image: i, position: i * rowsPerImage, slot: i * rowsPerImage, length: Math.min(rowsPerImage, visual - i * rowsPerImage) });
  const prompt: Segment[] = text ? [...all, { kind: words, image: -1, position: visual, slot: 0, length: text }] : all;
  const one: Segment[] = visual ? [{ kind: media, image: 0, position: 0, slot: 0, length: Math.min(rowsPerImage, visual) }] : [];
  // The last image goes with the text where the target has a step for both.
  const joint = target.entries.first && images > 0 && text > 0, last = all.slice(-1), shown = joint ? [...last, ...prompt.slice(images)] : [];
  const token: Segment = { kind: words, image: -1, position: visual + text, slot: text, length: 1 };
  return {
    // As many tiles as it takes to give that many rows.
    tile: { fresh: one, keys: one, times: images * Math.ceil(visual / Math.max(1, images * tileRows(manifest))) },
    vision: { fresh: one, keys: one, times: joint ? images - 1 : images },
    first: { fresh: shown, keys: prompt, times: joint ? 1 : 0 },
    prefill: { fresh: prompt, keys: prompt, times: joint ? 0 : 1 },
    decode: { fresh: [token], keys: [...prompt, token], times: 1 },
  };
}

/** Rows that one tile of a picture gives. */
const tileRows = ({ media }: Manifest): number => (media?.tiling?.rule === 'any_resolution' ? media.tiling.patches_per_side ** 2 : Infinity);

export type Done = { graph: number; executed: number; full: number; mixed: number; skipped: number };

/** One step on a concrete layout. Layers alike are replayed once. */
class Replay {
  private readonly dims: Readonly<Record<string, number>>;
  private readonly known = new Map<string, Done>();

  constructor(private readonly manifest: Manifest, private readonly fresh: readonly Segment[], private readonly keys: readonly Segment[]) {
    const dims: Record<string, number> = {};
    manifest.sequences[0]!.kinds.forEach((k, i) => {
      if (!k.dim) return;
      const rows = (s: readonly Segment[]): number => s.reduce((n, x) => n + (x.kind === i ? x.length : 0), 0);
      dims[k.dim] = rows(fresh); dims[`C${k.dim}`] = rows(keys);
    });
    // A picture that fills the tower.
    for (const s of manifest.sequences.slice(1)) for (const { dim, capacity } of s.kinds) if (dim) dims[dim] = dims[`C${dim}`] = capacity;
    this.dims = dims;
  }

  /** The kernel that the runtime takes for the step's rows. */
  kernelOf(d: Dispatch): string {
    return d.few && Object.values(d.rows).reduce((n, p) => n + parsePolynomial(p)(this.dims), 0) <= d.few.rows ? d.few.kernel : d.kernel;
  }

  dispatch(d: Dispatch, kernel: KernelDecl): Done {
    if (d.attention) return this.attention(d.attention);
    const graph = parsePolynomial(d.flops)(this.dims), { work } = kernel;
    // A merge of split keys, norms, copies: no multiply-adds of the graph, and none counted.
    const executed = work ? Math.ceil(parsePolynomial(work.rows)(this.dims) / work.unit) * work.flops : 0;
    return { graph: d.label === 'attention' ? 0 : graph, executed, full: 0, mixed: 0, skipped: 0 };
  }

  private attention(a: AttentionDecl): Done {
    const id = JSON.stringify(a), old = this.known.get(id);
    if (old) return old;
    const { manifest } = this;
    const decl = manifest.sequences.find((s) => s.kinds.some((k) => k.name === a.queryKinds[0]))!;
    const tower = decl !== manifest.sequences[0], keys = tower ? towerSegments(decl) : this.keys, fresh = tower ? keys : this.fresh;
    const kinds = decl.kinds.map((k) => ({ name: k.name, hasImages: k.media })), expr = parseMaskExpr(manifest.model.mask[a.mask]!, kinds);
    const pairs: Record<string, PairClass> = Object.fromEntries(kinds.flatMap((q) => kinds.map((k) => [pairKey(q.name, k.name), classify(expr, q.name, k.name, kinds)])));
    const sequence = { name: decl.name, kinds: decl.kinds.map((k) => ({ name: k.name, media: k.media, count: k.dim ? Poly.dim(k.dim) : Poly.of(k.capacity) })) };
    const view = (stride: number): View => ({ binding: '', storage: 'f32', stride, offset: Poly.zero });
    const [q, k, v, out] = a.strides.map(view) as [View, View, View, View];
    const spec: AttentionSpec = {
      heads: a.heads, kvHeads: a.kvHeads, headDim: a.headDim, valueDim: a.valueDim, scale: 1, q, k, v, out, qRows: Poly.parse(a.queryRows), qRowData: Poly.parse(a.rowData), rows: '', spans: '', sequence,
      mask: { name: a.mask, sequence, expr, pairs }, queryKinds: a.queryKinds, keyKinds: a.keyKinds, ...(a.relative ? { relative: { kinds: [], table: '', interleaved: true } } : {}),
    };
    const newRows = fresh.map((s) => ({ segment: s, from: 0, count: s.length }));
    const done = attentionBlocks(spec, a.schedule as unknown as AttentionSchedule, { dims: this.dims, rows: rowData(decl, newRows), spans: spanData(decl, keys) });
    const plain = (segments: readonly Segment[], of: readonly string[], last: boolean) => segments.filter((s) => of.includes(decl.kinds[s.kind]!.name))
      .map((s) => ({ kind: decl.kinds[s.kind]!.name, image: s.image, start: last ? s.position + s.length - 1 : s.position, length: last ? 1 : s.length, ...(last ? { index: s.length - 1 } : {}) }));
    const queries = plain(fresh, a.queryKinds, false), last = spec.qRows.constant() === 1 && queries.length > 0;
    const admitted = countPairs(expr, last ? plain(fresh.filter((s) => a.queryKinds.includes(decl.kinds[s.kind]!.name)).slice(-1), a.queryKinds, true) : queries, plain(keys, a.keyKinds, false), kinds);
    const result = { graph: Number(admitted) * 2 * a.heads * (a.headDim + a.valueDim), executed: done.flops, full: done.full, mixed: done.mixed, skipped: done.skipped };
    this.known.set(id, result);
    return result;
  }
}
