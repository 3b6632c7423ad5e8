/**
 * Schedules of the fused attention kernel: how one workgroup cuts the work, which of them a device allows, and which one
 * is taken where nobody has measured.
 *
 * A workgroup has `rowGroups × lanes` invocations and a tile of `rowGroups · rowsPerThread` query rows by
 * `lanes · keysPerThread` keys. For scores an invocation owns `rowsPerThread × keysPerThread` of the tile; for the weighted
 * sum of values the lanes share the channels of the value head (and, with `valueGroups` > 1, the keys).
 *
 * With one row group all invocations read the same queries, which software adapters turn into scalar loads; there a
 * workgroup is one or two vectors of the CPU wide, and reads keys and values where they lie. GPUs want 64 invocations
 * and more, and tiles of keys and values in workgroup memory (`staged`).
 */
import type { DeviceFacts } from './device-facts.ts';

export interface AttentionSchedule {
  readonly family: 'attention';
  readonly rowGroups: number;
  readonly lanes: number;
  readonly rowsPerThread: number;
  readonly keysPerThread: number;
  /** Groups of lanes that share the keys of a tile among them when values are summed; divides `lanes`. */
  readonly valueGroups: number;
  /** Elements of a key's head that are brought into workgroup memory at a time; 0 reads keys and values where they lie. */
  readonly staged: number;
  /**
   * Keep the loop over a head from being unrolled by the driver. Mesa's software driver unrolls it where the body is
   * small, and then compiles for 4 to 18 seconds instead of one, for code that is no faster.
   */
  readonly rolled: boolean;
  /** One workgroup serves all query heads of a KV head: for few query rows. */
  readonly mergeHeads: boolean;
  /** Workgroups that share the keys of one block of queries. */
  readonly splits: number;
  /** Keys are split as long as splits × query rows is at most this; so long is the scratch memory, in rows. */
  readonly splitRows: number;
}

/** Sizes that a schedule depends on. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Elements that are loaded at once: what divides heads and strides. */
  readonly vector: 1 | 2 | 4;
  /** Number of query rows, where it does not depend on the prompt. */
  readonly queryRows?: number;
  /** Few queries against many keys: text that reads images which were read before. */
  readonly fewQueries: boolean;
  /** The mask has to be asked about single pairs of rows. */
  readonly masked: boolean;
}

/** What a schedule makes of a shape. Sizes in vectors of `shape.vector` elements where named so. */
export interface AttentionTile {
  readonly invocations: number;
  readonly rows: number;
  readonly keys: number;
  /** Vectors of a query head and of a value head. */
  readonly headVectors: number;
  readonly valueVectors: number;
  /** Lanes that share the channels, and vectors of channels of each. */
  readonly channelLanes: number;
  readonly channels: number;
  /** Invocations that share the softmax of one row. */
  readonly softmaxLanes: number;
  /** Vectors of a staged chunk of keys; keys of a staged chunk of values. 0 when nothing is staged. */
  readonly keyChunk: number;
  readonly valueChunk: number;
  /** Scores of one key: one more than rows where neighbouring lanes hold different rows, against bank conflicts. */
  readonly pitch: number;
  /** Vectors of the memory for queries, and of that for staged keys and values. */
  readonly queryVectors: number;
  readonly stagedVectors: number;
  /** Workgroup memory in bytes. */
  readonly bytes: number;
  /** Query heads that one workgroup serves. */
  readonly headsPerGroup: number;
}

