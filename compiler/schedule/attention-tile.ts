/**
 * Schedules of the attention family's form of tiles: scores of a block of query rows and keys lie in workgroup memory.
 *
 * A workgroup has `rowGroups × lanes` invocations and a tile of `rowGroups · rowsPerThread` query rows by
 * `lanes · keysPerThread` keys. For scores an invocation owns `rowsPerThread × keysPerThread` of the tile; for the weighted
 * sum of values the lanes share the channels of the value head (and, with `valueGroups` > 1, the keys).
 *
 * With one row group all invocations read the same queries, which software adapters turn into scalar loads; there a
 * workgroup is one or two vectors of the CPU wide, and reads keys and values where they lie. GPUs want 64 invocations
 * and more, and tiles of keys and values in workgroup memory (`staged`).
 */
import type { AttentionBlocking, AttentionShape } from './attention-shape.ts';
import type { DeviceFacts } from './device-facts.ts';

export interface AttentionTileSchedule {
  readonly family: 'attention';
  readonly form: 'tile';
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

/** What a tile is beside its blocking. */
export interface AttentionTile extends AttentionBlocking {
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
}

export function attentionTile(s: AttentionTileSchedule, shape: AttentionShape): AttentionTile {
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
    valueKeys: s.valueGroups, keyChunk, valueChunk, pitch, queryVectors, stagedVectors, bytes, headsPerGroup: s.mergeHeads ? shape.heads / shape.kvHeads : 1,
  };
}

/** Why a tile cannot run this shape on a device, as a sentence; undefined if it can. */
export function whyNotAttentionTile(s: AttentionTileSchedule, shape: AttentionShape, { limits }: DeviceFacts): string | undefined {
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
