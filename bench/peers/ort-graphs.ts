/**
 * The cases as ONNX models, with the ops that ONNX Runtime's own model builder for language models chooses: packed q, k and
 * v in one MatMul, GroupQueryAttention with the rotation inside, SkipSimplifiedLayerNormalization, QuickGelu of 1 as SiLU.
 */
import type { Case, LayerCase, LayerWeights } from '../compare/cases.ts';
import { activations, bias, causalBias, checkedRows, layerWeights, normEpsilon, productWeight, rotary, shifted, shifts, transposed } from '../compare/cases.ts';
import { keysAndValues } from '../compare/reference.ts';
import type { Value } from './onnx.ts';
import { OnnxGraph } from './onnx.ts';

export interface OrtModel {
  readonly bytes: Uint8Array;
  /** What goes in: `fixed` is on the device beforehand where the runtime can hold it there. */
  readonly inputs: readonly (Value & { readonly data: Float32Array; readonly fixed: boolean })[];
  readonly output: Value;
  /** A cache that is both past and present: names of the input and of the output, which share a buffer. */
  readonly shared: readonly (Value & { readonly data: Float32Array; readonly present: string })[];
}

export interface OrtOptions {
  /** Give the checked rows alone: for a runtime that always copies results to the host. */
  readonly checkedOnly: boolean;
  /** Past and present of a decode step may be one buffer of the device. */
  readonly sharedCache: boolean;
}

const gqa = 'GroupQueryAttention', mha = 'MultiHeadAttention', plain = 'MatMul and Softmax with a dense bias';
const dense = `${gqa} with a dense bias`, split = `split by hand, image rows as past of ${gqa}`, splitPlain = 'split by hand, MatMul and Softmax for the text';
export function ortVariants(c: Case, { sharedCache }: OrtOptions): string[] {
  if (c.kind === 'product') return ['MatMul'];
  if (c.kind === 'attention') return [gqa, mha, plain];
  if (c.step === 'decode') return sharedCache ? [`${gqa}, cache shared`] : [`${gqa}, cache as constant`];
  return c.mask === 'composite' ? [split, splitPlain, dense] : [gqa, plain];
}

export function ortModel(c: Case, variant: string, options: OrtOptions): OrtModel {
  const g = new OnnxGraph(c.precision), x = activations(c);
  const value = (name: string, shape: readonly number[]): Value => ({ name, type: c.precision, shape });
  const finish = (result: string, width: number, inputs: OrtModel['inputs'], kept: { readonly from: string; readonly value: Value }[] = [], shared: OrtModel['shared'] = []): OrtModel => {
    const rows = checkedRows(c), all = c.kind === 'product' ? c.rows : c.kind === 'attention' ? c.length : c.step === 'decode' ? 1 : c.visual + c.text;
    const output = value('y', [1, options.checkedOnly ? rows.length : all, width]);
    const from = options.checkedOnly && rows.length < all ? g.op('Gather', [result, g.integers(rows, [rows.length], 'i64')], { axis: 1 })[0]! : result;
    const bytes = g.model([...inputs, ...shared], [{ ...output, from }, ...kept.map((k) => ({ ...k.value, from: k.from }))]);
    return { bytes, inputs, output, shared };
  };
  if (c.kind === 'product') {
    const w = g.weight(transposed(productWeight(c), c.outputs, c.inner), [c.inner, c.outputs]);
    return finish(g.op('MatMul', ['x', w])[0]!, c.outputs, [{ ...value('x', [1, c.rows, c.inner]), data: x, fixed: true }]);
  }
  if (c.kind === 'attention') {
    const width = c.heads * c.headDim, shape = [1, c.length, width];
    const inputs = [['q', x], ['k', shifted(x, width, shifts.keys)], ['v', shifted(x, width, shifts.values)]] as const;
    const out = variant === plain ? [plainAttention(g, ['q', 'k', 'v'], { queries: c.length, keys: c.length, heads: c.heads, kvHeads: c.heads, headDim: c.headDim, bias: causalBias(c.length, c.precision) })] : variant === mha
      ? g.op('ms.MultiHeadAttention', ['q', 'k', 'v'], { num_heads: c.heads, unidirectional: 1 })
      : g.op('ms.GroupQueryAttention', ['q', 'k', 'v', '', '', g.integers([c.length - 1], [1], 'i32'), g.integers([c.length], [], 'i32')], { num_heads: c.heads, kv_num_heads: c.heads }, 3);
    return finish(out[0]!, width, inputs.map(([name, data]) => ({ ...value(name, shape), data, fixed: true })));
  }
  return layer(c, variant, options, g, finish);
}

