import type { Node } from '../graph.ts';
import { Poly } from '../poly.ts';
import type { TensorType } from '../types.ts';
import { elements, printType, rowElements, tensorType } from '../types.ts';
import type { OpDef, Tensor } from './def.ts';
import { expect, num } from './def.ts';

/**
 * X·Wᵀ + bias with sums in f64, two rows by four columns at a time: each number that is loaded is used often enough that the
 * interpreter runs at some 10⁹ multiply-adds a second. At the edges the last row or column is computed again.
 */
function multiply(X: Float32Array, W: Float32Array, bias: Float32Array, rows: number, N: number, K: number): Float32Array {
  const out = new Float32Array(rows * N);
  for (let r = 0; r < rows; r += 2) {
    const r1 = Math.min(r + 1, rows - 1), x0 = r * K, x1 = r1 * K;
    for (let j = 0; j < N; j += 4) {
      const j1 = Math.min(j + 1, N - 1), j2 = Math.min(j + 2, N - 1), j3 = Math.min(j + 3, N - 1);
      const w0 = j * K, w1 = j1 * K, w2 = j2 * K, w3 = j3 * K;
      let a0 = bias[j]!, a1 = bias[j1]!, a2 = bias[j2]!, a3 = bias[j3]!, b0 = a0, b1 = a1, b2 = a2, b3 = a3;
      for (let k = 0; k < K; k++) {
        const a = X[x0 + k]!, b = X[x1 + k]!, u0 = W[w0 + k]!, u1 = W[w1 + k]!, u2 = W[w2 + k]!, u3 = W[w3 + k]!;
        a0 += a * u0; a1 += a * u1; a2 += a * u2; a3 += a * u3;
        b0 += b * u0; b1 += b * u1; b2 += b * u2; b3 += b * u3;
      }
      out[r * N + j] = a0; out[r * N + j1] = a1; out[r * N + j2] = a2; out[r * N + j3] = a3;
      out[r1 * N + j] = b0; out[r1 * N + j1] = b1; out[r1 * N + j2] = b2; out[r1 * N + j3] = b3;
    }
  }
  return out;
}

/** x·Wᵀ (+ b): x `[rows, K]`, W `[N, K]` as checkpoints store it, b `[N]`. */
const linear: OpDef = {
  name: 'linear', doc: 'x·Wᵀ + b with W stored [out, in].', arity: [2, 3], attrs: {},
  infer: ([x, w, b]) => {
    expect(!!x!.rows && x!.dims.length === 1, () => `the input must be rows of vectors, not ${printType(x!)}.`);
    expect(w!.dims.length === 2 && !w!.rows && w!.dims[1] === x!.dims[0], () => `a weight of [out, ${x!.dims[0]}] was expected for ${printType(x!)}, not ${printType(w!)}.`);
    expect(!b || (!b.rows && b.dims.length === 1 && b.dims[0] === w!.dims[0]), () => `a bias of [${w!.dims[0]}] was expected, not ${printType(b!)}.`);
    return tensorType(x!.dtype, x!.rows, [w!.dims[0]!]);
  },
  counts: (n) => ({ matmul: elements(n.type).mul(n.inputs[0]!.type.dims[0]!), ...(n.inputs[2] ? { bias: elements(n.type) } : {}) }),
  evaluate: (n, [x, w, b]) => {
    const [N, K] = w!.type.dims as [number, number];
    const bias = (b?.data ?? new Float32Array(N)) as Float32Array;
    return { type: n.type, data: multiply(x!.data as Float32Array, w!.data as Float32Array, bias, x!.data.length / K, N, K) };
  },
};

/** The part of a weight's values. */
const partOf = (w: Tensor, n: Node): Float32Array => {
  const size = w.data.length / num(n.attrs, 'of'), from = num(n.attrs, 'part') * size;
  return (w.data as Float32Array).subarray(from, from + size);
};

