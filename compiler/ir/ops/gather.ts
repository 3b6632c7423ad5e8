import type { TensorType } from '../types.ts';
import { elements, printType, rowElements, tensorType } from '../types.ts';
import type { OpDef, Tensor } from './def.ts';
import { expect } from './def.ts';

/** The inputs after the first two, told apart by their rows: weights have those of the map, learned rows have none. */
function optional<T>(rest: readonly T[], typeOf: (x: T) => TensorType): { readonly weights?: T; readonly learned?: T } {
  const weights = rest.find((x) => typeOf(x).rows), learned = rest.find((x) => !typeOf(x).rows);
  return { ...(weights !== undefined && { weights }), ...(learned !== undefined && { learned }) };
}

/** Row `r` of the values of an input. */
const rowOf = (x: Tensor, r: number, width: number): Float32Array => (x.data as Float32Array).subarray(r * width, (r + 1) * width);

/**
 * Rows gathered by a map that is data of the image, as positions are: how the tiles of a picture become its visual rows.
 *
 * Inputs: the map `i32[rows, sources]`; the rows to gather from, of one kind of another sequence; then, if there are any,
 * weights `f32[rows, sources]` and learned rows, `[width]` for one or `[n, width]`. Row r of the result is
 * Σ_s weights[r, s] · source(map[r, s]); without weights a row has one source, and is a copy of it.
 *
 * `source(i)` with i ≥ 0 is row i of the second input as its rows lie in this step: of all its pictures, picture after
 * picture. With i < 0 it is learned row −1 − i. Any row of a picture may be read, so all of them are.
 */
export const gatherRows: OpDef = {
  name: 'gather_rows', doc: 'Rows picked, or mixed with weights, from rows of pictures and from learned rows by a map that is data.',
  arity: [2, 4], attrs: {},
  infer: ([map, x, ...rest]) => {
    expect(map!.dtype === 'i32' && !!map!.rows && map!.dims.length === 1, () => `the map must be i32[rows, sources], not ${printType(map!)}.`);
    expect(!!x!.rows && x!.rows.kinds.length === 1 && !x!.rows.last && x!.dims.length === 1 && x!.dtype.startsWith('f'), () => `gathers from rows of vectors of one kind, not from ${printType(x!)}.`);
    expect(x!.rows!.sequence.name !== map!.rows!.sequence.name, () => `gathers from the rows of another sequence than its own, not from ${printType(x!)} for ${printType(map!)}.`);
    const { weights, learned } = optional(rest, (t) => t), [sources] = map!.dims as [number], [width] = x!.dims as [number];
    expect(rest.length === (weights ? 1 : 0) + (learned ? 1 : 0), () => `takes weights and learned rows once each, not ${rest.map(printType).join(' and ')}.`);
    const fits = (w: TensorType): boolean => w.dtype.startsWith('f') && printType({ ...w, dtype: 'i32' }) === printType(map!);
    expect(!weights || fits(weights), () => `the weights of ${printType(map!)} must be f32[the same], not ${printType(weights!)}.`);
    expect(!!weights || sources === 1, () => `a row with ${sources} sources needs their weights.`);
    expect(!learned || (learned.dims.length <= 2 && learned.dims.at(-1) === width && learned.dtype.startsWith('f')), () => `learned rows beside ${printType(x!)} must be [${width}] or [rows, ${width}], not ${printType(learned!)}.`);
    return tensorType(x!.dtype, map!.rows, [width]);
  },
  // Which rows the map names is data: whole pictures are read.
  reads: (n, out, i) => (i === 1 ? n.inputs[1]!.type.rows : out),
  narrow: (b, n, [map, x, ...rest], out) => b.op('gather_rows', [b.select(map!, out), x!, ...rest.map((r) => (r.type.rows ? b.select(r, out) : r))], n.attrs, n),
  counts: (n) => (optional(n.inputs.slice(2), (x) => x.type).weights ? { other: elements(n.type).mul(n.inputs[0]!.type.dims[0]!) } : { embed: elements(n.type) }),
  evaluate: (n, [map, x, ...rest]) => {
    const { weights, learned } = optional(rest, (t) => t.type), [sources] = map!.type.dims as [number], width = n.type.dims[0]!;
    const have = x!.data.length / rowElements(x!.type), known = learned ? learned.data.length / width : 0;
    const out = new Float32Array((map!.data.length / sources) * width), sum = new Float64Array(width);
    for (let r = 0; r * width < out.length; r++) {
      sum.fill(0);
      for (let s = r * sources; s < (r + 1) * sources; s++) {
        const i = map!.data[s]!, weight = weights ? weights.data[s]! : 1;
        if (i >= have || i < -known) throw new RangeError(`row ${r} is to come from source ${i}, but there are rows 0 to ${have - 1} to gather from${known ? ` and learned rows -1 to -${known}` : ', and no learned rows'}.`);
        const row = i >= 0 ? rowOf(x!, i, width) : rowOf(learned!, -1 - i, width);
        for (let e = 0; e < width; e++) sum[e]! += weight * row[e]!;
      }
      out.set(sum, r * width);
    }
    return { type: n.type, data: out };
  },
};
