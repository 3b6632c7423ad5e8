/** Attention cases that every adapter and every schedule must get right. */
import type { AttentionExchangeSchedule } from '../../compiler/schedule/attention-exchange.ts';
import type { AttentionTileSchedule } from '../../compiler/schedule/attention-tile.ts';
import type { CaseOptions } from './attention.ts';

const causal = 'k.pos <= q.pos';
const composite = 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos';
const ownImage = 'q.kind == visual ? k.kind == visual && k.image == q.image : k.pos <= q.pos';
const window = 'k.pos <= q.pos && (k.kind == visual || q.pos - k.pos < 9)';

const text = (length: number, past = 0) => ({ kind: 'text' as const, length, past });
const visual = (length: number, past = 0) => ({ kind: 'visual' as const, length, past });
const middle = [text(5), visual(37), text(19)], twoImages = [text(3), visual(17), text(6), visual(23), text(11)];

export const cases: Readonly<Record<string, CaseOptions>> = {
  'causal, heads of 11': { mask: causal, parts: [text(43)], heads: 4, kvHeads: 2, headDim: 11, queryKinds: ['text'] },
  'causal behind a past, heads of 14': { mask: causal, parts: [text(50, 21)], heads: 6, kvHeads: 2, headDim: 14, queryKinds: ['text'] },
  'causal over all kinds': { mask: causal, parts: twoImages, headDim: 32 },
  'composite, text alone': { mask: composite, parts: twoImages, heads: 4, kvHeads: 2, headDim: 32, queryKinds: ['text'] },
  'composite, image in the past': { mask: composite, parts: [text(4, 4), visual(70, 70), text(9, 2)], heads: 4, kvHeads: 1, headDim: 64, queryKinds: ['text'] },
  'composite, unproven, all kinds': { mask: composite, parts: middle, headDim: 16, unproven: true },
  'sliding window': { mask: window, parts: twoImages, heads: 2, headDim: 72 },
  'own image': { mask: ownImage, parts: twoImages, heads: 2, headDim: 80 },
  'own image, visual alone': { mask: ownImage, parts: twoImages, heads: 3, headDim: 32, queryKinds: ['visual'], keyKinds: ['visual'] },
  'everything': { mask: 'true', parts: middle, heads: 2, headDim: 96 },
  'rows that read nothing': { mask: 'k.kind == visual && k.pos < q.pos', parts: twoImages, heads: 2, headDim: 32 },
  'no keys at all': { mask: 'k.kind == visual && k.pos < q.pos', parts: [text(7)], heads: 2, headDim: 32 },
  'strided': { mask: '(q.pos - k.pos) % 3 == 0 && k.pos <= q.pos', parts: middle, heads: 2, headDim: 32 },
  'relative, interleaved': { mask: causal, parts: twoImages, heads: 4, kvHeads: 2, headDim: 32, queryKinds: ['text'], relative: 'interleaved' },
  'relative, halves': { mask: composite, parts: twoImages, heads: 2, headDim: 64, queryKinds: ['text'], relative: 'halves' },
  'relative, halves of 7': { mask: causal, parts: twoImages, heads: 2, headDim: 14, queryKinds: ['text'], relative: 'halves' },
  'relative, interleaved, scalar': { mask: causal, parts: twoImages, heads: 2, headDim: 14, valueDim: 9, queryKinds: ['text'], relative: 'interleaved' },
  'decode, grouped heads': { mask: causal, parts: [text(3, 3), visual(90, 90), text(12, 11)], heads: 14, kvHeads: 2, headDim: 64, queryKinds: ['text'], constantRows: true },
  'decode, single head of 128': { mask: composite, parts: [text(131, 130)], heads: 2, headDim: 128, queryKinds: ['text'], constantRows: true },
  'decode, relative': { mask: composite, parts: [text(9, 9), visual(40, 40), text(2, 1)], heads: 4, kvHeads: 2, headDim: 32, queryKinds: ['text'], constantRows: true, relative: 'interleaved' },
  'decode, first token': { mask: causal, parts: [text(1)], heads: 4, kvHeads: 2, headDim: 11, queryKinds: ['text'], constantRows: true },
  'values wider than keys': { mask: causal, parts: middle, heads: 4, kvHeads: 2, headDim: 32, valueDim: 48 },
  'values of 11': { mask: causal, parts: middle, heads: 2, headDim: 64, valueDim: 11 },
  'keys and values in one binding': { mask: causal, parts: middle, heads: 4, kvHeads: 2, headDim: 32, shared: true },
  'dense keys and values': { mask: causal, parts: twoImages, heads: 4, kvHeads: 2, headDim: 32, dense: true },
  'packed f16': { mask: causal, parts: middle, heads: 4, kvHeads: 2, headDim: 32, storage: { q: 'f16x2', kv: 'f16x2', out: 'f16x2' } },
  'packed f16 keys, heads of 14': { mask: composite, parts: middle, heads: 4, kvHeads: 2, headDim: 14, queryKinds: ['text'], storage: { kv: 'f16x2' } },
  'packed f16, heads of 11': { mask: causal, parts: [text(21)], heads: 2, headDim: 11, queryKinds: ['text'], storage: { q: 'f16x2', kv: 'f16x2', out: 'f16x2' } },
  'int8': { mask: causal, parts: middle, heads: 6, kvHeads: 3, headDim: 32, storage: { kv: 'int8' } },
  'int8, heads of 14': { mask: composite, parts: middle, heads: 4, kvHeads: 2, headDim: 14, queryKinds: ['text'], storage: { kv: 'int8' } },
  'int8, heads of 11, values of 8': { mask: causal, parts: [text(21)], heads: 2, headDim: 11, valueDim: 8, storage: { kv: 'int8' } },
  'int8, decode': { mask: causal, parts: [text(3, 3), visual(40, 40), text(12, 11)], heads: 6, kvHeads: 2, headDim: 64, queryKinds: ['text'], constantRows: true, storage: { kv: 'int8' } },
  'f16': { mask: causal, parts: middle, heads: 4, kvHeads: 2, headDim: 32, storage: { q: 'f16', kv: 'f16', out: 'f16' } },
  'f16 keys, heads of 11': { mask: causal, parts: [text(33)], heads: 2, headDim: 11, queryKinds: ['text'], storage: { kv: 'f16' } },
};

