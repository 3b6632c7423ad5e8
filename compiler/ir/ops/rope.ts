import type { Attr, Attrs, Node } from '../graph.ts';
import { printRows, sameRows } from '../rows.ts';
import type { TensorType } from '../types.ts';
import { elements, printType } from '../types.ts';
import type { OpDef, Tensor } from './def.ts';
import { expect, num } from './def.ts';

/** Checks the attributes that fix the frequencies: `theta` and, if there is one, `scaling`. */
export function checkRope(attrs: Attrs): void {
  expect(num(attrs, 'theta') > 0, () => `'theta' must be greater than 0, not ${String(attrs['theta'])}.`);
  const s = attrs['scaling'] as Record<string, Attr> | undefined;
  if (s === undefined) return;
  const type = typeof s === 'object' ? s['type'] : s;
  const keys = typeof type === 'string' && Object.hasOwn(scalings, type) ? scalings[type] : undefined;
  expect(!!keys, () => `rope scaling ${JSON.stringify(s)} is not known; known are a record with type = "linear" and one with type = "llama3".`);
  for (const key of keys!) expect(typeof s[key] === 'number', () => `rope scaling of type '${String(type)}' needs the number '${key}'.`);
}
const scalings: Readonly<Record<string, readonly string[]>> = {
  linear: ['factor'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
};

/**
 * Angular frequencies of rotary embedding (Su et al., arXiv 2104.09864), `head_dim / 2` of them, in radians per
 * position. `scaling` follows Hugging Face's `rope_scaling`: `linear`, or `llama3` (Llama 3.1 model card).
 */
export function ropeFrequencies(headDim: number, attrs: Attrs): Float64Array {
  const theta = num(attrs, 'theta');
  const f = Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
  const s = attrs['scaling'] as Record<string, number | string> | undefined;
  if (!s) return f;
  checkRope(attrs);
  const factor = Number(s['factor']);
  if (s['type'] === 'linear') return f.map((x) => x / factor);
  const low = Number(s['low_freq_factor']), high = Number(s['high_freq_factor']), old = Number(s['original_max_position_embeddings']);
  return f.map((x) => {
    const wavelength = (2 * Math.PI) / x;
    if (wavelength < old / high) return x;
    if (wavelength > old / low) return x / factor;
    const smooth = (old / wavelength - low) / (high - low);
    return ((1 - smooth) * x) / factor + smooth * x;
  });
}

/** Rotates one head in place by `angle(i)`, pairs (i, i + d/2) as Llama does it. */
export function rotate(x: Float32Array, position: number, freq: Float64Array): void {
  const half = x.length / 2;
  for (let i = 0; i < half; i++) {
    const c = Math.cos(position * freq[i]!), s = Math.sin(position * freq[i]!), a = x[i]!, b = x[i + half]!;
    x[i] = a * c - b * s; x[i + half] = b * c + a * s;
  }
}

/** What rotated rows and their positions must be. Gives the width of a head. */
function checkHeads([x, pos]: readonly TensorType[], attrs: Attrs): number {
  const d = x!.dims[0]! / num(attrs, 'heads');
  expect(Number.isInteger(d) && d % 2 === 0, () => `${printType(x!)} does not split into ${num(attrs, 'heads')} heads of even size.`);
  expect(!!x!.rows && x!.dims.length === 1, () => `needs rows of vectors, not ${printType(x!)}.`);
  expect(pos!.dtype === 'i32' && pos!.dims.length === 0 && !!pos!.rows && sameRows(pos!.rows, x!.rows!), () => `the positions of ${printType(x!)} must be i32[${printRows(x!.rows!)}], not ${printType(pos!)}.`);
  checkRope(attrs);
  return d;
}
/** Every head's first `rotated` channels turned by the row's position. */
function rotateHeads(n: Node, [x, pos]: readonly Tensor[], rotated: number): Tensor {
  const w = x!.type.dims[0]!, d = w / num(n.attrs, 'heads'), f = ropeFrequencies(rotated, n.attrs);
  const out = Float32Array.from(x!.data);
  for (let i = 0; i < out.length; i += d) rotate(out.subarray(i, i + rotated), pos!.data[Math.floor(i / w)]!, f);
  return { type: n.type, data: out };
}

export const rope: OpDef = {
  name: 'rope', doc: 'Rotary position embedding of every head; the second input gives each row its position.',
  arity: 2, attrs: { heads: 'count', theta: 'number', scaling: 'any?' },
  infer: (inputs, attrs) => { checkHeads(inputs, attrs); return inputs[0]!; },
  counts: (n) => ({ rope: elements(n.type) }),
  evaluate: (n, inputs) => rotateHeads(n, inputs, n.type.dims[0]! / num(n.attrs, 'heads')),
};

export const ropePart: OpDef = {
  name: 'rope_part', doc: 'Rotary position embedding of the first channels of every head; the others stay as they are.',
  arity: 2, attrs: { heads: 'count', rotated: 'count', theta: 'number', scaling: 'any?' },
  infer: (inputs, attrs) => {
    const d = checkHeads(inputs, attrs), rotated = num(attrs, 'rotated');
    expect(rotated % 2 === 0 && rotated <= d, () => `of heads of ${d} channels an even number can be rotated, not ${rotated}.`);
    return inputs[0]!;
  },
  counts: (n) => ({ rope: elements(n.type).mul(num(n.attrs, 'heads') * num(n.attrs, 'rotated')).div(n.type.dims[0]!) }),
  evaluate: (n, inputs) => rotateHeads(n, inputs, num(n.attrs, 'rotated')),
};