export function attentionTile(s: AttentionSchedule, shape: AttentionShape): AttentionTile {
  const invocations = s.rowGroups * s.lanes, rows = s.rowGroups * s.rowsPerThread, keys = s.lanes * s.keysPerThread;
  const headVectors = shape.headDim / shape.vector, valueVectors = shape.valueDim / shape.vector;
  const channelLanes = s.lanes / s.valueGroups;
  const softmaxLanes = Math.max(1, Math.min(16, Math.floor(invocations / rows), keys));
  const keyChunk = s.staged ? Math.min(headVectors, Math.ceil(s.staged / shape.vector)) : 0;
  // One vector more a row: neighbouring lanes read neighbouring keys, and an even stride would meet the same banks.
  const keyVectors = keys * (keyChunk + 1);
  const valueChunk = s.staged ? Math.max(1, Math.min(keys, Math.floor(keyVectors / valueVectors))) : 0;
  const stagedVectors = s.staged ? Math.max(keyVectors, valueChunk * valueVectors) : 0;
  const vectorBytes = shape.vector * 4, pitch = rows + (s.rowGroups > 1 ? 1 : 0);
  // Partial sums of value groups are exchanged where the queries were.
  const queryVectors = rows * (s.valueGroups > 1 ? Math.max(headVectors, valueVectors) : headVectors);
  // WebGPU counts every array in units of 16 bytes.
  const bytes = [
    queryVectors * vectorBytes, stagedVectors * vectorBytes, // queries; keys or values
    keys * pitch * 4, // scores, then probabilities
    rows * 4, rows * 4, rows * softmaxLanes * 4, softmaxLanes > 1 ? rows * softmaxLanes * 4 : 0, // maxima, corrections, sums
    shape.masked ? rows * 16 : 0, // the rows' tokens
  ].reduce((sum, n) => sum + Math.ceil(n / 16) * 16, 0);
  return {
    invocations, rows, keys, headVectors, valueVectors, channelLanes, channels: Math.ceil(valueVectors / channelLanes), softmaxLanes,
    keyChunk, valueChunk, pitch, queryVectors, stagedVectors, bytes, headsPerGroup: s.mergeHeads ? shape.heads / shape.kvHeads : 1,
  };
}

/** Why a schedule cannot run this shape on a device, as a sentence; undefined if it can. */
export function whyNotAttention(s: AttentionSchedule, shape: AttentionShape, { limits }: DeviceFacts): string | undefined {
  const sizes = { rowGroups: s.rowGroups, lanes: s.lanes, rowsPerThread: s.rowsPerThread, keysPerThread: s.keysPerThread, valueGroups: s.valueGroups, splits: s.splits };
  for (const [name, n] of Object.entries(sizes)) if (!Number.isInteger(n) || n < 1) return `${name} is ${n}, and an integer of at least 1 was expected.`;
  if (!Number.isInteger(s.staged) || s.staged < 0) return `staged is ${s.staged}, and an integer of at least 0 was expected.`;
  if (s.lanes % s.valueGroups) return `${s.valueGroups} value groups do not share ${s.lanes} lanes evenly.`;
  if (s.splits > 1 && s.splitRows < s.splits) return `splitRows is ${s.splitRows}, too few for ${s.splits} splits of one row.`;
  const t = attentionTile(s, shape);
  if (t.invocations > limits.maxComputeInvocationsPerWorkgroup) return `${t.invocations} invocations exceed the device's ${limits.maxComputeInvocationsPerWorkgroup}.`;
  if (t.bytes > limits.maxComputeWorkgroupStorageSize) return `${t.bytes} bytes of workgroup memory exceed the device's ${limits.maxComputeWorkgroupStorageSize}.`;
  return undefined;
}

/** The safe default where no schedule was measured: decent on the device's class. */
export function attentionDefault(shape: AttentionShape, facts: DeviceFacts): AttentionSchedule {
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

function smaller(s: AttentionSchedule): AttentionSchedule | undefined {
  if (s.rowsPerThread > 1) return { ...s, rowsPerThread: Math.floor(s.rowsPerThread / 2) };
  if (s.keysPerThread > 1) return { ...s, keysPerThread: Math.floor(s.keysPerThread / 2) };
  if (s.rowGroups > 1) return { ...s, rowGroups: Math.floor(s.rowGroups / 2) };
  if (s.staged) return { ...s, staged: 0 };
  return s.lanes > 8 ? { ...s, lanes: s.lanes / 2, valueGroups: 1 } : undefined;
}

const whole: Pick<AttentionSchedule, 'splits' | 'splitRows'> = { splits: 1, splitRows: 0 };
const powerOfTwoBelow = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)));