/** How far a result may be off: f32 sums of values up to 1, and the rounding of stored results. */
export const tolerance = (o: CaseOptions): number => (o.storage?.out && o.storage.out !== 'f32' ? 1e-3 : 4e-6);

const base: AttentionTileSchedule = { family: 'attention', form: 'tile', rowGroups: 1, lanes: 8, rowsPerThread: 4, keysPerThread: 2, valueGroups: 1, staged: 0, rolled: true, mergeHeads: false, splits: 1, splitRows: 0 };
/** Schedules off the beaten track: odd tiles, several groups of every sort, split keys. */
export const oddSchedules: Readonly<Record<string, AttentionTileSchedule>> = {
  'tiny tile': { ...base, lanes: 3, rowsPerThread: 2, keysPerThread: 1 },
  'rows and lanes in groups, staged': { ...base, rowGroups: 3, lanes: 5, rowsPerThread: 2, keysPerThread: 3, staged: 12, rolled: false },
  'value groups': { ...base, lanes: 32, rowsPerThread: 3, keysPerThread: 1, valueGroups: 4, staged: 20, rolled: false },
  'merged heads': { ...base, lanes: 16, rowsPerThread: 5, mergeHeads: true },
  'split keys': { ...base, splits: 4, splitRows: 120 },
  'split keys, merged heads, staged, value groups': { ...base, rowGroups: 2, lanes: 16, rowsPerThread: 3, keysPerThread: 1, valueGroups: 2, staged: 8, mergeHeads: true, splits: 3, splitRows: 300 },
  'too many rows to split': { ...base, splits: 4, splitRows: 4 },
};

const exchange: Omit<AttentionExchangeSchedule, 'lanes'> = { family: 'attention', form: 'exchange', rowsPerThread: 1, keysPerThread: 2, mergeHeads: false, splits: 1, splitRows: 0 };
/** Schedules that exchange inside a subgroup, for teams of any size. */
export const exchangeSchedules = (lanes: number): Readonly<Record<string, AttentionExchangeSchedule>> => ({
  'a key each': { ...exchange, lanes, keysPerThread: 1 },
  'three keys each, two rows': { ...exchange, lanes, rowsPerThread: 2, keysPerThread: 3 },
  'merged heads': { ...exchange, lanes, rowsPerThread: 3, mergeHeads: true },
  'split keys': { ...exchange, lanes, splits: 4, splitRows: 120 },
  'split keys, merged heads': { ...exchange, lanes, rowsPerThread: 2, mergeHeads: true, splits: 3, splitRows: 300 },
  'too many rows to split': { ...exchange, lanes, splits: 4, splitRows: 4 },
});
