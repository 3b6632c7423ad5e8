/** Functions on tensors. Each adds one op to the graph; the op table (compiler/ir/ops) says what each computes. */
import { UserError } from '../ir/errors.ts';
import type { Attrs } from '../ir/graph.ts';
import { printRows } from '../ir/rows.ts';
import { emit, rowsOf, tracing } from './context.ts';
import type { Linear } from './layer-classes.ts';
import type { Mask } from './mask.ts';
import { describe, maskPlace } from './mask.ts';
import type { AnyParameter, Parameter } from './parameter.ts';
import type { Sequence } from './sequence.ts';
import { Integers, Tensor } from './tensor.ts';
import type { Pictures, RowMap, Rows } from './tensor.ts';
import { callSite } from './where.ts';

/** A function of every element. */
export type Activation = <Kinds extends string, Width extends string>(x: Tensor<Kinds, Width>) => Tensor<Kinds, Width>;
const unary = (op: string): Activation => (x) => new Tensor(emit(op, [x.node]), x.width);

/** x · Φ(x), exact (erf): Hendrycks and Gimpel, arXiv 1606.08415. */
export const gelu = unary('gelu');
/** GELU by its tanh approximation. */
export const gelu_tanh = unary('gelu_tanh');
/** x · sigmoid(1.702 x), CLIP's GELU. */
export const quick_gelu = unary('quick_gelu');
/** x · sigmoid(x). */
export const silu = unary('silu');
export const relu = unary('relu');
export const sigmoid = unary('sigmoid');
export const tanh = unary('tanh');

/** Rotary embedding's stretching for long contexts, as Hugging Face's `rope_scaling` names it. */
export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | { readonly type: 'llama3'; readonly factor: number; readonly low_freq_factor: number; readonly high_freq_factor: number; readonly original_max_position_embeddings: number };
export interface RopeOptions {
  readonly heads: number;
  readonly theta: number;
  readonly scaling?: RopeScaling;
  /** How many channels of each head are rotated, the first ones; all by default. */
  readonly rotated?: number;
}

/** Rotates each head of each row by the row's position (Su et al., arXiv 2104.09864), pairs (i, i + rotated/2). */
export function rope<Kinds extends string, Width extends string>(x: Tensor<Kinds, Width>, positions: Integers<Kinds>, { heads, theta, scaling, rotated }: RopeOptions): Tensor<Kinds, Width> {
  const attrs = { heads, ...(rotated !== undefined && { rotated }), theta, ...(scaling && { scaling: scaling as unknown as Attrs }) };
  return new Tensor<Kinds, Width>(emit(rotated === undefined ? 'rope' : 'rope_part', [x.node, positions.node], attrs), x.width);
}

/** Each row's position in the prompt, from 0 (in a tower: in the picture). */
export const position = <Kinds extends string, Width extends string>(of: Tensor<Kinds, Width>): Integers<Kinds> => rowNumber(of, 'position');
/** Each row's place within its own image or run of text, from 0. */
export const index = <Kinds extends string, Width extends string>(of: Tensor<Kinds, Width>): Integers<Kinds> => rowNumber(of, 'index');
const rowNumber = <Kinds extends string, Width extends string>(x: Tensor<Kinds, Width>, of: 'position' | 'index'): Integers<Kinds> =>
  new Integers<Kinds>(emit('row_number', [], { of, rows: printRows(x.node.type.rows!) }));

export interface AttentionOptions<Kinds extends string> {
  readonly mask: Mask<Kinds>;
  readonly heads: number;
  /** Fewer key-value heads than heads is grouped-query attention (arXiv 2305.13245). The same number, by default. */
  readonly kv_heads?: number;
  /** What scores are multiplied by; 1 / √(width of a head), by default. */
  readonly scale?: number;
}

/**
 * softmax(scale · q kᵀ, where the mask allows) v, head by head; gives one row for each row of `q`. The heads of a row
 * lie one after another. A row that may read nothing gets zeros.
 */
export function attention<All extends string, Q extends All, K extends All, QWidth extends string, KWidth extends string>(
  q: Tensor<Q, QWidth>, k: Tensor<K, KWidth>, v: Tensor<K, KWidth>, { mask, heads, kv_heads = heads, scale }: AttentionOptions<All>): Tensor<Q, QWidth> {
  const rows = q.node.type.rows!, width = q.node.type.dims[0]!, place = maskPlace(mask);
  if (rows.sequence !== mask.sequence.ir)
    throw new UserError(`The attention's rows belong to the sequence '${rows.sequence.name}' (${rows.sequence.kinds.map((x) => x.name).join(', ')}), but its mask${place ? ` (${place.file}:${place.line})` : ''} speaks of the sequence ${describe(mask.sequence)}. Declare the mask over the same sequence.`, callSite());
  const attrs = { heads, kv_heads, scale: scale ?? Math.sqrt(heads / width), mask: tracing().mask(mask) };
  return new Tensor<Q, QWidth>(emit('attention', [q.node, k.node, v.node], attrs), q.width);
}

