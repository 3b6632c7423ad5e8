import type { Attrs, GraphHead } from '../graph.ts';
import type { RowSet } from '../rows.ts';
import { parseRows, printRows, restrictRows, rowSet, rowsWithin } from '../rows.ts';
import type { TensorType } from '../types.ts';
import { elements, printType, rowElements, tensorType } from '../types.ts';
import type { EvalContext, OpDef, Tensor, Token } from './def.ts';
import { Poly } from '../poly.ts';
import { expect, nothing, num, str } from './def.ts';

const rowsAttr = (attrs: Attrs, head: GraphHead): RowSet => parseRows(head.sequences.values(), str(attrs, 'rows'));
const sameToken = (a: Token, b: Token): boolean => a.kind === b.kind && a.pos === b.pos && a.image === b.image;

/** Copies the rows of `from` that stand in `to`, in `to`'s order, into `out`. */
function pick(x: Tensor, from: readonly Token[], to: readonly Token[], out: Float32Array | Int32Array): void {
  const w = rowElements(x.type);
  for (let i = 0, j = 0; i < to.length; i++) {
    while (j < from.length && !sameToken(from[j]!, to[i]!)) j++;
    if (j === from.length) { j = 0; while (j < from.length && !sameToken(from[j]!, to[i]!)) j++; }
    if (j < from.length) out.set(x.data.subarray(j * w, (j + 1) * w), i * w);
  }
}
const empty = (t: { readonly dtype: string }, n: number): Float32Array | Int32Array => (t.dtype.startsWith('f') ? new Float32Array(n) : new Int32Array(n));

/** The rows of `x` that its result of the given type has. */
export function pickRows(type: TensorType, x: Tensor, ctx: EvalContext): Tensor {
  const to = ctx.tokens(type.rows!), out = empty(type, to.length * rowElements(type));
  pick(x, ctx.tokens(x.type.rows!), to, out);
  return { type, data: out };
}

/** The given rows of a value: a view, no work. */
const rows: OpDef = {
  name: 'rows', doc: 'The given rows of a value; a view.', arity: 1, attrs: { rows: 'rows' },
  infer: ([x], attrs, head) => {
    const r = rowsAttr(attrs, head);
    expect(!!x!.rows && rowsWithin(r, x!.rows), () => `${printType(x!)} has no rows '${printRows(r)}'.`);
    return tensorType(x!.dtype, r, x!.dims);
  },
  narrow: (b, _n, [x], out) => b.select(x!, out),
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, [x], ctx) => pickRows(n.type, x!, ctx),
};

/** Disjoint rows put together, in the order of the sequence. */
const merge: OpDef = {
  name: 'merge', doc: 'Disjoint sets of rows of one sequence, put together.', arity: [1, Infinity], attrs: {},
  infer: (xs) => {
    const [first] = xs;
    expect(!!first?.rows, () => 'needs values that have rows.');
    const kinds: string[] = [];
    for (const x of xs) {
      expect(x.dtype === first!.dtype && rowElements(x) === rowElements(first!) && x.rows?.sequence.name === first!.rows!.sequence.name && x.rows.context === first!.rows!.context && !x.rows.last, () => `the parts must be rows of one sequence and of one shape, not ${xs.map(printType).join(' and ')}.`);
      for (const k of x.rows!.kinds) { expect(!kinds.includes(k), () => `rows '${k}' come twice.`); kinds.push(k); }
    }
    return tensorType(first!.dtype, rowSet(first!.rows!.sequence, kinds, { context: first!.rows!.context }), first!.dims);
  },
  reads: (n, out, i) => {
    const r = restrictRows(n.inputs[i]!.type.rows!, out.kinds);
    return r && out.last ? { ...r, last: true } : r;
  },
  narrow: (b, _n, inputs, out) => b.merge(inputs.flatMap((x) => {
    const r = restrictRows(x.type.rows!, out.kinds);
    return r ? [b.select(x, out.last ? { ...r, last: true } : r)] : [];
  })),
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, inputs, ctx) => {
    const to = ctx.tokens(n.type.rows!), out = empty(n.type, to.length * rowElements(n.type));
    for (const x of inputs) pick(x, ctx.tokens(x.type.rows!), to, out);
    return { type: n.type, data: out };
  },
};

