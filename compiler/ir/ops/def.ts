import type { Attrs, Body, GraphHead, Node, Time } from '../graph.ts';
import type { GraphBuilder } from '../builder.ts';
import { Poly } from '../poly.ts';
import type { RowSet } from '../rows.ts';
import type { TensorType } from '../types.ts';

/** A row's identity at run time. Positions count over the whole prompt, `index` within the row's own segment. */
export interface Token { readonly kind: string; readonly pos: number; readonly index: number; readonly image: number }

/** A concrete tensor in the reference interpreter: row-major, f32 or integers. */
export interface Tensor {
  readonly type: TensorType;
  readonly data: Float32Array | Int32Array;
  /** All results of a fused node; the tensor itself is the first. */
  readonly results?: readonly Tensor[];
}

/** What reference semantics may ask of the run. */
export interface EvalContext {
  /** Rows in memory order: kind after kind, each kind in the order of its positions. */
  tokens(rows: RowSet): readonly Token[];
  /** The mask's predicate. */
  allows(mask: string, q: Token, k: Token): boolean;
  /** Appends rows to a state and gives the whole state. */
  store(state: string, x: Tensor): Tensor;
  run(body: Body, inputs: readonly Tensor[]): Tensor[];
}

/**
 * What is counted, by class; a cost convention weights each class. `matmul` and `scores` count multiply-adds,
 * `softmax` scores, the others elements.
 */
export const countClasses = ['matmul', 'scores', 'softmax', 'norm', 'rope', 'activation', 'residual', 'bias', 'embed', 'other'] as const;
export type CountClass = (typeof countClasses)[number];
export type Counts = Partial<Record<CountClass, Poly>>;

/** Elements that computing a node reads of each input, and that it writes. */
export interface Moves { readonly reads: readonly Poly[]; readonly writes: Poly }

/**
 * What an attribute holds: `count` an integer of at least 1, `index` one of at least 0, `number` any finite number, `text`
 * a string, `rows` the name of a set of rows, `mask` the name of a declared mask, `any` whatever an attribute can be
 * (the op's own `infer` looks inside). A `?` marks what may be left out.
 */
export type AttrKind = 'count' | 'index' | 'number' | 'text' | 'rows' | 'mask' | 'any';
export type AttrRules = Readonly<Record<string, AttrKind | `${AttrKind}?`>>;

/** One entry of the op table. Every analysis reads it; none has a switch over op names. */
export interface OpDef {
  readonly name: string;
  /** One sentence for the docs. */
  readonly doc: string;
  /** How many inputs the op takes: just so many, or from … to. */
  readonly arity: number | readonly [number, number];
  /** The attributes it has. `'*'` stands for further ones of any name. */
  readonly attrs: AttrRules;
  /**
   * Shape rule; throws a RangeError with a sentence when the inputs disagree. Called through `inferType` (infer.ts), which
   * has checked the number of inputs and the attributes before.
   */
  infer(inputs: readonly TensorType[], attrs: Attrs, head: GraphHead, body?: Body): TensorType;
  /**
   * Which rows of input `i` are read to compute rows `out` of the node; undefined for none. By default an op works row
   * by row: the same rows of every input that has rows.
   */
  reads?(node: Node, out: RowSet, i: number, head: GraphHead): RowSet | undefined;
  /** Inputs of which an output row reads what rows there are, as an attention its keys and values: rows that have left are no loss. */
  readonly gathers?: readonly number[];
  /** The node computed for rows `out` alone, over inputs that hold at least what `reads` says. */
  narrow?(b: GraphBuilder, node: Node, inputs: readonly Node[], out: RowSet): Node;
  /** When the op's own data (positions, masks) is known, besides its inputs, for rows of one kind. */
  time?(node: Node, kind: string | undefined, head: GraphHead): Time;
  /** Work to compute the node. `pairs` counts the query-key pairs of an attention node. */
  counts(node: Node, pairs: (attention: Node) => Poly): Counts;
  /** What computing the node moves, unless it reads every input once and writes its result; views move nothing. */
  moves?(node: Node): Moves;
  /** Reference semantics in f32 with wide accumulation. */
  evaluate(node: Node, inputs: readonly Tensor[], ctx: EvalContext): Tensor;
  /** True for a function of one element (of each input) alone: such ops may become epilogues. */
  readonly elementwise?: boolean;
}

/** What moves when nothing does: views, and data that the rows carry. */
export const nothing = (n: Node): Moves => ({ reads: n.inputs.map(() => Poly.zero), writes: Poly.zero });

export const num = (attrs: Attrs, key: string): number => {
  const v = attrs[key];
  if (typeof v !== 'number') throw new RangeError(`needs the number attribute '${key}'.`);
  return v;
};
export const str = (attrs: Attrs, key: string): string => {
  const v = attrs[key];
  if (typeof v !== 'string') throw new RangeError(`needs the text attribute '${key}'.`);
  return v;
};
export const expect = (ok: boolean, message: () => string): void => { if (!ok) throw new RangeError(message()); };