interface PlainShape { readonly queries: number; readonly keys: number; readonly heads: number; readonly kvHeads: number; readonly headDim: number; readonly bias: Float32Array }
/** Attention out of elementary ops; q `[1, queries, heads × headDim]`, k and v `[1, keys, kvHeads × headDim]`. */
function plainAttention(g: OnnxGraph, [q, k, v]: readonly [string, string, string], s: PlainShape): string {
  const shape = (...dims: number[]): string => g.integers(dims, [dims.length], 'i64'), one = (type: string, inputs: string[], attributes = {}): string => g.op(type, inputs, attributes)[0]!;
  const byHead = (x: string, rows: number, heads: number, perm: readonly number[]): string => one('Transpose', [one('Reshape', [x, shape(1, rows, heads, s.headDim)])], { perm });
  const repeat = (x: string, rows: number, columns: number): string => {
    if (s.heads === s.kvHeads) return x;
    const group = s.heads / s.kvHeads, wide = one('Expand', [one('Reshape', [x, shape(1, s.kvHeads, 1, rows, columns)]), shape(1, s.kvHeads, group, rows, columns)]);
    return one('Reshape', [wide, shape(1, s.heads, rows, columns)]);
  };
  const scaled = one('Mul', [q, g.weight(Float32Array.of(1 / Math.sqrt(s.headDim)), [1])]);
  const scores = one('MatMul', [byHead(scaled, s.queries, s.heads, [0, 2, 1, 3]), repeat(byHead(k, s.keys, s.kvHeads, [0, 2, 3, 1]), s.headDim, s.keys)]);
  const weights = one('Softmax', [one('Add', [scores, g.weight(s.bias, [1, 1, s.queries, s.keys])])], { axis: -1 });
  const mixed = one('MatMul', [weights, repeat(byHead(v, s.keys, s.kvHeads, [0, 2, 1, 3]), s.keys, s.headDim)]);
  return one('Reshape', [one('Transpose', [mixed], { perm: [0, 2, 1, 3] }), shape(1, s.queries, s.heads * s.headDim)]);
}

type Finish = (result: string, width: number, inputs: OrtModel['inputs'], kept?: { readonly from: string; readonly value: Value }[], shared?: OrtModel['shared']) => OrtModel;

