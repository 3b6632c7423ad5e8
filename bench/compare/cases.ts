/** What is compared: single products, single attentions, whole decoder layers. All data comes from seeds, so every process makes its own copy. */
import { fromF16, toF16 } from '../../runtime/half.ts';
import { noise } from '../../test/support/attention.ts';

/** Storage of the weights, and of the activations of those who need both to be alike. Values are rounded to it beforehand, so all compute with the same numbers. */
export type Precision = 'f32' | 'f16';

/** y = x · Wᵀ: x `[rows, inner]`, W `[outputs, inner]`. One row is a matrix-vector product. */
export interface ProductCase { readonly kind: 'product'; readonly name: string; readonly precision: Precision; readonly rows: number; readonly inner: number; readonly outputs: number }
/** Causal attention, heads side by side in a row: q is the hidden state, k and v are it shifted by channels. No rotation. */
export interface AttentionCase { readonly kind: 'attention'; readonly name: string; readonly precision: Precision; readonly length: number; readonly heads: number; readonly headDim: number }
/** One decoder layer of Llama: RMS norms, grouped queries with rotary positions, SwiGLU, two residuals. */
export interface LayerCase {
  readonly kind: 'layer'; readonly name: string; readonly precision: Precision;
  /** All rows of a prompt, image before text; or one more row of text over the cache that those left. */
  readonly step: 'prefill' | 'decode';
  readonly mask: 'causal' | 'composite';
  readonly widths: Widths;
  readonly visual: number; readonly text: number;
}
export type Case = ProductCase | AttentionCase | LayerCase;
export interface Widths { readonly hidden: number; readonly intermediate: number; readonly heads: number; readonly kvHeads: number; readonly headDim: number }

export const ropeTheta = 10000, normEpsilon = 1e-5;

/** Multiply-adds count two; of attention only the pairs that the mask admits. */
export function flopsOf(c: Case): number {
  if (c.kind === 'product') return 2 * c.rows * c.inner * c.outputs;
  if (c.kind === 'attention') return 2 * c.length * (c.length + 1) * c.heads * c.headDim;
  const { hidden, intermediate, heads, kvHeads, headDim } = c.widths, q = heads * headDim, kv = kvHeads * headDim, length = c.visual + c.text, decode = c.step === 'decode';
  const queries = decode ? 1 : c.mask === 'composite' ? c.text : length, rows = decode ? 1 : length;
  const pairs = decode ? length + 1 : c.mask === 'causal' ? (length * (length + 1)) / 2 : c.text * c.visual + (c.text * (c.text + 1)) / 2;
  return 2 * hidden * (queries * q + rows * (2 * kv + q + 3 * intermediate)) + 4 * pairs * q;
}

/** Numbers in [-scale, scale) that begin at `offset`, as the precision stores them. */
function fill(count: number, seed: number, scale: number, precision: Precision, offset = 0): Float32Array {
  const random = noise(seed);
  return Float32Array.from({ length: count }, precision === 'f16' ? () => fromF16(toF16(offset + scale * random())) : () => offset + scale * random());
}

/** The rows that go in: of a layer the prompt's and the one to decode after it. */
export const activations = (c: Case): Float32Array =>
  c.kind === 'product' ? fill(c.rows * c.inner, 1, 1, c.precision)
  : c.kind === 'attention' ? fill(c.length * c.heads * c.headDim, 1, 1, c.precision)
  : fill((c.visual + c.text + 1) * c.widths.hidden, 1, 1, c.precision);

export const productWeight = (c: ProductCase): Float32Array => fill(c.outputs * c.inner, 2, 1 / Math.sqrt(c.inner), c.precision);

/** Channel of the hidden state that channel `i` of keys and of values is. */
export const shifts = { keys: 5, values: 11 } as const;
/** Rows of width `width` with their channels shifted. */
export function shifted(x: Float32Array, width: number, by: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = x[i - (i % width) + (((i % width) + by) % width)]!;
  return out;
}

/** Weights as checkpoints store them, `[out, in]`. */
export type LayerWeights = Readonly<Record<'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down' | 'inputNorm' | 'outputNorm', Float32Array>>;
export const layerShapes = ({ hidden, intermediate, heads, kvHeads, headDim }: Widths) => ({
  q: [heads * headDim, hidden], k: [kvHeads * headDim, hidden], v: [kvHeads * headDim, hidden], o: [hidden, heads * headDim],
  gate: [intermediate, hidden], up: [intermediate, hidden], down: [hidden, intermediate], inputNorm: [hidden], outputNorm: [hidden],
} as const satisfies Record<keyof LayerWeights, readonly number[]>);

export function layerWeights(c: LayerCase): LayerWeights {
  const entries = Object.entries(layerShapes(c.widths)).map(([name, shape], i) => {
    const matrix = shape.length > 1, count = shape.reduce((a, b) => a * b, 1);
    return [name, matrix ? fill(count, 10 + i, 1.5 / Math.sqrt(shape[1]!), c.precision) : fill(count, 10 + i, 0.1, c.precision, 1)] as const;
  });
  return Object.fromEntries(entries) as unknown as LayerWeights;
}

/** Ours shows the rows of a layer through as many random directions, `[directions, hidden]`: values that another attention reads, as in a model. */
export const directions = 16;
export const readingWeight = (c: LayerCase): Float32Array => fill(directions * c.widths.hidden, 30, 1 / Math.sqrt(c.widths.hidden), c.precision);

