/**
 * Mixtures of experts (Shazeer et al., arXiv 1701.06538; Mixtral, arXiv 2401.04088): a router scores the experts of a layer row by
 * row, `top_k` chooses, `expert_linear` multiplies each row by the matrices of its own experts alone, and `mix_experts` adds
 * up what they give. Which experts a row reads is data; how many is not, so the work is known: `top` products a row.
 */
import type { Attrs, Node } from '../graph.ts';
import { Poly } from '../poly.ts';
import { rowCount, sameRows } from '../rows.ts';
import type { TensorType } from '../types.ts';
import { elements, printType, tensorType } from '../types.ts';
import type { OpDef } from './def.ts';
import { expect, num } from './def.ts';

/** Numbers of the `top` largest entries of a row, the largest first, the earlier of equals first. */
export function largestOf(row: ArrayLike<number>, top: number): number[] {
  return Array.from(row, (_, i) => i).sort((a, b) => row[b]! - row[a]! || a - b).slice(0, top);
}

const topK: OpDef = {
  name: 'top_k', doc: 'Numbers of the largest entries of each row, the largest first, the earlier of equals first.', arity: 1, attrs: { top: 'count' },
  infer: ([x], attrs) => {
    const top = num(attrs, 'top');
    expect(!!x!.rows && x!.dims.length === 1 && x!.dtype.startsWith('f'), () => `needs rows of scores, not ${printType(x!)}.`);
    expect(top <= x!.dims[0]!, () => `cannot choose ${top} of ${x!.dims[0]} entries.`);
    return tensorType('i32', x!.rows, [top]);
  },
  counts: (n) => ({ other: elements(n.inputs[0]!.type) }),
  evaluate: (n, [x]) => {
    const top = num(n.attrs, 'top'), width = x!.type.dims[0]!, rows = x!.data.length / width, out = new Int32Array(rows * top);
    for (let r = 0; r < rows; r++) out.set(largestOf(x!.data.subarray(r * width, (r + 1) * width), top), r * top);
    return { type: n.type, data: out };
  },
};

/** What choices must be: `top` numbers for each of the rows. */
const checkChosen = (x: TensorType, chosen: TensorType): void =>
  expect(!!x.rows && !!chosen.rows && chosen.dtype === 'i32' && chosen.dims.length === 1 && sameRows(x.rows, chosen.rows), () => `the choices for ${printType(x)} must be i32[the same rows, top], not ${printType(chosen)}.`);

/** How many experts the weights of a node are; the rest of its inputs are their biases. */
const expertsOf = (attrs: Attrs): number => num(attrs, 'experts');

/**
 * For each row the products with the matrices of its chosen experts, one after the other: entry j of the choices gives columns
 * j · N … (j + 1) · N. Inputs: rows, choices `i32[rows, top]`, then a matrix `[N, K]` of each of `experts` experts, then a bias
 * `[N]` of each or of none. The rows are K wide, the same for every choice, or top · K, a part for each.
 */
