import type { Storage } from '../cost/storage.ts';
import { addTraffic, movedBytes, noTraffic, trafficInside, trafficOf } from '../cost/traffic.ts';
import type { Node } from '../ir/graph.ts';
import { opDef } from '../ir/ops/index.ts';
import { Poly } from '../ir/poly.ts';
import { rowCount } from '../ir/rows.ts';

/**
 * FLOPs of a node for the runtime's counters: multiply-adds of matmuls and of attention's two products, 2 each. The
 * pairs of an attention are taken as all keys in the cache for every query, the most that the mask could leave;
 * `eemllm flops` counts them exactly.
 */
export const dispatchFlops = (n: Node): Poly => {
  const counts = opDef(n.op).counts(n, (a) => rowCount(a.inputs[0]!.type.rows!).mul(rowCount(a.inputs[1]!.type.rows!)));
  return Poly.sum([counts.matmul ?? 0, counts.scores ?? 0]).mul(2);
};

/** Bytes that a node moves at least, for a profiler's rates; of a tower, for one picture. */
export const dispatchBytes = (storage: Storage) => (n: Node): Poly =>
  movedBytes(n.body ? [...trafficInside(n, storage).values()].reduce(addTraffic, noTraffic) : trafficOf(n, storage)).substitute({ tiles: 1 });
