/** What ran on a device: the proof that a second question about an image does no work on its rows. */
export interface Work {
  steps: number;
  dispatches: number;
  /** FLOPs of the graph, 2 a multiply-add; of attention as if every key in the cache were read. */
  flops: number;
}
export interface Counters extends Work {
  /** Rows computed, by kind, summed over dispatches. */
  rows: Record<string, number>;
  /** The part of it that ran ahead and nobody needed: decode goes on while tokens are read back, and one of them may end the answer. */
  discarded: Work;
}

export const newCounters = (): Counters => ({ steps: 0, dispatches: 0, flops: 0, rows: {}, discarded: { steps: 0, dispatches: 0, flops: 0 } });

/** What ran between two states of the counters. */
export function countersSince(now: Counters, before: Counters): Counters {
  const work = (a: Work, b: Work): Work => ({ steps: a.steps - b.steps, dispatches: a.dispatches - b.dispatches, flops: a.flops - b.flops });
  return {
    ...work(now, before), discarded: work(now.discarded, before.discarded),
    rows: Object.fromEntries(Object.entries(now.rows).map(([kind, n]) => [kind, n - (before.rows[kind] ?? 0)])),
  };
}
