import type { Graph } from './graph.ts';

/**
 * The entry points of one model, in the order in which they run: graphs over the same sequences, masks and weights, that
 * hand rows to each other through states of the same name. Staging makes `vision` (once an image), `prefill` (once a
 * prompt) and `decode` (once a token); nothing here depends on these names.
 */
export interface Program {
  /** By the graph's own name. */
  readonly graphs: ReadonlyMap<string, Graph>;
}

export const program = (graphs: Iterable<Graph>): Program => ({ graphs: new Map([...graphs].map((g) => [g.name, g])) });