/** x·Wᵀ (+ b) with part `part` of the `of` equal parts of W (and b) that lie one below the other, as torch.nn.MultiheadAttention keeps them. */
const linearPart: OpDef = {
  name: 'linear_part', doc: 'x·Wᵀ + b with one of several equal parts of W, which lie one below the other.', arity: [2, 3], attrs: { part: 'index', of: 'count' },
  infer: ([x, w, b], attrs) => {
    const of = num(attrs, 'of'), rows = w!.dims[0]! / of;
    expect(num(attrs, 'part') < of, () => `there is no part ${num(attrs, 'part')} of ${of}.`);
    expect(w!.dims.length === 2 && !w!.rows && Number.isInteger(rows), () => `a weight of ${of} equal parts was expected, not ${printType(w!)}.`);
    expect(!b || (!b.rows && b.dims.length === 1 && b.dims[0] === w!.dims[0]), () => `a bias of [${w!.dims[0]}] was expected, not ${printType(b!)}.`);
    expect(!!x!.rows && x!.dims.length === 1 && w!.dims[1] === x!.dims[0], () => `a weight of [out, ${x!.dims[0]}] was expected for ${printType(x!)}, not ${printType(w!)}.`);
    return tensorType(x!.dtype, x!.rows, [rows]);
  },
  counts: (n) => linear.counts(n, () => Poly.zero),
  moves: (n) => ({ reads: n.inputs.map((x, i) => (i ? elements(x.type).div(num(n.attrs, 'of')) : elements(x.type))), writes: elements(n.type) }),
  evaluate: (n, [x, w, b]) => {
    const N = n.type.dims[0]!, K = w!.type.dims[1]!, bias = b ? partOf(b, n) : new Float32Array(N);
    return { type: n.type, data: multiply(x!.data as Float32Array, partOf(w!, n), bias, x!.data.length / K, N, K) };
  },
};

const eachRow = (x: Tensor, f: (row: Float32Array, out: Float32Array) => void): Float32Array => {
  const w = rowElements(x.type), out = new Float32Array(x.data.length);
  for (let i = 0; i < out.length; i += w) f((x.data as Float32Array).subarray(i, i + w), out.subarray(i, i + w));
  return out;
};
const vectorOf = (name: string) => ([x, ...ws]: readonly TensorType[]): void => {
  expect(!!x!.rows && x!.dims.length === 1 && x!.dtype.startsWith('f'), () => `needs rows of float vectors, not ${printType(x!)}.`);
  ws.forEach((w) => expect(!w.rows && w.dims.length === 1 && w.dims[0] === x!.dims.at(-1), () => `${name} of width ${x!.dims.at(-1)} needs weights of [${x!.dims.at(-1)}], not [${w.dims.join(', ')}].`));
};

/** Zhang and Sennrich, arXiv 1910.07467: g · x / sqrt(mean(x²) + eps). */
const rmsNorm: OpDef = {
  name: 'rms_norm', doc: 'g · x / sqrt(mean(x²) + eps), row by row.', arity: 2, attrs: { eps: 'number' },
  infer: (ts) => { vectorOf('rms_norm')(ts); return ts[0]!; },
  counts: (n) => ({ norm: elements(n.type) }),
  evaluate: (n, [x, g]) => ({
    type: n.type,
    data: eachRow(x!, (row, out) => {
      let s = 0;
      for (const v of row) s += v * v;
      const r = 1 / Math.sqrt(s / row.length + num(n.attrs, 'eps'));
      for (let i = 0; i < row.length; i++) out[i] = row[i]! * r * g!.data[i]!;
    }),
  }),
};

/** Ba et al., arXiv 1607.06450: g · (x - mean) / sqrt(var + eps) + b. */
const layerNorm: OpDef = {
  name: 'layer_norm', doc: 'g · (x − mean) / sqrt(var + eps) + b, row by row.', arity: [2, 3], attrs: { eps: 'number' },
  infer: (ts) => { vectorOf('layer_norm')(ts); return ts[0]!; },
  counts: (n) => ({ norm: elements(n.type) }),
  evaluate: (n, [x, g, b]) => ({
    type: n.type,
    data: eachRow(x!, (row, out) => {
      let m = 0, v = 0;
      for (const e of row) m += e;
      m /= row.length;
      for (const e of row) v += (e - m) * (e - m);
      const r = 1 / Math.sqrt(v / row.length + num(n.attrs, 'eps'));
      for (let i = 0; i < row.length; i++) out[i] = (row[i]! - m) * r * g!.data[i]! + (b ? b.data[i]! : 0);
    }),
  }),
};

export const linearOps: readonly OpDef[] = [linear, linearPart, rmsNorm, layerNorm];
