/**
 * What becomes of sums: for each group of output columns a WGSL function `finish…(row, column, acc…)` that computes the
 * element expression for a few columns at once, rotates them if the group has a rope, and stores them.
 */
import type { Poly } from '../ir/poly.ts';
import type { ElementExpr, RowNumbers } from './expr.ts';
import { declareElement, declareRowNumber } from './expr.ts';
import type { View } from './kernel.ts';
import type { Lanes, Memory } from './printer.ts';
import { range, vecType } from './printer.ts';

/**
 * Rotary embedding of a finished value: columns (2i, 2i+1) of each head form a pair that turns by angle i of the row's
 * position. `table`: f32 [position][headDim/2][cos, sin].
 */
export interface Rope {
  readonly table: string;
  readonly positions: RowNumbers;
  readonly headDim: number;
}

export interface OutputGroup {
  /** Output columns. */
  readonly width: number;
  readonly value: ElementExpr;
  readonly rope?: Rope;
  readonly out: View;
  /** Only rows whose number is one of `count` from `first` on are computed and written. */
  readonly only?: { readonly numbers: RowNumbers; readonly first: number; readonly count: number };
}

/** A group's `finish` function. */
export interface Finish {
  readonly name: string;
  /** Columns a call computes, from a multiple of it on. */
  readonly lanes: Lanes;
  readonly text: () => string;
}

/**
 * Declares group `index`: `linears` sums of `lanes` columns each arrive as `acc0`, `acc1`, …. Calls outside the value
 * (row ≥ rows, column ≥ width) do nothing.
 */
export function declareFinish(memory: Memory, group: OutputGroup, index: number, linears: number, lanes: Lanes, rows: Poly): Finish {
  const { width, rope, only } = group;
  if (group.out.storage === 'i32') throw new RangeError('An epilogue computes floats and cannot write i32.');
  if (rope) {
    if (rope.headDim % 2 || width % rope.headDim) throw new RangeError(`A rope over ${width} columns needs heads of even size that divide them, not ${rope.headDim}.`);
    if (lanes === 1) throw new RangeError('A rope needs both columns of a pair in one invocation: at least 2 columns at once.');
  }
  const value = declareElement(group.value, memory, lanes, width);
  const turn = rope && declareRope(memory, rope, lanes);
  const out = memory.view('out', group.out, lanes, { width });
  const number = only && declareRowNumber(memory, 'ids', only.numbers);
  const name = `finish${index}`, acc = range(linears).map((i) => `acc${i}`);
  return {
    name, lanes,
    text: () => [
      `fn ${name}(row: u32, column: u32${acc.map((a) => `, ${a}: ${vecType(lanes)}`).join('')}) {`,
      `  if (row >= ${memory.poly(rows)} || column >= ${width}u) { return; }`,
      ...(number ? [`  let number = ${number('row')};`, `  if (number < ${only.first} || number >= ${only.first + only.count}) { return; }`] : []),
      `  ${turn ? 'var' : 'let'} value = ${value('row', 'column', acc)};`,
      ...(turn ? turn('row', 'column', 'value') : []).map((l) => `  ${l}`),
      `  let at = ${out.element('row', 'column')};`,
      ...out.store('at', 'value', lanes, { column: 'column', width }).map((l) => `  ${l}`),
      '}',
    ].join('\n'),
  };
}

/** Statements that turn the pairs held in the variable `value`. */
function declareRope(memory: Memory, rope: Rope, lanes: Lanes): (row: string, column: string, value: string) => string[] {
  const half = rope.headDim / 2;
  // Four columns lie within one head only if 4 divides its size; else each pair looks up its own angle.
  const together = lanes === 4 && rope.headDim % 4 === 0;
  const table = memory.vector('angles', rope.table, 'f32', together ? 4 : 2, together ? 4 : 2);
  const position = declareRowNumber(memory, 'rows', rope.positions);
  return (row, column, value) => {
    const lines = [`let angle = u32(${position(row)}) * ${half}u;`];
    const entry = (c: string): string => `(angle + (${c}) % ${rope.headDim}u / 2u) * 2u`;
    if (lanes === 2) lines.push(`let turn = ${table.load(entry(column), 2)};`);
    else if (together) lines.push(`let turn = ${table.load(entry(column), 4)};`);
    else lines.push(`let turn = vec4<f32>(${table.load(entry(column), 2)}, ${table.load(entry(`${column} + 2u`), 2)});`);
    lines.push(lanes === 2 ? `${value} = ${value} * turn.xx + vec2<f32>(-${value}.y, ${value}.x) * turn.yy;`
      : `${value} = ${value} * turn.xxzz + vec4<f32>(-${value}.y, ${value}.x, -${value}.w, ${value}.z) * turn.yyww;`);
    return lines;
  };
}