/** Places of rows in reading order: image after image, each from its first row to its last. */
const readingOrder = (ts: readonly Token[]): number[] => ts.map((_, i) => i).sort((a, b) => ts[a]!.image - ts[b]!.image || ts[a]!.pos - ts[b]!.pos);
/** How many rows each image has, in order; images are numbered anew in each sequence. */
const lengths = (ts: readonly Token[]): number[] => {
  const counts = new Map<number, number>();
  for (const i of readingOrder(ts)) counts.set(ts[i]!.image, (counts.get(ts[i]!.image) ?? 0) + 1);
  return [...counts.values()];
};

/** Rows of one sequence taken as rows of another, image by image: the projected patches become the visual tokens. */
const asRows: OpDef = {
  name: 'as_rows', doc: 'Rows of one sequence taken as rows of another, one for one.', arity: 1, attrs: { rows: 'rows' },
  infer: ([x], attrs, head) => {
    expect(!!x!.rows, () => `needs a value with rows, not ${printType(x!)}.`);
    return tensorType(x!.dtype, rowsAttr(attrs, head), x!.dims);
  },
  reads: (n) => n.inputs[0]!.type.rows,
  narrow: (b, n, [x]) => b.op('as_rows', [x!], n.attrs, n),
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, [x], ctx) => {
    const from = ctx.tokens(x!.type.rows!), to = ctx.tokens(n.type.rows!), a = readingOrder(from), b = readingOrder(to), w = rowElements(n.type);
    const [have, want] = [lengths(from), lengths(to)].map((l) => l.join(' + ') || 'no') as [string, string];
    if (have !== want) throw new RangeError(`${have} rows (image by image) cannot stand one for one as the rows '${printRows(n.type.rows!)}', which are ${want}.`);
    const out = empty(n.type, to.length * w);
    a.forEach((i, k) => out.set(x!.data.subarray(i * w, (i + 1) * w), b[k]! * w));
    return { type: n.type, data: out };
  },
};

/** One vector for every row: a class token, or zeros. */
const broadcast: OpDef = {
  name: 'broadcast', doc: 'One vector, the same for every row.', arity: 1, attrs: { rows: 'rows' },
  infer: ([w], attrs, head) => {
    expect(!w!.rows && w!.dims.length === 1, () => `needs one vector, not ${printType(w!)}.`);
    return tensorType(w!.dtype, rowsAttr(attrs, head), w!.dims);
  },
  narrow: (b, n, [w], out) => b.op('broadcast', [w!], { rows: printRows(out) }, n),
  counts: () => ({}),
  evaluate: (n, [w], ctx) => {
    const to = ctx.tokens(n.type.rows!), out = new Float32Array(to.length * w!.data.length);
    for (let i = 0; i < to.length; i++) out.set(w!.data, i * w!.data.length);
    return { type: n.type, data: out };
  },
};

/** Zeros: what a row gets from an attention in which it may read nothing. */
const zeros: OpDef = {
  name: 'zeros', doc: 'Zeros of the given width.', arity: 0, attrs: { rows: 'rows', width: 'count' },
  infer: (_i, attrs, head) => tensorType('f32', rowsAttr(attrs, head), [num(attrs, 'width')]),
  narrow: (b, n, _i, out) => b.op('zeros', [], { ...n.attrs, rows: printRows(out) }, n),
  counts: () => ({}),
  evaluate: (n, _i, ctx) => ({ type: n.type, data: new Float32Array(ctx.tokens(n.type.rows!).length * n.type.dims[0]!) }),
};

