/**
 * The reference interpreter: what a graph means, op by op, by the table's `evaluate`. Passes and kernels are held to it.
 *
 * Values are f32 in memory with sums in f64; a node of type f16 is rounded to f16. Nothing is tuned but the linear op: a
 * model of 2 million parameters with 150 rows takes about a second.
 */
import { UserError } from './errors.ts';
import { roundToF16 } from './f16.ts';
import type { Body, Graph, Node } from './graph.ts';
import { countUses, isLeaf, leafName } from './graph.ts';
import type { Layout, PlacedToken } from './layout.ts';
import { hasText } from './layout.ts';
import { predicate } from './mask/eval.ts';
import type { EvalContext, Tensor, Token } from './ops/def.ts';
import { opDef } from './ops/index.ts';
import { describeNode } from './print.ts';
import type { RowSet } from './rows.ts';
import { maskKind } from './rows.ts';
import { suggest } from './spelling.ts';
import { asHeld, stateFormatOf } from './state-format.ts';
import { printType, rowElements } from './types.ts';

export interface StepOptions {
  /** The rows that the step computes. Sequences that are not named have none. */
  readonly layout: Layout;
  /** Values of the graph's inputs by name, row-major; those of rows in memory order (kind after kind). */
  readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
  /** Module paths whose values are wanted: of each, the value of the last node with just this path. */
  readonly taps?: Iterable<string>;
  /** Sees every value as it is computed, those inside fused ops too. */
  readonly watch?: (node: Node, value: Tensor) => void;
  /** Stops at the first value that is not finite, with a UserError that names the op and its path. */
  readonly guard?: boolean;
}

export interface StepResult {
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** By module path; paths without a node in the graph are missing. */
  readonly taps: ReadonlyMap<string, Tensor>;
  /** Which tokens the rows of a value of this step are, in memory order: with kind, position, index and image. */
  tokens(rows: RowSet): readonly Token[];
}

/** What a step finds around it; `Session` gives it. */
export interface Surroundings {
  tokens(rows: RowSet): readonly PlacedToken[];
  weight(n: Node): Float32Array | Int32Array | undefined;
  read(state: Node, at: readonly PlacedToken[]): Float32Array;
  write(state: Node, x: Tensor, at: readonly PlacedToken[]): void;
}

/** Runs one graph once; `Session.image` and `Session.extend` are the ways in. */
export function runStep(g: Graph, options: StepOptions, around: Surroundings): StepResult {
  for (const name of Object.keys(options.inputs ?? {}))
    if (!g.inputs.has(name)) throw new UserError(`The graph '${g.name}' has no input '${name}'.${suggest(name, g.inputs.keys(), 'Its inputs are')}`);
  const run = new Step(g, options, around);
  // Before anything is stored: a state that is read is the state before the step.
  for (const n of g.states.values()) run.values.set(n, run.leaf(n));
  const uses = countUses(g);
  for (const n of g.nodes) {
    run.values.set(n, run.evaluate(n, n.inputs.map((i) => run.value(i))));
    for (const i of n.inputs) {
      uses.set(i, uses.get(i)! - 1);
      if (!uses.get(i)) run.values.delete(i);
    }
  }
  return { outputs: new Map([...g.outputs].map(([name, n]) => [name, run.value(n)])), taps: run.taps, tokens: (rows) => around.tokens(rows) };
}

class Step implements EvalContext {
  readonly values = new Map<Node, Tensor>();
  readonly taps = new Map<string, Tensor>();
  private readonly wanted: ReadonlySet<string>;
  /** States with rows that no step has stored: a likely cause of NaN. */
  private readonly holes = new Map<string, number>();

  constructor(private readonly g: Graph, private readonly options: StepOptions, private readonly around: Surroundings) { this.wanted = new Set(options.taps ?? []); }