const expertLinear: OpDef = {
  name: 'expert_linear', doc: 'x·Wᵀ + b with the matrices of the experts that each row has chosen, side by side.', arity: [3, Infinity], attrs: { experts: 'count' },
  infer: ([x, chosen, ...weights], attrs) => {
    const count = expertsOf(attrs), matrices = weights.slice(0, count), biases = weights.slice(count), [w] = matrices as [TensorType];
    checkChosen(x!, chosen!);
    expect(x!.dims.length === 1 && x!.dtype.startsWith('f'), () => `the input must be rows of vectors, not ${printType(x!)}.`);
    expect(matrices.length === count && (biases.length === 0 || biases.length === count), () => `takes a matrix of each of ${count} experts, and a bias of each or of none, but was given ${weights.length} weights.`);
    const odd = matrices.find((m) => m.rows || m.dims.length !== 2 || printType(m) !== printType(w));
    expect(!odd, () => `the experts' matrices must be alike, [out, in], not ${printType(w)} and ${printType(odd!)}.`);
    const [N, K] = w.dims as [number, number], top = chosen!.dims[0]!;
    expect(top <= count, () => `a row chooses ${top} experts, and there are ${count}.`);
    expect(x!.dims[0] === K || x!.dims[0] === top * K, () => `the experts' matrices ${printType(w)} take rows of ${K}, or ${top} times as many for as many choices, not ${printType(x!)}.`);
    for (const b of biases) expect(!b.rows && b.dims.length === 1 && b.dims[0] === N, () => `the experts' biases must be [${N}], not ${printType(b)}.`);
    return tensorType(x!.dtype, x!.rows, [top * N]);
  },
  counts: (n) => ({ matmul: elements(n.type).mul(n.inputs[2]!.type.dims[1]!), ...(n.inputs.length > 2 + expertsOf(n.attrs) ? { bias: elements(n.type) } : {}) }),
  // One row reads the matrices of its own experts; of many rows every expert may be some row's. Which ones it is, is data: the first stand for them.
  moves: (n) => {
    const count = expertsOf(n.attrs), rows = rowCount(n.type.rows!).constant(), read = rows === undefined ? count : Math.min(count, rows * n.inputs[1]!.type.dims[0]!);
    return { reads: n.inputs.map((x, i) => (i < 2 || (i - 2) % count < read ? elements(x.type) : Poly.zero)), writes: elements(n.type) };
  },
  evaluate: (n, [x, chosen, ...weights]) => {
    const count = expertsOf(n.attrs), [N, K] = weights[0]!.type.dims as [number, number], top = chosen!.type.dims[0]!;
    const width = x!.type.dims[0]!, own = width === K ? 0 : K, out = new Float32Array(chosen!.data.length * N);
    for (let pair = 0; pair < chosen!.data.length; pair++) {
      const e = chosen!.data[pair]!, from = Math.floor(pair / top) * width + (pair % top) * own;
      if (!(e >= 0 && e < count)) throw new RangeError(`a row chooses expert ${e}, and there are experts 0 to ${count - 1}.`);
      const w = weights[e]!.data, b = weights[count + e]?.data;
      for (let j = 0; j < N; j++) {
        let sum = b ? b[j]! : 0;
        for (let k = 0; k < K; k++) sum += x!.data[from + k]! * w[j * K + k]!;
        out[pair * N + j] = sum;
      }
    }
    return { type: n.type, data: out };
  },
};

/**
 * Σ_j p_j · (columns j · N … of the row), with p the router's softmax over all experts, taken at the chosen ones and divided by
 * its sum there: that is the softmax over the chosen scores alone. Inputs: what the experts gave, choices, scores.
 */
const mixExperts: OpDef = {
  name: 'mix_experts', doc: 'What the chosen experts of each row gave, added up by the softmax of their scores.', arity: 3, attrs: {},
  infer: ([x, chosen, scores]) => {
    checkChosen(x!, chosen!);
    const top = chosen!.dims[0]!;
    expect(x!.dims.length === 1 && Number.isInteger(x!.dims[0]! / top), () => `${printType(x!)} does not split into what ${top} experts gave.`);
    expect(!!scores!.rows && sameRows(scores!.rows, x!.rows!) && scores!.dims.length === 1 && scores!.dims[0]! >= top && scores!.dtype.startsWith('f'), () => `the scores of ${printType(x!)} must be rows of one for each expert, not ${printType(scores!)}.`);
    return tensorType(x!.dtype, x!.rows, [x!.dims[0]! / top]);
  },
  counts: (n) => ({ other: elements(n.inputs[0]!.type) }),
  evaluate: (n, [x, chosen, scores]) => {
    const top = chosen!.type.dims[0]!, width = n.type.dims[0]!, experts = scores!.type.dims[0]!, rows = chosen!.data.length / top, out = new Float32Array(rows * width);
    for (let r = 0; r < rows; r++) {
      const given = Array.from({ length: top }, (_, j) => scores!.data[r * experts + chosen!.data[r * top + j]!]!), most = Math.max(...given);
      const shares = given.map((s) => Math.exp(s - most)), sum = shares.reduce((a, b) => a + b, 0);
      for (let c = 0; c < width; c++) out[r * width + c] = shares.reduce((a, p, j) => a + (p / sum) * x!.data[(r * top + j) * width + c]!, 0);
    }
    return { type: n.type, data: out };
  },
};

/** The matrices of an `expert_linear`, expert after expert. */
export const expertMatrices = (n: Node): readonly Node[] => n.inputs.slice(2, 2 + expertsOf(n.attrs));

export const expertOps: readonly OpDef[] = [topK, expertLinear, mixExperts];
