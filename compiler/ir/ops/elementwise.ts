import { elements, printType, sameType } from '../types.ts';
import type { CountClass, OpDef } from './def.ts';
import { expect, num } from './def.ts';

/** Abramowitz-Stegun 7.1.26 is too coarse for a reference; this is the series / continued fraction of erf in f64. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 2.5) {
    let sum = a, term = a;
    for (let n = 1; n < 80 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) { term *= (-a * a) / n; sum += term / (2 * n + 1); }
    return Math.sign(x) * sum * (2 / Math.sqrt(Math.PI));
  }
  let f = 0;
  for (let n = 60; n > 0; n--) f = (n / 2) / (a + f);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + f)));
}
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Functions of one element, by op name. */
export const unaryFunctions: Readonly<Record<string, (x: number) => number>> = {
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
  quick_gelu: (x) => x * sigmoid(1.702 * x),
  silu: (x) => x * sigmoid(x),
  relu: (x) => Math.max(0, x),
  sigmoid,
  tanh: Math.tanh,
};

const unary = (name: string, f: (x: number) => number): OpDef => ({
  name, doc: `${name} of every element.`, arity: 1, attrs: {}, elementwise: true,
  infer: ([x], _a) => { expect(x!.dtype.startsWith('f'), () => `needs floats, not ${printType(x!)}.`); return x!; },
  counts: (n) => ({ activation: elements(n.type) }),
  evaluate: (n, [x]) => ({ type: n.type, data: Float32Array.from(x!.data, f) }),
});

const scale: OpDef = {
  name: 'scale', doc: 'Every element times the constant `by`.', arity: 1, attrs: { by: 'number' }, elementwise: true,
  infer: ([x]) => { expect(x!.dtype.startsWith('f'), () => `needs floats, not ${printType(x!)}.`); return x!; },
  counts: (n) => ({ other: elements(n.type) }),
  evaluate: (n, [x]) => { const by = num(n.attrs, 'by'); return { type: n.type, data: Float32Array.from(x!.data, (v) => v * by) }; },
};

/** `a ∘ b` element by element; `b` may be a vector (a weight) over the last dim, the same for every row. */
const binary = (name: string, cls: CountClass, f: (a: number, b: number) => number): OpDef => ({
  name, doc: `Element by element; the second input may be one vector for all rows.`, arity: 2, attrs: {}, elementwise: true,
  infer: ([a, b]) => {
    const vector = !b!.rows && b!.dims.length === 1 && b!.dims[0] === a!.dims.at(-1);
    expect(a!.dtype.startsWith('f') && b!.dtype.startsWith('f'), () => `needs floats, not ${printType(a!)} and ${printType(b!)}.`);
    expect(sameType(a!, b!) || vector, () => `the two inputs must have one shape (or the second be a vector over the last dim), not ${printType(a!)} and ${printType(b!)}.`);
    return a!;
  },
  counts: (n) => ({ [n.inputs[1]!.type.rows ? cls : 'bias']: elements(n.type) }),
  evaluate: (n, [a, b]) => {
    const w = b!.data.length, out = new Float32Array(a!.data.length);
    for (let i = 0; i < out.length; i++) out[i] = f(a!.data[i]!, b!.data[i % w]!);
    return { type: n.type, data: out };
  },
});

export const elementwiseOps: readonly OpDef[] = [
  ...Object.entries(unaryFunctions).map(([n, f]) => unary(n, f)),
  scale,
  binary('add', 'residual', (a, b) => a + b),
  binary('sub', 'residual', (a, b) => a - b),
  binary('mul', 'activation', (a, b) => a * b),
];
