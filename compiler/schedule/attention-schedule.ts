/**
 * Schedules of the fused attention kernels: one of the forms, which of them a device allows, and which one is taken where
 * nobody has measured. That is always a tile: whoever does not know the device does not know its subgroups.
 */
import type { AttentionExchangeSchedule } from './attention-exchange.ts';
import { exchangeBlocking, exchangeSpace, whyNotAttentionExchange } from './attention-exchange.ts';
import type { AttentionBlocking, AttentionShape } from './attention-shape.ts';
import { oneRow, splitRowsOf, splitsWorthATry } from './attention-shape.ts';
import type { AttentionTileSchedule } from './attention-tile.ts';
import { attentionTile, whyNotAttentionTile } from './attention-tile.ts';
import type { DeviceFacts } from './device-facts.ts';

export type { AttentionShape } from './attention-shape.ts';
export type AttentionSchedule = AttentionTileSchedule | AttentionExchangeSchedule;

/** How a schedule cuts the work. */
export const attentionBlocking = (s: AttentionSchedule, shape: AttentionShape): AttentionBlocking => (s.form === 'exchange' ? exchangeBlocking(s, shape) : attentionTile(s, shape));

/** Why a schedule cannot run this shape on a device, as a sentence; undefined if it can. */
export function whyNotAttention(s: AttentionSchedule, shape: AttentionShape, facts: DeviceFacts): string | undefined {
  switch (s.form) {
    case 'tile': return whyNotAttentionTile(s, shape, facts);
    case 'exchange': return whyNotAttentionExchange(s, shape, facts);
    default: return s satisfies never;
  }
}

/** The safe default where no schedule was measured: decent on the device's class. */
export function attentionDefault(shape: AttentionShape, facts: DeviceFacts): AttentionTileSchedule {
  const wishes = facts.class === 'software' ? softwareWishes(shape) : gpuWishes(shape);
  for (const s of wishes) if (!whyNotAttention(s, shape, facts)) return s;
  // Smaller and smaller tiles until one fits: very large heads on a device without memory to spare.
  for (let s = wishes.at(-1)!; ; ) {
    const next = smaller(s), problem = whyNotAttention(next ?? s, shape, facts);
    if (!problem) return next ?? s;
    if (!next) throw new RangeError(`No attention tile fits heads of ${shape.headDim}: ${problem}`);
    s = next;
  }
}

function smaller(s: AttentionTileSchedule): AttentionTileSchedule | undefined {
  if (s.rowsPerThread > 1) return { ...s, rowsPerThread: Math.floor(s.rowsPerThread / 2) };
  if (s.keysPerThread > 1) return { ...s, keysPerThread: Math.floor(s.keysPerThread / 2) };
  if (s.rowGroups > 1) return { ...s, rowGroups: Math.floor(s.rowGroups / 2) };
  if (s.staged) return { ...s, staged: 0 };
  return s.lanes > 8 ? { ...s, lanes: s.lanes / 2, valueGroups: 1 } : undefined;
}

const whole: Pick<AttentionTileSchedule, 'splits' | 'splitRows'> = { splits: 1, splitRows: 0 };
const powerOfTwoBelow = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)));

/** Measured on SwiftShader and lavapipe, see bench/attention.ts: tiles of 8 rows are a third faster and compile four times as long. */
function softwareWishes(shape: AttentionShape): AttentionTileSchedule[] {
  const base = { family: 'attention' as const, form: 'tile' as const, rowGroups: 1, lanes: 8, keysPerThread: 4, valueGroups: 1, staged: 0, rolled: true, mergeHeads: false, ...whole };
  const few = oneRow(shape), wide = shape.heads * shape.headDim >= 1024;
  if (few !== undefined) return [{ ...base, rowsPerThread: Math.min(8, few), mergeHeads: true }];
  return [...(wide ? [{ ...base, rowsPerThread: 8 }] : []), { ...base, rowsPerThread: 4 }];
}

function gpuWishes(shape: AttentionShape): AttentionTileSchedule[] {
  const few = oneRow(shape);
  if (few !== undefined) {
    const lanes = 64, vectors = shape.valueDim / shape.vector;
    const valueGroups = Math.max(1, powerOfTwoBelow(lanes / powerOfTwoBelow(vectors)));
    const splits = Math.min(16, Math.max(1, Math.ceil(128 / shape.kvHeads)));
    const base = { family: 'attention' as const, form: 'tile' as const, rowGroups: 1, lanes, keysPerThread: 1, rolled: false, valueGroups: Math.min(valueGroups, 8), mergeHeads: true, splits, splitRows: splits };
    return [32, 16, 8].map((staged) => ({ ...base, rowsPerThread: Math.min(8, few), staged }));
  }
  const splitting = shape.fewQueries ? { splits: 4, splitRows: 256 } : whole;
  const tile = (rowGroups: number, lanes: number, rowsPerThread: number, keysPerThread: number, staged: number): AttentionTileSchedule =>
    ({ family: 'attention', form: 'tile', rowGroups, lanes, rowsPerThread, keysPerThread, valueGroups: 1, staged, rolled: false, mergeHeads: false, ...splitting });
  return [tile(8, 8, 4, 4, 32), tile(8, 8, 4, 4, 16), tile(4, 16, 4, 2, 32), tile(4, 16, 4, 2, 16), tile(4, 16, 2, 2, 16)];
}

/** The space that a tuner searches: schedules that are legal for this shape on a device. */
export function attentionSpace(shape: AttentionShape, facts: DeviceFacts): AttentionSchedule[] {
  const out: AttentionSchedule[] = [];
  const few = oneRow(shape);
  for (const [rowGroups, lanes] of [[1, 4], [1, 8], [1, 16], [1, 32], [1, 64], [2, 8], [4, 8], [8, 8], [4, 16], [8, 16]] as const)
    for (const rowsPerThread of few !== undefined ? [Math.min(8, few)] : [2, 4, 8, 16])
      for (const keysPerThread of [1, 2, 4, 8])
        for (const valueGroups of lanes >= 32 ? [1, 2, 4] : [1])
          for (const staged of lanes * rowGroups >= 32 ? [0, 16, 32] : [0])
            for (const n of splitsWorthATry(shape)) for (const mergeHeads of few !== undefined ? [true] : shape.heads > shape.kvHeads && rowsPerThread >= 4 && valueGroups === 1 ? [false, true] : [false]) {
              if (rowsPerThread * keysPerThread > 64 || (few !== undefined && rowGroups > 1)) continue;
              const s: AttentionTileSchedule = { family: 'attention', form: 'tile', rowGroups, lanes, rowsPerThread, keysPerThread, valueGroups, staged, rolled: rowGroups === 1 && lanes <= 16, mergeHeads, splits: n, splitRows: splitRowsOf(n, shape) };
              if (!whyNotAttention(s, shape, facts)) out.push(s);
            }
  return [...out, ...exchangeSpace(shape, facts)];
}
