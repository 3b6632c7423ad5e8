import type { GraphBuilder } from '../ir/builder.ts';
import { UserError } from '../ir/errors.ts';
import type { Attrs, Node } from '../ir/graph.ts';
import type { RowSet } from '../ir/rows.ts';
import { rowSet } from '../ir/rows.ts';
import type { AnyMask } from './mask.ts';
import type { AnyParameter } from './parameter.ts';
import type { AnySequence } from './sequence.ts';
import { callSite } from './where.ts';

/** What the ops of the DSL need of the trace that is running (compiler/frontend/trace.ts). */
export interface Tracer {
  readonly builder: GraphBuilder;
  /** The leaf of a parameter; the parameter must stand at an attribute of the model. */
  weight(parameter: AnyParameter): Node;
  /** Declares the sequence in the graph. */
  sequence(sequence: AnySequence): void;
  /** Declares the mask in the graph and gives its name there. */
  mask(mask: AnyMask): string;
}

let current: Tracer | undefined;

/** The running trace. Tensors exist only within one: a `forward` computes nothing, it says what is computed. */
export function tracing(): Tracer {
  if (!current) throw new UserError('Tensors are computed only while a model is compiled: call this from a forward(), and compile the model that holds it.', callSite());
  return current;
}

export function withTracer<T>(tracer: Tracer, run: () => T): T {
  const before = current;
  current = tracer;
  try { return run(); } finally { current = before; }
}

/** Adds an op at the author's line. */
export function emit(op: string, inputs: readonly Node[], attrs: Attrs = {}): Node {
  const { builder } = tracing();
  builder.where = callSite();
  return builder.op(op, inputs, attrs);
}

/** The rows of the given kinds, after a check that the sequence has them. */
export function rowsOf(sequence: AnySequence, kinds: readonly string[]): RowSet {
  const unknown = kinds.find((k) => !sequence.kinds.includes(k));
  if (unknown !== undefined) throw new UserError(`The sequence '${sequence.name}' has no kind '${unknown}'; its kinds are ${sequence.kinds.join(', ')}.`, callSite());
  tracing().sequence(sequence);
  return rowSet(sequence.ir, kinds);
}