/** A row's own number: its `position` in the prompt, its `index` within its image or run of text, or its `place`: the index of an image's row, the position of any other. */
const rowNumber: OpDef = {
  name: 'row_number', doc: "Each row's position in the prompt (of: position), its number within its segment (of: index), or the latter for rows of images alone (of: place).",
  arity: 0, attrs: { of: 'text', rows: 'rows' },
  infer: (_i, attrs, head) => {
    expect(['position', 'index', 'place'].includes(str(attrs, 'of')), () => `'of' must be position, index or place, not '${str(attrs, 'of')}'.`);
    return tensorType('i32', rowsAttr(attrs, head), []);
  },
  narrow: (b, n, _i, out) => b.op('row_number', [], { ...n.attrs, rows: printRows(out) }, n),
  time: (n, kind) => (str(n.attrs, 'of') !== 'position' && n.type.rows!.sequence.kinds.find((k) => k.name === kind)?.media ? 'constant' : n.type.rows!.sequence.kinds.some((k) => !k.media) ? 'prompt' : 'constant'),
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, _i, ctx) => ({
    type: n.type,
    data: Int32Array.from(ctx.tokens(n.type.rows!), (t) => (str(n.attrs, 'of') === 'index' || (str(n.attrs, 'of') === 'place' && t.image >= 0) ? t.index : t.pos)),
  }),
};

/** Rows of a table by index. */
const embed: OpDef = {
  name: 'embed', doc: 'Rows of a table, picked by index.', arity: 2, attrs: {},
  infer: ([ids, table]) => {
    expect(ids!.dtype === 'i32' && !!ids!.rows && ids!.dims.length === 0, () => `indices must be i32[rows], not ${printType(ids!)}.`);
    expect(table!.dims.length === 2 && !table!.rows, () => `needs a table of [entries, width], not ${printType(table!)}.`);
    expect(table!.dtype.startsWith('f'), () => `needs a table of floats, not ${printType(table!)}.`);
    return tensorType('f32', ids!.rows, [table!.dims[1]!]);
  },
  counts: (n) => ({ embed: elements(n.type) }),
  moves: (n) => ({ reads: [elements(n.inputs[0]!.type), elements(n.type)], writes: elements(n.type) }),
  evaluate: (n, [ids, table]) => {
    const w = n.type.dims[0]!, out = new Float32Array(ids!.data.length * w), entries = table!.type.dims[0]!;
    ids!.data.forEach((id, i) => {
      if (id < 0 || id >= entries) throw new RangeError(`index ${id} lies outside the table's ${entries} entries.`);
      out.set(table!.data.subarray(id * w, (id + 1) * w), i * w);
    });
    return { type: n.type, data: out };
  },
};

/** Appends the new rows to a state (the KV cache, the visual memory) and gives the whole state. */
const store: OpDef = {
  name: 'store', doc: 'Writes new rows into a state and gives the state.', arity: 2, attrs: { state: 'text' },
  infer: ([s, x]) => {
    expect(!!s!.rows?.context, () => `the first input must be a state, not ${printType(s!)}.`);
    expect(!!x!.rows && !x!.rows.context && rowElements(x!) === rowElements(s!) && x!.rows.kinds.every((k) => s!.rows!.kinds.includes(k)), () => `${printType(x!)} does not fit into the state ${printType(s!)}.`);
    return s!;
  },
  reads: (n, out, i) => (i === 0 ? out : n.inputs[1]!.type.rows),
  narrow: (b, n, [s, x]) => b.op('store', [s!, x!], n.attrs, n),
  counts: () => ({}),
  moves: (n) => ({ reads: [Poly.zero, elements(n.inputs[1]!.type)], writes: elements(n.inputs[1]!.type) }),
  evaluate: (n, [, x], ctx) => ctx.store(String(n.attrs['state']), x!),
};

export const rowOps: readonly OpDef[] = [rows, merge, asRows, broadcast, zeros, rowNumber, embed, store];