function layer(c: LayerCase, variant: string, options: OrtOptions, g: OnnxGraph, finish: Finish): OrtModel {
  const { hidden, intermediate, heads, kvHeads, headDim } = c.widths, q = heads * headDim, kv = kvHeads * headDim, half = headDim / 2;
  const w = layerWeights(c), x = activations(c), length = c.visual + c.text, decode = c.step === 'decode', rows = decode ? 1 : length;
  const matrix = (names: readonly (keyof LayerWeights)[], outputs: number, inner: number): string => {
    const joined = new Float32Array(outputs * inner);
    names.reduce((at, n) => { joined.set(w[n], at); return at + w[n].length; }, 0);
    return g.weight(transposed(joined, outputs, inner), [inner, outputs]);
  };
  const one = (names: readonly string[]): string => names[0]!;
  const epsilon = { epsilon: { float: normEpsilon } };
  const angles = rotary(length + 1, headDim), cos = g.weight(angles.cos, [length + 1, half]), sin = g.weight(angles.sin, [length + 1, half]);
  const value = (name: string, shape: readonly number[]): Value => ({ name, type: c.precision, shape });
  const normed = one(g.op('SimplifiedLayerNormalization', ['x', g.weight(w.inputNorm, [hidden])], { axis: -1, stash_type: 1, ...epsilon }));
  const packed = matrix(['q', 'k', 'v'], q + 2 * kv, hidden), total = decode ? length + 1 : length;
  const lengths = [g.integers([total - 1], [1], 'i32'), g.integers([total], [], 'i32')];
  const attend = (queries: string, past: readonly [string, string], extra: readonly string[] = []): string[] =>
    g.op('ms.GroupQueryAttention', [queries, '', '', ...past, ...lengths, cos, sin, ...extra], { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 }, 3);

  /** Values of the image rows, which are what their attention gives, once for every head that shares them. */
  const eachHead = (values: string): string => {
    const group = heads / kvHeads, each = one(g.op('Reshape', [values, g.integers([1, c.visual, kvHeads, 1, headDim], [5], 'i64')]));
    const repeated = group === 1 ? each : one(g.op('Expand', [each, g.integers([1, c.visual, kvHeads, group, headDim], [5], 'i64')]));
    return one(g.op('Reshape', [repeated, g.integers([1, c.visual, q], [3], 'i64')]));
  };

  let mixed: string;
  const kept: { from: string; value: Value }[] = [], shared: OrtModel['shared'][number][] = [];
  if (decode) {
    const cache = keysAndValues(c, length), slots = options.sharedCache ? length + 1 : length;
    const [keys, values] = (['keys', 'values'] as const).map((name) => {
      const data = new Float32Array(kvHeads * slots * headDim);
      cache[name].forEach((row, r) => { for (let i = 0; i < kv; i++) data[(Math.floor(i / headDim) * slots + r) * headDim + (i % headDim)] = row[i]!; });
      return data;
    }) as [Float32Array, Float32Array];
    const shape = [1, kvHeads, slots, headDim], queries = one(g.op('MatMul', [normed, packed]));
    const [out, presentKeys, presentValues] = attend(queries, options.sharedCache ? ['past_key', 'past_value'] : [g.weight(keys, shape), g.weight(values, shape)]) as [string, string, string];
    mixed = out;
    if (options.sharedCache) for (const [name, from, data] of [['key', presentKeys, keys], ['value', presentValues, values]] as const) {
      kept.push({ from, value: value(`present_${name}`, shape) });
      shared.push({ ...value(`past_${name}`, shape), data, present: `present_${name}` });
    }
  } else if (variant === plain) {
    const parts = g.op('Split', [one(g.op('MatMul', [normed, packed])), g.integers([q, kv, kv], [3], 'i64')], { axis: 2 }, 3) as [string, string, string];
    const positions = g.integers(Array.from({ length }, (_, i) => i), [1, length], 'i64'), turn = (y: string, n: number): string => one(g.op('ms.RotaryEmbedding', [y, positions, cos, sin], { num_heads: n, interleaved: 0 }));
    mixed = plainAttention(g, [turn(parts[0], heads), turn(parts[1], kvHeads), parts[2]], { queries: length, keys: length, heads, kvHeads, headDim, bias: bias(c, 0, length) });
  } else if (variant === splitPlain) {
    const [, textRows] = g.op('Split', [normed, g.integers([c.visual, c.text], [2], 'i64')], { axis: 1 }, 2) as [string, string];
    const [keys, values] = g.op('Split', [one(g.op('MatMul', [normed, matrix(['k', 'v'], 2 * kv, hidden)])), g.integers([kv, kv], [2], 'i64')], { axis: 2 }, 2) as [string, string];
    const turn = (y: string, n: number, first: number, rows: number): string => one(g.op('ms.RotaryEmbedding', [y, g.integers(Array.from({ length: rows }, (_, i) => first + i), [1, rows], 'i64'), cos, sin], { num_heads: n, interleaved: 0 }));
    const queries = turn(one(g.op('MatMul', [textRows, matrix(['q'], q, hidden)])), heads, c.visual, c.text);
    const text = plainAttention(g, [queries, turn(keys, kvHeads, 0, length), values], { queries: c.text, keys: length, heads, kvHeads, headDim, bias: bias(c, c.visual, c.text) });
    const [own] = g.op('Split', [values, g.integers([c.visual, c.text], [2], 'i64')], { axis: 1 }, 2) as [string, string];
    mixed = one(g.op('Concat', [eachHead(own), text], { axis: 1 }));
  } else if (variant === split) {
    const [imageRows, textRows] = g.op('Split', [normed, g.integers([c.visual, c.text], [2], 'i64')], { axis: 1 }, 2) as [string, string];
    const [keys, values] = g.op('Split', [one(g.op('MatMul', [imageRows, matrix(['k', 'v'], 2 * kv, hidden)])), g.integers([kv, kv], [2], 'i64')], { axis: 2 }, 2) as [string, string];
    const positions = g.integers(Array.from({ length: c.visual }, (_, i) => i), [1, c.visual], 'i64');
    const turned = one(g.op('ms.RotaryEmbedding', [keys, positions, cos, sin], { num_heads: kvHeads, interleaved: 0 }));
    const byHead = (y: string): string => one(g.op('Transpose', [one(g.op('Reshape', [y, g.integers([1, c.visual, kvHeads, headDim], [4], 'i64')]))], { perm: [0, 2, 1, 3] }));
    const [text] = attend(one(g.op('MatMul', [textRows, packed])), [byHead(turned), byHead(values)]);
    mixed = one(g.op('Concat', [eachHead(values), text!], { axis: 1 }));
  } else {
    const extra = c.mask === 'composite' ? ['', g.weight(bias(c, 0, length), [1, 1, length, length])] : [];
    mixed = attend(one(g.op('MatMul', [normed, packed])), ['', ''], extra)[0]!;
  }

  const projected = one(g.op('MatMul', [mixed, matrix(['o'], hidden, q)]));
  const [again, , , h] = g.op('ms.SkipSimplifiedLayerNormalization', ['x', projected, g.weight(w.outputNorm, [hidden])], epsilon, 4) as [string, string, string, string];
  const gate = one(g.op('ms.QuickGelu', [one(g.op('MatMul', [again, matrix(['gate'], intermediate, hidden)]))], { alpha: { float: 1 } }));
  const product = one(g.op('Mul', [gate, one(g.op('MatMul', [again, matrix(['up'], intermediate, hidden)]))]));
  const result = one(g.op('Add', [h, one(g.op('MatMul', [product, matrix(['down'], hidden, intermediate)]))]));
  return finish(result, hidden, [{ ...value('x', [1, rows, hidden]), data: x.slice(decode ? length * hidden : 0, (decode ? length + 1 : length) * hidden), fixed: false }], kept, shared);
}
