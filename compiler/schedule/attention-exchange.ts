/**
 * Schedules of the attention family's form that lives inside a subgroup: no workgroup memory and no barriers. Lanes load
 * query rows, keys and values of their own and hand each other queries and weights. Right where a load costs far more than
 * an exchange, as on adapters that run on a CPU (see matmul-exchange.ts).
 */
import type { AttentionBlocking, AttentionShape } from './attention-shape.ts';
import { oneRow, splitRowsOf, splitsWorthATry } from './attention-shape.ts';
import type { DeviceFacts } from './device-facts.ts';

export interface AttentionExchangeSchedule {
  readonly family: 'attention';
  readonly form: 'exchange';
  /** Invocations of a workgroup, a power of two: no more than the device's smallest subgroup. */
  readonly lanes: number;
  /** Query rows that a lane loads; a block has `lanes` times as many. */
  readonly rowsPerThread: number;
  /** Keys that a lane loads; a block has `lanes` times as many. */
  readonly keysPerThread: number;
  /** One workgroup serves all query heads of a KV head: for few query rows. */
  readonly mergeHeads: boolean;
  /** Workgroups that share the keys of one block of queries, and what bounds the scratch memory: as in tiles. */
  readonly splits: number;
  readonly splitRows: number;
}

/** The rows of a lane whose keys the mask admits are bits of a u32. */
const mostLanes = 32;

export function exchangeBlocking(s: AttentionExchangeSchedule, shape: AttentionShape): AttentionBlocking {
  const headVectors = shape.headDim / shape.vector, valueVectors = shape.valueDim / shape.vector;
  return {
    invocations: s.lanes, rows: s.lanes * s.rowsPerThread, keys: s.lanes * s.keysPerThread, headVectors, valueVectors,
    channelLanes: s.lanes, channels: Math.ceil(valueVectors / s.lanes), valueKeys: s.keysPerThread, headsPerGroup: s.mergeHeads ? shape.heads / shape.kvHeads : 1,
  };
}

/** Why such a schedule cannot be used, as a sentence; undefined if it can. */
export function whyNotAttentionExchange(s: AttentionExchangeSchedule, _shape: AttentionShape, { limits, features, subgroups }: DeviceFacts): string | undefined {
  const sizes = { lanes: s.lanes, rowsPerThread: s.rowsPerThread, keysPerThread: s.keysPerThread, splits: s.splits };
  for (const [name, n] of Object.entries(sizes)) if (!Number.isInteger(n) || n < 1) return `${name} is ${n}, and an integer of at least 1 was expected.`;
  if (s.lanes < 4 || s.lanes > mostLanes || !Number.isInteger(Math.log2(s.lanes))) return `Lanes are ${s.lanes}, and a power of two from 4 to ${mostLanes} was expected.`;
  if (s.splits > 1 && s.splitRows < s.splits) return `splitRows is ${s.splitRows}, too few for ${s.splits} splits of one row.`;
  if (!features.has('subgroups')) return 'Lanes that exchange what they load need the feature subgroups, which the device lacks.';
  if (!subgroups) return 'The size of the device\'s subgroups is not known.';
  if (s.lanes > subgroups.min) return `A team of ${s.lanes} lanes does not fit into a subgroup, which may have ${subgroups.min} only.`;
  if (s.lanes > limits.maxComputeInvocationsPerWorkgroup) return `${s.lanes} invocations exceed the device's ${limits.maxComputeInvocationsPerWorkgroup}.`;
  return undefined;
}

/** Scores and vectors of weighted sums that a lane holds, and vectors that it adds in one go, at most: beyond, software drivers compile for many seconds. */
const most = { scores: 128, sums: 64, additions: 256 };

/** Schedules of this form that are worth a try, the likeliest first: on adapters that run on a CPU, with teams as large as its vectors. */
export function exchangeSpace(shape: AttentionShape, facts: DeviceFacts): AttentionExchangeSchedule[] {
  const out: AttentionExchangeSchedule[] = [], few = oneRow(shape);
  if (facts.class !== 'software' || !facts.subgroups) return out;
  const lanes = facts.subgroups.min, mostRows = Math.max(1, 32 / lanes);
  for (const rowsPerThread of few !== undefined ? [Math.min(mostRows, Math.ceil(few / lanes))] : [2, 1, 4, 8].filter((n) => n <= mostRows))
    for (const keysPerThread of [2, 4, 1, 8])
      for (const splits of splitsWorthATry(shape))
        for (const mergeHeads of few !== undefined ? [true] : shape.heads > shape.kvHeads ? [false, true] : [false]) {
          const s: AttentionExchangeSchedule = { family: 'attention', form: 'exchange', lanes, rowsPerThread, keysPerThread, mergeHeads, splits, splitRows: splitRowsOf(splits, shape) };
          const { rows, channels } = exchangeBlocking(s, shape), scores = rows * keysPerThread, sums = rows * channels;
          if (scores <= most.scores && sums <= most.sums && sums * keysPerThread <= most.additions && !whyNotAttentionExchange(s, shape, facts)) out.push(s);
        }
  return out;
}