/** Rows of one sequence taken as rows of one kind of another, in order: a tower's patches become visual tokens. */
export function asRows<Width extends string, Kinds extends string, Kind extends Kinds>(x: Rows<Width>, sequence: Sequence<Kinds>, kind: Kind): Tensor<Kind, Width> {
  return new Tensor<Kind, Width>(emit('as_rows', [x.node], { rows: printRows(rowsOf(sequence, [kind])) }), x.width);
}

/**
 * Rows of a kind, each gathered from rows of pictures and from learned rows by a map that comes with the image: the visual rows
 * of a picture in tiles. Source i of the map is row i of `x`, counted through all pictures; source -1 is `learned`.
 */
export function gatherRows<Kind extends string, From extends string, Width extends string>(map: RowMap<Kind>, x: Tensor<From, Width>, learned?: Parameter<Width>): Tensor<Kind, Width> {
  return new Tensor<Kind, Width>(emit('gather_rows', [map.sources, x.node, ...(map.weights ? [map.weights] : []), ...(learned ? [tracing().weight(learned)] : [])]), x.width);
}

/**
 * x·Wᵀ + b with one of several equal parts of a weight, counted from 0: torch.nn.MultiheadAttention keeps the projections to
 * queries, keys and values one below the other in one matrix. `width` names the width of the result.
 */
export function linearPart<Kinds extends string, In extends string, Width extends string>(
  x: Tensor<Kinds, In>, weight: AnyParameter, bias: AnyParameter, { part, of, width }: { readonly part: number; readonly of: number; readonly width: Width }): Tensor<Kinds, Width> {
  const tracer = tracing();
  return new Tensor<Kinds, Width>(emit('linear_part', [x.node, tracer.weight(weight), tracer.weight(bias)], { part, of }), width);
}

/** The `top` largest scores of each row, as numbers of the experts that they are for: the largest first. */
export const topK = <Kinds extends string, Width extends string>(scores: Tensor<Kinds, Width>, top: number): Integers<Kinds> => new Integers<Kinds>(emit('top_k', [scores.node], { top }));

/**
 * Each row by the layers of the experts that it has chosen and no others; what they give lies side by side, one choice after the
 * other. `x` is the same for all choices, or what such a layer gave: then each choice goes on with its own.
 */
export function expertLinear<Kinds extends string, In extends string, Out extends string>(x: Tensor<Kinds, In>, chosen: Integers<Kinds>, experts: readonly Linear<In, Out>[]): Tensor<Kinds, Out> {
  const tracer = tracing(), biases = experts.flatMap((e) => e.bias ?? []);
  return new Tensor<Kinds, Out>(emit('expert_linear', [x.node, chosen.node, ...experts.map((e) => tracer.weight(e.weight)), ...biases.map((b) => tracer.weight(b))], { experts: experts.length }), experts[0]!.to);
}

/** What the chosen experts of each row gave, added up by the softmax of their scores (over the chosen alone). */
export const mixExperts = <Kinds extends string, Width extends string, Scores extends string>(x: Tensor<Kinds, Width>, chosen: Integers<Kinds>, scores: Tensor<Kinds, Scores>): Tensor<Kinds, Width> =>
  new Tensor<Kinds, Width>(emit('mix_experts', [x.node, chosen.node, scores.node]), x.width);

/** One vector as every row of a kind: a class token. */
export function broadcast<Width extends string, Kinds extends string, Kind extends Kinds>(vector: Parameter<Width>, sequence: Sequence<Kinds>, kind: Kind): Tensor<Kind, Width> {
  const leaf = tracing().weight(vector);
  return new Tensor<Kind, Width>(emit('broadcast', [leaf], { rows: printRows(rowsOf(sequence, [kind])) }), vector.width);
}

/** Row i of a table as the i-th row of a kind: learned queries. */
export function learnedRows<Width extends string, Kinds extends string, Kind extends Kinds>(table: Parameter<Width>, sequence: Sequence<Kinds>, kind: Kind): Tensor<Kind, Width> {
  const numbers = emit('row_number', [], { of: 'index', rows: printRows(rowsOf(sequence, [kind])) });
  return new Tensor<Kind, Width>(emit('embed', [numbers, tracing().weight(table)]), table.width);
}

/** Cuts pictures into square patches of `size` pixels, row by row from the top left: rows of `[channels · size · size]`. */
export function patches<Kinds extends string, Kind extends Kinds, Width extends string>(pixels: Pictures, sequence: Sequence<Kinds>, kind: Kind, size: number, width: Width): Tensor<Kind, Width> {
  return new Tensor<Kind, Width>(emit('patches', [pixels.node], { size, rows: printRows(rowsOf(sequence, [kind])) }), width);
}

/**
 * Space to depth: each `factor` × `factor` rows of a square picture, side by side in one row that is factor² times as wide.
 * The rows of the result are `kind` of `sequence`, whose width is named `width`.
 */
export function pixelShuffle<Given extends string, In extends string, Kinds extends string, Kind extends Kinds, Width extends string>(x: Tensor<Given, In>, factor: number, sequence: Sequence<Kinds>, kind: Kind, width: Width): Tensor<Kind, Width> {
  return new Tensor<Kind, Width>(emit('pixel_shuffle', [x.node], { factor, rows: printRows(rowsOf(sequence, [kind])) }), width);
}
