/** What the cases should give, in float64 with plain loops, for the rows that are checked. */
import type { AttentionCase, Case, LayerCase, ProductCase } from './cases.ts';
import { activations, checkedRows, layerWeights, normEpsilon, productWeight, readingWeight, ropeTheta, shifted, shifts } from './cases.ts';

type Numbers = Float32Array | Float64Array;

/** All channels of the rows that `checkedRows` names, one after another. */
export function reference(c: Case): Float64Array {
  const rows = c.kind === 'product' ? product(c) : c.kind === 'attention' ? attention(c) : layer(c);
  const out = new Float64Array(rows.reduce((n, r) => n + r.length, 0));
  rows.reduce((at, r) => { out.set(r, at); return at + r.length; }, 0);
  return out;
}

/** The same of a layer through the directions that ours shows. */
export function projected(c: Case, rows: Float64Array): Float64Array {
  if (c.kind !== 'layer') return rows;
  const weight = readingWeight(c), { hidden } = c.widths;
  return Float64Array.from(Array.from({ length: rows.length / hidden }, (_, r) => Array.from(multiply(weight, rows.subarray(r * hidden, (r + 1) * hidden)))).flat());
}

/** Largest difference, relative to the largest value that is expected; NaN counts as infinite. */
export function errorOf(got: ArrayLike<number>, expected: Float64Array): number {
  if (got.length !== expected.length) return Infinity;
  let worst = 0, largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const e = Math.abs(got[i]! - expected[i]!);
    worst = e <= worst ? worst : Number.isNaN(e) ? Infinity : e;
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return worst / largest;
}

/** W · x, W `[outputs, x.length]`. Four sums, or the loop waits for each addition. */
function multiply(weight: Float32Array, x: Numbers): Float64Array {
  const n = x.length, out = new Float64Array(weight.length / n);
  for (let o = 0; o < out.length; o++) {
    const at = o * n;
    let a = 0, b = 0, c = 0, d = 0, i = 0;
    for (; i + 3 < n; i += 4) {
      a += weight[at + i]! * x[i]!;
      b += weight[at + i + 1]! * x[i + 1]!;
      c += weight[at + i + 2]! * x[i + 2]!;
      d += weight[at + i + 3]! * x[i + 3]!;
    }
    for (; i < n; i++) a += weight[at + i]! * x[i]!;
    out[o] = a + b + c + d;
  }
  return out;
}

const rowOf = (x: Float32Array, row: number, width: number): Float32Array => x.subarray(row * width, (row + 1) * width);

function product(c: ProductCase): Float64Array[] {
  const x = activations(c), weight = productWeight(c);
  return checkedRows(c).map((r) => multiply(weight, rowOf(x, r, c.inner)));
}

/** One row of attention; keys and values as rows, `reads` says which. */
function attend(q: Numbers, keys: readonly Numbers[], values: readonly Numbers[], reads: readonly number[], heads: number, headDim: number): Float64Array {
  const kvHeads = keys[0]!.length / headDim, out = new Float64Array(heads * headDim);
  for (let h = 0; h < heads; h++) {
    const at = Math.floor(h / (heads / kvHeads)) * headDim;
    const scores = reads.map((k) => { let s = 0; for (let d = 0; d < headDim; d++) s += q[h * headDim + d]! * keys[k]![at + d]!; return s / Math.sqrt(headDim); });
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity), weights = scores.map((s) => Math.exp(s - top)), sum = weights.reduce((a, b) => a + b, 0);
    reads.forEach((k, i) => { for (let d = 0; d < headDim; d++) out[h * headDim + d]! += (weights[i]! / sum) * values[k]![at + d]!; });
  }
  return out;
}
const upTo = (row: number): number[] => Array.from({ length: row + 1 }, (_, i) => i);

function attention(c: AttentionCase): Float64Array[] {
  const width = c.heads * c.headDim, x = activations(c), split = (y: Float32Array): Float32Array[] => Array.from({ length: c.length }, (_, r) => rowOf(y, r, width));
  const keys = split(shifted(x, width, shifts.keys)), values = split(shifted(x, width, shifts.values));
  return checkedRows(c).map((r) => attend(rowOf(x, r, width), keys, values, upTo(r), c.heads, c.headDim));
}

/** g · x / √(mean(x²) + ε). */
function norm(row: Numbers, gain: Float32Array): Float64Array {
  let sum = 0;
  for (const v of row) sum += v * v;
  const scale = 1 / Math.sqrt(sum / row.length + normEpsilon);
  return Float64Array.from(row, (v, i) => v * scale * gain[i]!);
}

/** Channel i of each head turns with channel i + d/2. */
const rotate = (row: Float64Array, position: number, headDim: number): Float64Array => row.map((v, i) => {
  const channel = i % headDim, half = headDim / 2, first = channel < half, angle = position * ropeTheta ** ((-2 * (channel % half)) / headDim);
  return v * Math.cos(angle) + (first ? -row[i + half]! : row[i - half]!) * Math.sin(angle);
});

/** Keys and values of the first rows of a layer: what the cache of a decode step holds. */
export function keysAndValues(c: LayerCase, rows: number): { readonly keys: Float64Array[]; readonly values: Float64Array[] } {
  const w = layerWeights(c), x = activations(c), normed = Array.from({ length: rows }, (_, r) => norm(rowOf(x, r, c.widths.hidden), w.inputNorm));
  return { keys: normed.map((n, r) => rotate(multiply(w.k, n), r, c.widths.headDim)), values: normed.map((n) => multiply(w.v, n)) };
}

function layer(c: LayerCase): Float64Array[] {
  const { hidden, heads, headDim } = c.widths, w = layerWeights(c), x = activations(c), rows = c.step === 'decode' ? [c.visual + c.text] : checkedRows(c);
  const { keys, values } = keysAndValues(c, Math.max(...rows) + 1);
  return rows.map((r) => {
    const reads = c.mask === 'composite' && r < c.visual ? [r] : upTo(r), row = rowOf(x, r, hidden);
    const q = rotate(multiply(w.q, norm(row, w.inputNorm)), r, headDim), mixed = multiply(w.o, attend(q, keys, values, reads, heads, headDim));
    const h = mixed.map((v, i) => v + row[i]!), n = norm(h, w.outputNorm), gate = multiply(w.gate, n), up = multiply(w.up, n);
    return multiply(w.down, gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!)).map((v, i) => v + h[i]!);
  });
}