/** Query rows of one head group when a step has one row: decode. */
const oneRow = (shape: AttentionShape): number | undefined => (shape.queryRows !== undefined && shape.queryRows <= 2 ? shape.queryRows * (shape.heads / shape.kvHeads) : undefined);

/** Measured on SwiftShader and lavapipe, see bench/attention.ts: tiles of 8 rows are a third faster and compile four times as long. */
function softwareWishes(shape: AttentionShape): AttentionSchedule[] {
  const base = { family: 'attention' as const, rowGroups: 1, lanes: 8, keysPerThread: 4, valueGroups: 1, staged: 0, rolled: true, mergeHeads: false, ...whole };
  const few = oneRow(shape), wide = shape.heads * shape.headDim >= 1024;
  if (few !== undefined) return [{ ...base, rowsPerThread: Math.min(8, few), mergeHeads: true }];
  return [...(wide ? [{ ...base, rowsPerThread: 8 }] : []), { ...base, rowsPerThread: 4 }];
}

function gpuWishes(shape: AttentionShape): AttentionSchedule[] {
  const few = oneRow(shape);
  if (few !== undefined) {
    const lanes = 64, vectors = shape.valueDim / shape.vector;
    const valueGroups = Math.max(1, powerOfTwoBelow(lanes / powerOfTwoBelow(vectors)));
    const splits = Math.min(16, Math.max(1, Math.ceil(128 / shape.kvHeads)));
    const base = { family: 'attention' as const, rowGroups: 1, lanes, keysPerThread: 1, rolled: false, valueGroups: Math.min(valueGroups, 8), mergeHeads: true, splits, splitRows: splits };
    return [32, 16, 8].map((staged) => ({ ...base, rowsPerThread: Math.min(8, few), staged }));
  }
  const splitting = shape.fewQueries ? { splits: 4, splitRows: 256 } : whole;
  const tile = (rowGroups: number, lanes: number, rowsPerThread: number, keysPerThread: number, staged: number): AttentionSchedule =>
    ({ family: 'attention', rowGroups, lanes, rowsPerThread, keysPerThread, valueGroups: 1, staged, rolled: false, mergeHeads: false, ...splitting });
  return [tile(8, 8, 4, 4, 32), tile(8, 8, 4, 4, 16), tile(4, 16, 4, 2, 32), tile(4, 16, 4, 2, 16), tile(4, 16, 2, 2, 16)];
}

/** The space that a tuner searches: schedules that are legal for this shape on a device. */
export function attentionSpace(shape: AttentionShape, facts: DeviceFacts): AttentionSchedule[] {
  const out: AttentionSchedule[] = [];
  const few = oneRow(shape);
  const splits = few !== undefined ? [1, 4, 16] : shape.fewQueries ? [1, 4] : [1];
  for (const [rowGroups, lanes] of [[1, 4], [1, 8], [1, 16], [1, 32], [1, 64], [2, 8], [4, 8], [8, 8], [4, 16], [8, 16]] as const)
    for (const rowsPerThread of few !== undefined ? [Math.min(8, few)] : [2, 4, 8, 16])
      for (const keysPerThread of [1, 2, 4, 8])
        for (const valueGroups of lanes >= 32 ? [1, 2, 4] : [1])
          for (const staged of lanes * rowGroups >= 32 ? [0, 16, 32] : [0])
            for (const n of splits) for (const mergeHeads of few !== undefined ? [true] : shape.heads > shape.kvHeads && rowsPerThread >= 4 && valueGroups === 1 ? [false, true] : [false]) {
              if (rowsPerThread * keysPerThread > 64 || (few !== undefined && rowGroups > 1)) continue;
              const s: AttentionSchedule = { family: 'attention', rowGroups, lanes, rowsPerThread, keysPerThread, valueGroups, staged, rolled: rowGroups === 1 && lanes <= 16, mergeHeads, splits: n, splitRows: n > 1 ? Math.max(n, few === undefined ? 256 : n) : 0 };
              if (!whyNotAttention(s, shape, facts)) out.push(s);
            }
  return out;
}
