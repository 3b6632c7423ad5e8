/**
 * Rows of a weight matrix as kernels read them: four elements of K at a time, dequantised in registers. How quantised rows
 * lie stands in compiler/ir/weight-format.ts; a word of codes is what an invocation fetches, and neighbours fetch neighbouring
 * words. Only core WGSL is used, and no f16 arithmetic, so every device runs the same text.
 */
import type { QuantisedFormat } from '../ir/weight-format.ts';
import { codeWords, rowWords } from '../ir/weight-format.ts';
import type { WeightMatrix } from './kernel.ts';
import type { Lanes, Memory } from './printer.ts';
import { vecType } from './printer.ts';

export interface WeightRowAccess {
  /** Vectors of four elements that one fetch brings. */
  readonly parts: number;
  /** Fetches that one scale holds for; undefined where no scale changes along a row. */
  readonly fetchesPerScale?: number;
  /** Where row `row` begins: the `base` of the other methods. */
  rowUnit(row: string): string;
  /** The `step`-th fetch of a row. */
  fetch(base: string, step: string): string;
  /** The `part`-th vector of a fetch, an identifier or expression: elements, or codes that want their scale. */
  vector(fetched: string, part: number): string;
  /** Scale and offset of the `n`-th group of a row as vec2: element = code · x + y. */
  groupScale?(base: string, n: string): string;
  /** The scale of a whole row, which multiplies finished sums. */
  rowScale?(base: string): string;
  /** Elements 4·k … 4·k+3 of a row, whole but for `rowScale`. */
  loadFour(base: string, k: string): string;
}

/** Declares the rows, `[…, K]`, of a weight that is bound whole. */
export function declareWeightRows(memory: Memory, role: string, { binding, storage }: WeightMatrix, K: number): WeightRowAccess {
  if (typeof storage === 'string') {
    const plain = memory.vector(role, binding, storage, 4, K);
    return {
      parts: 1, rowUnit: (row) => plain.rowUnit(row, K), fetch: (base, step) => plain.loadFour(base, step),
      vector: (fetched) => fetched, loadFour: (base, k) => plain.loadFour(base, k),
    };
  }
  return declareQuantised(memory, role, binding, storage, K);
}

export const int8Codes = `fn int8_codes(w: u32) -> vec4<f32> { return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)); }`;
const int4Codes = `fn int4_codes(w: u32) -> vec4<f32> { return vec4<f32>((vec4<u32>(w) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)); }`;

function declareQuantised(memory: Memory, role: string, binding: string, format: QuantisedFormat, K: number): WeightRowAccess {
  const words = rowWords(format, K), scales = codeWords(format, K), name = memory.entries(role, binding, 'u32');
  const rowUnit = (row: string): string => `(${row}) * ${words}u`, fetch = (base: string, step: string): string => `${name}[${base} + ${step}]`;
  if (format.kind === 'int8') {
    memory.helper('int8_codes', int8Codes);
    const vector = (fetched: string): string => `int8_codes(${fetched})`;
    return { parts: 1, rowUnit, fetch, vector, rowScale: (base) => `bitcast<f32>(${name}[${base} + ${scales}u])`, loadFour: (base, k) => vector(fetch(base, k)) };
  }
  memory.helper('int4_codes', int4Codes);
  const vector = (fetched: string, part: number): string => `int4_codes(${fetched}${part ? ' >> 4u' : ''})`;
  const own = name.replace(/_data$/, '');
  const scale = memory.helper(`${own}_scale`, format.symmetric
    ? `fn ${own}_scale(base: u32, n: u32) -> vec2<f32> { let s = unpack2x16float(${name}[base + ${scales}u + (n >> 1u)])[n & 1u]; return vec2<f32>(s, -8.0 * s); }`
    : `fn ${own}_scale(base: u32, n: u32) -> vec2<f32> { return unpack2x16float(${name}[base + ${scales}u + n]); }`);
  const four = memory.helper(`${own}_four`, `fn ${own}_four(base: u32, k: u32) -> vec4<f32> {
  let s = ${scale}(base, k / ${format.group / 4}u);
  return int4_codes(${name}[base + (k >> 1u)] >> ((k & 1u) * 4u)) * s.x + s.y;
}`);
  return {
    parts: 2, fetchesPerScale: format.group / 8, rowUnit, fetch, vector,
    groupScale: (base, n) => `${scale}(${base}, ${n})`, loadFour: (base, k) => `${four}(${base}, ${k})`,
  };
}

/** A printer of `lanes` elements of table row `row` from `column` on, a multiple of `lanes`. */
export function declareTable(memory: Memory, { binding, storage }: WeightMatrix, width: number, lanes: Lanes): (row: string, column: string) => string {
  if (typeof storage === 'string') {
    const plain = memory.vector('table', binding, storage, lanes, width);
    return (row, column) => plain.load(`${row} * ${width}u + ${column}`, lanes);
  }
  const rows = declareQuantised(memory, 'table', binding, storage, width), own = memory.entries('table', binding, 'u32').replace(/_data$/, '');
  const four = `${rows.loadFour('base', '(column >> 2u)')}${rows.rowScale ? ` * ${rows.rowScale('base')}` : ''}`;
  const picked = lanes === 4 ? 'x' : lanes === 2 ? 'select(x.xy, x.zw, (column & 2u) != 0u)' : 'x[column & 3u]';
  const load = memory.helper(`${own}_at`, `fn ${own}_at(row: u32, column: u32) -> ${vecType(lanes)} {
  let base = ${rows.rowUnit('row')};
  let x = ${four};
  return ${picked};
}`);
  return (row, column) => `${load}(${row}, ${column})`;
}