  tokens(rows: RowSet): readonly Token[] { return this.around.tokens(rows); }
  allows(mask: string, q: Token, k: Token): boolean {
    const { sequence, expr } = this.g.masks.get(mask)!;
    // Without text every image is a sequence of its own, and no mask speaks of two of them.
    if (q.image !== k.image && !hasText(sequence)) return false;
    const seen = (t: Token): Token => { const kind = maskKind(sequence, t.kind); return kind === t.kind ? t : { ...t, kind }; };
    return predicate(expr)(seen(q), seen(k));
  }
  store(state: string, x: Tensor): Tensor {
    const n = this.g.states.get(state)!;
    const given = finish(n, x), data = given.data as Float32Array;
    this.around.write(n, { ...given, data: asHeld(stateFormatOf(n), data, rowElements(n.type)) }, this.around.tokens(x.type.rows!));
    return this.stateOf(n);
  }
  run(body: Body, inputs: readonly Tensor[]): Tensor[] {
    const values = new Map<Node, Tensor>(body.params.map((p, i) => [p, inputs[i]!]));
    for (const n of body.nodes) values.set(n, this.evaluate(n, n.inputs.map((i) => values.get(i)!)));
    return body.results.map((r) => values.get(r)!);
  }

  value(n: Node): Tensor {
    let v = this.values.get(n);
    if (!v && isLeaf(n)) this.values.set(n, (v = this.leaf(n)));
    return v!;
  }

  evaluate(n: Node, inputs: readonly Tensor[]): Tensor {
    let v: Tensor;
    try { v = finish(n, opDef(n.op).evaluate(n, inputs, this)); } catch (e) {
      if (!(e instanceof RangeError) || /call stack/i.test(e.message)) throw e;
      throw new UserError(`${describeNode(this.g, n)} of the graph '${this.g.name}' cannot be computed: ${e.message}`, n.where, { cause: e });
    }
    if (v.data.length !== this.length(n)) throw new Error(`${describeNode(this.g, n)} gave ${v.data.length} entries as ${printType(n.type)}, which has ${this.length(n)} here.`);
    if (this.options.guard) this.checkFinite(n, v);
    if (this.wanted.has(n.path)) this.taps.set(n.path, v);
    this.options.watch?.(n, v);
    return v;
  }

  leaf(n: Node): Tensor {
    if (n.op === 'state') return this.stateOf(n);
    const name = leafName(n), length = this.length(n);
    const given = n.op === 'weight' ? this.around.weight(n) : this.options.inputs?.[name] ?? (length ? undefined : []);
    if (!given) throw new UserError(`The graph '${this.g.name}' needs the ${n.op} '${name}', ${printType(n.type)}, but none was given.`);
    if (given.length !== length) throw new UserError(`The ${n.op} '${name}' of the graph '${this.g.name}' is ${printType(n.type)}, ${length} entries here, but ${given.length} were given.`);
    const floats = n.type.dtype.startsWith('f');
    const data = floats ? (given instanceof Float32Array ? given : Float32Array.from(given)) : given instanceof Int32Array ? given : Int32Array.from(given);
    const v = finish(n, { type: n.type, data });
    if (this.options.guard) this.checkFinite(n, v);
    return v;
  }

  private stateOf(n: Node): Tensor {
    const at = this.around.tokens(n.type.rows!), data = this.around.read(n, at), w = rowElements(n.type);
    const missing = at.filter((_, i) => Number.isNaN(data[i * w]!)).length;
    if (missing) this.holes.set(leafName(n), missing); else this.holes.delete(leafName(n));
    return { type: n.type, data };
  }

  private length(n: Node): number { return rowElements(n.type) * (n.type.rows ? this.around.tokens(n.type.rows).length : 1); }

  private checkFinite(n: Node, v: Tensor): void {
    // A whole state may have rows that nobody has stored yet, and that nobody may read.
    if (n.type.rows?.context) return;
    const i = (v.data as Float32Array).findIndex((x) => !Number.isFinite(x));
    if (i < 0) return;
    const w = rowElements(n.type), t = n.type.rows && this.around.tokens(n.type.rows)[Math.floor(i / w)];
    const where = t ? `row ${Math.floor(i / w)} (${t.kind} at position ${t.pos}), entry ${i % w}` : `entry ${i}`;
    const what = isLeaf(n) ? `The ${n.op} '${leafName(n)}' holds` : `${describeNode(this.g, n)} is the first op to give`;
    const holes = [...this.holes].map(([state, rows]) => ` The state '${state}' has ${rows} row(s) that no step has stored.`).join('');
    throw new UserError(`${what} ${v.data[i]} in the graph '${this.g.name}', at ${where}.${holes}`, n.where);
  }
}

/** The value as the node's type holds it. */
function finish(n: Node, v: Tensor): Tensor {
  return n.type.dtype === 'f16' ? { ...v, type: n.type, data: Float32Array.from(v.data, roundToF16) } : v;
}
