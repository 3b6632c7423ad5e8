import type { Graph } from '../compiler/ir/graph.ts';

/** A pure function on graphs, and one sentence that says what it proves. */
export interface Pass {
  readonly name: string;
  readonly proves: string;
  run(graph: Graph): Graph;
}
