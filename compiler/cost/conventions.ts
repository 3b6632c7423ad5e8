/**
 * Counting conventions: what of a graph's work is a FLOP, and which rows and pairs are counted.
 *
 * "FLOPs" of multimodal models means many things, three pairs of which differ by nearly 2×. A convention is data: weights
 * per class of count, how rows and query-key pairs are taken, and which parts make the total. Published ones carry the name
 * of the paper or tool that counts so.
 */
import type { CountClass } from '../ir/ops/def.ts';

export const partNames = ['vision', 'projector', 'decoder', 'head'] as const;
export type Part = (typeof partNames)[number];

/**
 * Pairs of query and key: `admitted` by the mask; the whole `rectangle` of queries and keys that are computed; or `half` of
 * the rectangle where the sequence holds text (causal attention counted by halving), towers whole.
 */
export type PairRule = 'admitted' | 'rectangle' | 'half';

export interface Convention {
  readonly name: string;
  /** One sentence for tables and help. */
  readonly says: string;
  /** FLOPs per unit of each class; classes that are missing count nothing. */
  readonly weights: Readonly<Partial<Record<CountClass, number>>>;
  readonly pairs: PairRule;
  /**
   * `read`: only rows that somebody reads. `handed on`: all rows of whatever one part hands to another, as if the last layer
   * were not trimmed. `written`: besides, what the definition computes and nobody reads, as a tower's last layer.
   */
  readonly rows: 'read' | 'handed on' | 'written';
  /**
   * Of a share of rows (`keep`): as many as there are, in `whole` rows, or the `fraction` that a paper's formula puts in. FLOPs
   * are then rounded to the nearest integer.
   */
  readonly shares: 'whole' | 'fraction';
  /** Rows of the output head: those that the model wants, or all. */
  readonly headRows: 'wanted' | 'all';
  /** Parts that make the total; the others are still reported. */
  readonly total: readonly Part[];
  /** The decoder's FLOPs are the mean over its layers, not their sum. */
  readonly mean?: 'layers';
  /** Rows of text are not counted, however many there are. */
  readonly media?: true;
  /** Ops whose module path matches are left out. */
  readonly without?: RegExp;
  /** Weights that replace the others in one part. */
  readonly partWeights?: Readonly<Partial<Record<Part, Readonly<Partial<Record<CountClass, number>>>>>>;
  /** Of a convention that is settled for a model (settle.ts): how many layers the mean is over, and the dims of rows that are not counted. */
  readonly layers?: number;
  readonly absent?: readonly string[];
}

/** True where FLOPs need not be whole: they are rounded once they have been summed. */
export const hasFractions = (c: Convention): boolean => c.shares === 'fraction' || c.mean !== undefined;

const everything: readonly Part[] = partNames;
const macs = { matmul: 1, scores: 1 }, flops = { matmul: 2, scores: 2 };

export const conventions: Readonly<Record<string, Convention>> = Object.fromEntries(([
  {
    name: 'exact', says: '2 per multiply-add of matmuls and scores; only rows that are read, only pairs that the mask admits (causal counted as causal).',
    weights: flops, pairs: 'admitted', rows: 'read', shares: 'whole', headRows: 'wanted', total: everything,
  },
  {
    name: 'dense', says: '2 per multiply-add of matmuls and scores; scores as the full square over the rows that query; no trimming of the last layer.',
    weights: flops, pairs: 'rectangle', rows: 'handed on', shares: 'whole', headRows: 'wanted', total: everything,
  },
  {
    // LLM-Viewer counts the activation once per layer over h, not over m: as much as one residual more per residual.
    name: 'llm-viewer', says: "LLM-Viewer's OPs: matmuls 2, full square, softmax 5 a score, norm 7, residual 1, activation 2 an element; one row of the head at 1; no tower.",
    weights: { ...flops, softmax: 5, norm: 7, residual: 2 }, pairs: 'rectangle', rows: 'handed on', shares: 'whole', headRows: 'wanted', total: ['decoder', 'head'],
    partWeights: { head: { matmul: 1 } }, without: /(^|\.)(text_)?model\.norm$/,
  },
  {
    name: 'fastv', says: "FastV's multiply-adds (arXiv 2403.06764, eq. 5): full square, two of the three matmuls of the feed-forward, the mean over the decoder's layers.",
    weights: macs, pairs: 'rectangle', rows: 'handed on', shares: 'fraction', headRows: 'wanted', total: ['decoder'], mean: 'layers', without: /\.up_proj$/,
  },
  {
    name: 'pdrop', says: "PyramidDrop's multiply-adds (arXiv 2410.17247): full square, decoder alone, visual rows alone (text is not counted).",
    weights: macs, pairs: 'rectangle', rows: 'handed on', shares: 'fraction', headRows: 'wanted', total: ['decoder'], media: true,
  },
  {
    name: 'shortv', says: "ShortV's FLOPs (arXiv 2504.00502): 2 per multiply-add, full square, decoder alone; counted there with 64 text rows.",
    weights: flops, pairs: 'rectangle', rows: 'handed on', shares: 'fraction', headRows: 'wanted', total: ['decoder'],
  },
  {
    name: 'calflops-linear', says: "calflops on fused attention (LLaVA-Mini, arXiv 2501.03895): linear maps alone, all rows of the head, tower included.",
    weights: { matmul: 2 }, pairs: 'rectangle', rows: 'written', shares: 'whole', headRows: 'all', total: everything,
  },
  {
    name: 'causal-half', says: "LLaVA-UHD's FLOPs (arXiv 2403.11703): decoder scores halved for causality, tower whole, all rows of the head, visual rows alone (text is not counted).",
    weights: flops, pairs: 'half', rows: 'written', shares: 'whole', headRows: 'all', total: everything, media: true,
  },
  {
    name: 'flopcounter', says: "PyTorch's operator-level counter: matmuls and scores at 2, full square, every row of every layer.",
    weights: flops, pairs: 'rectangle', rows: 'written', shares: 'whole', headRows: 'all', total: everything,
  },
] satisfies Convention[]).map((c) => [c.name, c]));
