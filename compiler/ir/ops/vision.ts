import { elements, printType, tensorType } from '../types.ts';
import { parseRows } from '../rows.ts';
import type { OpDef } from './def.ts';
import { expect, num, str } from './def.ts';

/**
 * Cuts pictures `[tile, channels, height, width]` into square patches, row by row from the top left; one row holds a
 * patch as `[channels, size, size]`. With `linear` after it this is the patch convolution (stride = kernel).
 */
const patches: OpDef = {
  name: 'patches', doc: 'Square patches of pictures as rows of [channels · size · size].', arity: 1, attrs: { size: 'count', rows: 'rows' },
  infer: ([x], attrs, head) => {
    const size = num(attrs, 'size'), r = parseRows(head.sequences.values(), str(attrs, 'rows'));
    expect(x!.dims.length === 3 && !!x!.rows, () => `needs pictures [tile, channels, height, width], not ${printType(x!)}.`);
    const [c, h, w] = x!.dims as [number, number, number];
    expect(h >= size && w >= size, () => `patches of ${size} px do not fit into ${w}×${h} px.`);
    return tensorType(x!.dtype, r, [c * size * size]);
  },
  reads: (n) => n.inputs[0]!.type.rows,
  narrow: (b, n, [x]) => b.op('patches', [x!], n.attrs, n),
  counts: () => ({}),
  evaluate: (n, [x], ctx) => {
    const size = num(n.attrs, 'size'), [c, h, w] = x!.type.dims as [number, number, number];
    const gw = Math.floor(w / size), gh = Math.floor(h / size), tiles = x!.data.length / (c * h * w), width = c * size * size;
    const out = new Float32Array(tiles * gw * gh * width), want = ctx.tokens(n.type.rows!).length;
    if (want !== tiles * gw * gh) throw new RangeError(`${tiles} picture(s) of ${w}×${h} px have ${tiles * gw * gh} patches of ${size} px, not ${want}.`);
    for (let t = 0, o = 0; t < tiles; t++) for (let py = 0; py < gh; py++) for (let px = 0; px < gw; px++)
      for (let ch = 0; ch < c; ch++) for (let y = 0; y < size; y++) for (let xx = 0; xx < size; xx++)
        out[o++] = x!.data[((t * c + ch) * h + py * size + y) * w + px * size + xx]!;
    return { type: n.type, data: out };
  },
};

/** Index of the largest entry of each row; the first one on a tie. */
const argmax: OpDef = {
  name: 'argmax', doc: 'Index of the largest entry of each row, the first on a tie.', arity: 1, attrs: {},
  infer: ([x]) => { expect(!!x!.rows && x!.dims.length === 1, () => `needs rows of vectors, not ${printType(x!)}.`); return tensorType('i32', x!.rows, []); },
  counts: (n) => ({ other: elements(n.inputs[0]!.type) }),
  evaluate: (n, [x]) => {
    const w = x!.type.dims[0]!, out = new Int32Array(x!.data.length / w);
    for (let r = 0; r < out.length; r++) { let best = 0; for (let i = 1; i < w; i++) if (x!.data[r * w + i]! > x!.data[r * w + best]!) best = i; out[r] = best; }
    return { type: n.type, data: out };
  },
};

export const visionOps: readonly OpDef[] = [patches, argmax];