/** `[rows, columns]` with rows and columns exchanged. */
export function transposed(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length), block = 32;
  for (let r0 = 0; r0 < rows; r0 += block) for (let c0 = 0; c0 < columns; c0 += block)
    for (let r = r0; r < Math.min(rows, r0 + block); r++) for (let c = c0; c < Math.min(columns, c0 + block); c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** cos and sin of position × θ^(−2i/d), `[positions, headDim / 2]` each. */
export function rotary(positions: number, headDim: number): { cos: Float32Array; sin: Float32Array } {
  const half = headDim / 2, angle = (i: number): number => Math.floor(i / half) * ropeTheta ** ((-2 * (i % half)) / headDim);
  return { cos: Float32Array.from({ length: positions * half }, (_, i) => Math.cos(angle(i))), sin: Float32Array.from({ length: positions * half }, (_, i) => Math.sin(angle(i))) };
}

function maskBias(first: number, queries: number, keys: number, precision: Precision, reads: (q: number, k: number) => boolean): Float32Array {
  const out = new Float32Array(queries * keys), never = precision === 'f16' ? -60000 : -1e9;
  for (let i = 0; i < queries; i++) for (let k = 0; k < keys; k++) if (!reads(first + i, k)) out[i * keys + k] = never;
  return out;
}
/** Added to the scores of `queries` rows that begin at row `first` of the prompt: 0 where the mask lets them read, a large negative number where not. */
export const bias = (c: LayerCase, first: number, queries: number): Float32Array =>
  maskBias(first, queries, c.visual + c.text, c.precision, (q, k) => (c.mask === 'composite' && q < c.visual ? k === q : k <= q));
/** The same for causal attention alone. */
export const causalBias = (length: number, precision: Precision): Float32Array => maskBias(0, length, length, precision, (q, k) => k <= q);

/** Rows whose results are checked, all their channels: the first, the last, and those on both sides of where image meets text. */
export function checkedRows(c: Case): number[] {
  const length = c.kind === 'product' ? c.rows : c.kind === 'attention' ? c.length : c.step === 'decode' ? 1 : c.visual + c.text;
  const wanted = [0, 1, Math.floor(length / 3), length - 1, ...(c.kind === 'layer' ? [c.visual - 1, c.visual, c.visual + (c.text >> 1)] : [])];
  return [...new Set(wanted.filter((r) => r >= 0 && r < length))].sort((a, b) => a - b);
}

export interface Choice { readonly software: boolean; readonly sizes: 'tiny' | 'small' | 'full'; readonly half: boolean }
/** The cases of a run. `tiny` shows that everything works, `small` suits a software adapter, `full` has the widths of real models. */
export function casesFor({ sizes, half }: Choice): Case[] {
  const products = { tiny: [[40, 64, 96], [1, 64, 96]], small: [[640, 1024, 1024], [640, 2048, 2048], [64, 2048, 2048], [1, 2048, 2048], [1, 2048, 5632]], full: [[640, 2048, 2048], [640, 4096, 4096], [640, 4096, 11008], [4096, 4096, 4096], [64, 4096, 4096], [1, 4096, 4096], [1, 4096, 11008]] }[sizes];
  const attentions = { tiny: [[40, 2, 32]], small: [[640, 16, 64], [2048, 16, 64]], full: [[640, 32, 64], [2048, 32, 64], [2048, 32, 128], [4096, 32, 128]] }[sizes];
  const widths: Widths = {
    tiny: { hidden: 64, intermediate: 176, heads: 4, kvHeads: 2, headDim: 16 },
    small: { hidden: 1024, intermediate: 2816, heads: 16, kvHeads: 4, headDim: 64 },
    full: { hidden: 2048, intermediate: 5632, heads: 32, kvHeads: 4, headDim: 64 },
  }[sizes];
  const prompts = { tiny: [[24, 8]], small: [[576, 64]], full: [[576, 64], [2880, 64]] }[sizes];
  const out: Case[] = [];
  for (const precision of half ? ['f32', 'f16'] as const : ['f32'] as const) {
    // On software adapters f16 is not quicker than f32, and some peers' f16 attention takes minutes to compile: products show that it works.
    const brief = sizes === 'small' && precision === 'f16', some = <T>(list: readonly T[]): readonly T[] => (brief ? list.slice(0, 1) : list);
    for (const [rows, inner, outputs] of [...some(products.filter(([rows]) => rows !== 1)), ...some(products.filter(([rows]) => rows === 1))]) out.push({ kind: 'product', precision, rows: rows!, inner: inner!, outputs: outputs!, name: rows === 1 ? `matvec ${inner}×${outputs}, ${precision}` : `matmul ${rows}×${inner}×${outputs}, ${precision}` });
    if (brief) continue;
    for (const [length, heads, headDim] of attentions) out.push({ kind: 'attention', precision, length: length!, heads: heads!, headDim: headDim!, name: `causal attention, ${length} rows, ${heads} heads of ${headDim}, ${precision}` });
    for (const [visual, text] of prompts) for (const [step, mask] of [['prefill', 'causal'], ['prefill', 'composite'], ['decode', 'causal']] as const)
      out.push({ kind: 'layer', precision, step, mask, widths, visual: visual!, text: text!, name: `layer ${step}${step === 'prefill' ? `, ${mask}` : ''}, ${visual} + ${text} rows, ${precision}` });
  }
  return out;
}
