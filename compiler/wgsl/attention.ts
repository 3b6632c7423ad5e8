/**
 * Fused attention in two forms: online softmax over the key blocks that the mask leaves, in one kernel, or in two when the keys of a
 * query are shared among workgroups (split keys, as in FlashDecoding; Dao et al. 2023).
 *
 * The kernel walks over the key spans of the sequence and over blocks of keys inside each. For every block the mask is
 * bounded by intervals over the tokens of the query block and of the key block: `none` is skipped before anything is
 * loaded, `all` is computed without the predicate, and only what is left asks the predicate pair by pair.
 */
import type { MaskDecl } from '../ir/graph.ts';
import type { Poly } from '../ir/poly.ts';
import type { Sequence } from '../ir/rows.ts';
import type { AttentionSchedule, AttentionShape } from '../schedule/attention-schedule.ts';
import { attentionBlocking, whyNotAttention } from '../schedule/attention-schedule.ts';
import type { AttentionBlocking } from '../schedule/attention-shape.ts';
import type { DeviceFacts } from '../schedule/device-facts.ts';
import { leastFacts } from '../schedule/device-facts.ts';
import { exchangeKernel } from './attention-exchange.ts';
import { maskFacts } from './attention-mask.ts';
import { mergeKernel } from './attention-merge.ts';
import { tileKernel } from './attention-tile.ts';
import type { HeldView, Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { alignmentOf } from './printer.ts';

/** One attention node as its kernels see it. Bindings are named as in the views. */
export interface AttentionSpec {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Queries, rows of `heads × headDim`. */
  readonly q: View;
  /** Keys and values, rows of `kvHeads × headDim` and `kvHeads × valueDim`: states, or dense values. Spans say which rows. */
  readonly k: HeldView;
  readonly v: HeldView;
  /** Results, rows of `heads × valueDim`. */
  readonly out: View;
  /** Number of query rows; a constant or one dim's polynomial. */
  readonly qRows: Poly;
  /** Row of the sequence's row data that belongs to query row 0; the others follow. */
  readonly qRowData: Poly;
  /** Bindings of the sequence's row data and key spans (`vec4<i32>` each); bound read-only. */
  readonly rows: string;
  readonly spans: string;
  readonly sequence: Sequence;
  readonly mask: MaskDecl;
  readonly queryKinds: readonly string[];
  /** Kinds of key that may be read; spans of other kinds are passed over. */
  readonly keyKinds: readonly string[];
  /** By kind: rows to add to the slots of its spans, where keys (values) do not lie at the slots of the sequence's states. */
  readonly keyShift?: Readonly<Record<string, Poly>>;
  readonly valueShift?: Readonly<Record<string, Poly>>;
  /** Keys of these kinds are rotated by their place in their image: each query is turned back by the image's origin. */
  readonly relative?: {
    readonly kinds: readonly number[];
    /** Binding of the angles: (cos, sin) as `vec2<f32>`, `[positions, headDim / 2]`. */
    readonly table: string;
    /** Channels are rotated in pairs (2i, 2i+1) instead of (i, i + headDim/2). */
    readonly interleaved: boolean;
  };
  /** Scratch memory of split keys, f32, at least `attentionScratch` elements from its row 0 on. */
  readonly scratch?: View;
}

/** What the schedule of a spec depends on. */
export function attentionShape(spec: AttentionSpec): AttentionShape {
  const { q, k, v, out } = spec, media = (kinds: readonly string[]): boolean => kinds.some((n) => spec.sequence.kinds.some((s) => s.name === n && s.media));
  const half = spec.relative && !spec.relative.interleaved ? spec.headDim / 2 : 4;
  const vector = alignmentOf(spec.headDim, spec.valueDim, half, ...[q, k, v, out].flatMap((x) => [x.stride, x.column ?? 0]));
  const queryRows = spec.qRows.constant();
  return {
    heads: spec.heads, kvHeads: spec.kvHeads, headDim: spec.headDim, valueDim: spec.valueDim, vector, masked: maskFacts(spec).expr !== undefined,
    fewQueries: !media(spec.queryKinds) && media(spec.keyKinds), ...(queryRows === undefined ? {} : { queryRows }),
  };
}

/** Elements of one record of partial results: a value head, its maximum and sum, padded to whole vectors. */
export const recordElements = (shape: AttentionShape): number => shape.valueDim + Math.max(2, shape.vector);

/** f32 elements that `spec.scratch` must have, 0 if the schedule splits no keys. */
export function attentionScratch(spec: AttentionSpec, schedule: AttentionSchedule): number {
  const shape = attentionShape(spec);
  if (schedule.splits < 2 || (shape.queryRows !== undefined && activeSplits({ schedule }, shape.queryRows) < 2)) return 0;
  const rows = shape.queryRows === undefined ? schedule.splitRows : schedule.splits * shape.queryRows;
  return rows * spec.heads * recordElements(shape);
}

/** The kernels of an attention, in order. Throws a RangeError for a schedule that the shape or the device rules out, by default one with the least limits. */
export function attentionKernels(spec: AttentionSpec, schedule: AttentionSchedule, options: KernelOptions, facts: DeviceFacts = leastFacts('gpu', options.features)): Kernel[] {
  const shape = attentionShape(spec), problem = whyNotAttention(schedule, shape, facts);
  if (problem) throw new RangeError(`This attention schedule is not possible for ${spec.heads} heads of ${spec.headDim}: ${problem} Choose another, or the default.`);
  if (spec.relative && spec.headDim % 2) throw new RangeError(`Heads of ${spec.headDim} cannot be rotated; their size must be even.`);
  if (attentionScratch(spec, schedule) && !spec.scratch) throw new RangeError('A schedule that splits keys needs scratch memory, and the attention has none. Give it a view of attentionScratch() elements.');
  const work: AttentionWork = { spec, schedule, shape, tile: attentionBlocking(schedule, shape), options };
  const kernel = schedule.form === 'tile' ? tileKernel({ ...work, schedule }) : exchangeKernel({ ...work, schedule });
  const split = schedule.splits > 1 && (shape.queryRows === undefined || activeSplits(work, shape.queryRows) > 1);
  return split ? [kernel, mergeKernel(work)] : [kernel];
}

/** What the kernel printers are given. */
export interface AttentionWork<S extends AttentionSchedule = AttentionSchedule> {
  readonly spec: AttentionSpec;
  readonly schedule: S;
  readonly shape: AttentionShape;
  readonly tile: AttentionBlocking;
  readonly options: KernelOptions;
}

/** How many splits are in use: all while few query rows are there, then fewer, so that scratch memory stays bounded. */
export const activeSplits = ({ schedule }: Pick<AttentionWork, 'schedule'>, queryRows: number): number =>
  Math.max(1, Math.min(schedule.splits, Math.floor(schedule.splitRows / Math.max(1, queryRows))));
