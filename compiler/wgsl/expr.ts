/**
 * The epilogue language: what happens to one output element at (row, column), printed for several columns at once.
 *
 * Accuracy (measured in f32 against f64, see test/unit/wgsl-expr.test.ts): erf within 5e-7 absolute; gelu, silu, sigmoid
 * and tanh within 5e-7 of max(1, |value|). Exponents are bounded, so nothing passes through infinity on the way.
 */
import type { ShuffleShape } from '../ir/ops/pixel-shuffle.ts';
import type { Poly } from '../ir/poly.ts';
import type { Storage, View, WeightMatrix } from './kernel.ts';
import type { Lanes, Memory, RowComponent } from './printer.ts';
import { range, rowComponents, vecType } from './printer.ts';
import { declareTable } from './weights.ts';

export type UnaryName = 'gelu' | 'gelu_tanh' | 'quick_gelu' | 'silu' | 'relu' | 'sigmoid' | 'tanh';

/** Where a row finds an integer: a component of entry `offset + row` of row data (vec4<i32>), `place` (the index of an image's row, the position of any other), or a column of an i32 value. */
export type RowNumbers = { readonly binding: string; readonly component: RowComponent | 'place'; readonly offset: Poly } | View;

export type ElementExpr =
  /** The `index`-th interleaved linear of a matmul's group. */
  | { readonly op: 'acc'; readonly index: number }
  /**
   * Element (row, column) of a value. With `repeat`, heads of width `headDim` are each read by `group` output heads in turn;
   * with `halves`, columns 2i and 2i+1 of a head of that size read columns i and i + size/2, as a rope's pairs lie; with
   * `shuffle`, the row is a block of rows of a picture side by side (compiler/ir/ops/pixel-shuffle.ts).
   */
  | { readonly op: 'load'; readonly view: View; readonly repeat?: { readonly group: number; readonly headDim: number }; readonly halves?: number; readonly shuffle?: ShuffleShape }
  /** Element (column) of a weight vector that begins at element `offset` of its binding. */
  | { readonly op: 'vector'; readonly binding: string; readonly storage: Storage; readonly offset?: number }
  /** Element (column) of the table row that the row's number picks: embeddings of tokens and of positions. The table begins with row `first`. */
  | { readonly op: 'gather'; readonly table: WeightMatrix; readonly rows: RowNumbers; readonly first?: number }
  /**
   * Element (column) of Σ weight(row, s) · source(map(row, s)) over `sources` columns s of an i32 value and of the weights beside it
   * (one source and no weights: a copy). Source i ≥ 0 is row i of `from`, source i < 0 learned row −1 − i.
   */
  | { readonly op: 'mix'; readonly from: View; readonly map: View; readonly sources: number; readonly weights?: View; readonly learned?: { readonly binding: string; readonly storage: Storage } }
  /**
   * Element (column) of Σ_j p_j · from(row · top + j), with p the softmax of the scores of the row's `top` chosen experts: `from` has a
   * row for each choice, `chosen` (i32) and `scores` one for each row.
   */
  | { readonly op: 'mix_experts'; readonly from: View; readonly chosen: View; readonly scores: View; readonly top: number }
  | { readonly op: 'constant'; readonly value: number }
  | { readonly op: 'unary'; readonly fn: UnaryName; readonly x: ElementExpr }
  | { readonly op: 'add' | 'sub' | 'mul'; readonly a: ElementExpr; readonly b: ElementExpr };

/** Prints the value of the expression at WGSL identifiers `row` and `column` (u32); `acc[i]` is the i-th linear. */
export type ElementPrinter = (row: string, column: string, acc: readonly string[]) => string;

/**
 * Declares the expression's accesses and gives its printer. `width` is the number of columns of the output; `lanes`
 * columns are computed at once, the first one a multiple of `lanes`.
 */
export function declareElement(e: ElementExpr, memory: Memory, lanes: Lanes, width: number): ElementPrinter {
  switch (e.op) {
    case 'acc': return (_row, _column, acc) => {
      const x = acc[e.index];
      if (x === undefined) throw new RangeError(`The epilogue reads linear ${e.index}, but there are ${acc.length}.`);
      return x;
    };
    case 'constant': return () => `${vecType(lanes)}(${floatLiteral(e.value)})`;
    case 'load': return declareLoad(e, memory, lanes);
    case 'vector': {
      const v = memory.vector('vector', e.binding, e.storage, lanes, width, e.offset);
      return (_row, column) => v.load(e.offset ? `${column} + ${e.offset}u` : column, lanes);
    }
    case 'gather': {
      const table = declareTable(memory, e.table, width, lanes);
      const number = declareRowNumber(memory, 'ids', e.rows);
      return (row, column) => table(e.first ? `u32(${number(row)} - ${e.first})` : `u32(${number(row)})`, column);
    }
    case 'mix': return declareMix(e, memory, lanes, width);
    case 'mix_experts': return declareMixExperts(e, memory, lanes);
    case 'unary': {
      const x = declareElement(e.x, memory, lanes, width);
      return (row, column, acc) => `${unaryFunction(e.fn, memory, lanes)}(${x(row, column, acc)})`;
    }
    case 'add': case 'sub': case 'mul': {
      const a = declareElement(e.a, memory, lanes, width), b = declareElement(e.b, memory, lanes, width);
      return (row, column, acc) => `(${a(row, column, acc)} ${{ add: '+', sub: '-', mul: '*' }[e.op]} ${b(row, column, acc)})`;
    }
    default: return e satisfies never;
  }
}

function declareLoad({ view, repeat, halves, shuffle }: Extract<ElementExpr, { op: 'load' }>, memory: Memory, lanes: Lanes): ElementPrinter {
  const x = memory.view('x', view, lanes);
  const each = (source: (column: string) => string, sourceRow = (row: string, _column: string): string => row): ElementPrinter => (row, column) => {
    const one = (c: string): string => x.load(x.element(sourceRow(row, c), source(c)), 1);
    return lanes === 1 ? one(column) : `${vecType(lanes)}(${range(lanes).map((i) => one(`(${column} + ${i}u)`)).join(', ')})`;
  };
  if (shuffle) {
    const { side, factor, width } = shuffle, across = side / factor;
    const from = (row: string, c: string): string => `(((${row}) / ${across}u * ${factor}u + (${c}) / ${factor * width}u) * ${side}u + (${row}) % ${across}u * ${factor}u + (${c}) / ${width}u % ${factor}u)`;
    const within = (c: string): string => `(${c}) % ${width}u`;
    return width % lanes === 0 ? (row, column) => x.load(x.element(from(row, column), within(column)), lanes) : each(within, from);
  }
  if (halves) return each((c) => `${c} / ${halves}u * ${halves}u + ${c} % ${halves}u / 2u + ${c} % 2u * ${halves / 2}u`);
  if (!repeat || repeat.group === 1) return (row, column) => x.load(x.element(row, column), lanes);
  const { group, headDim } = repeat;
  const source = (column: string): string => `((${column}) / ${group * headDim}u) * ${headDim}u + (${column}) % ${headDim}u`;
  return headDim % lanes === 0 ? (row, column) => x.load(x.element(row, source(column)), lanes) : each(source);
}

function declareMix({ from, map, sources, weights, learned }: Extract<ElementExpr, { op: 'mix' }>, memory: Memory, lanes: Lanes, width: number): ElementPrinter {
  if (map.storage !== 'i32') throw new RangeError(`Rows are gathered by a map of i32, not of ${map.storage}.`);
  const x = memory.view('x', from, lanes), numbers = memory.view('map', map, 1), shares = weights && memory.view('weights', weights, 1);
  const own = learned && memory.vector('learned', learned.binding, learned.storage, lanes, width);
  return (row, column) => range(sources).map((s) => {
    const i = numbers.load(numbers.element(row, `${s}u`), 1), at = x.load(x.element(own ? `u32(max(${i}, 0))` : `u32(${i})`, column), lanes);
    // Both are read, and one is taken: a load is cheaper than a branch that neighbouring rows decide otherwise.
    const value = own ? `select(${own.load(`u32(max(-1 - ${i}, 0)) * ${width}u + ${column}`, lanes)}, ${at}, ${i} >= 0)` : at;
    return shares ? `${shares.load(shares.element(row, `${s}u`), 1)} * ${value}` : value;
  }).join(' + ');
}

function declareMixExperts({ from, chosen, scores, top }: Extract<ElementExpr, { op: 'mix_experts' }>, memory: Memory, lanes: Lanes): ElementPrinter {
  const x = memory.view('x', from, lanes), numbers = memory.view('chosen', chosen, 1), given = memory.view('scores', scores, 1), T = vecType(lanes);
  return (row, column) => {
    const name = memory.helper(`mix_experts_${lanes}`, `fn mix_experts_${lanes}(row: u32, column: u32) -> ${T} {
  var scores: array<f32, ${top}>;
  var most = -3.4028234e38;
  for (var j = 0u; j < ${top}u; j++) {
    scores[j] = ${given.load(given.element('row', `u32(${numbers.load(numbers.element('row', 'j'), 1)})`), 1)};
    most = max(most, scores[j]);
  }
  var sum = 0.0;
  var mixed = ${T}(0.0);
  for (var j = 0u; j < ${top}u; j++) {
    let share = exp(scores[j] - most);
    sum += share;
    mixed += share * ${x.load(x.element(`(row * ${top}u + j)`, 'column'), lanes)};
  }
  return mixed / sum;
}`);
    return `${name}(${row}, ${column})`;
  };
}

/** A printer of a row's integer, as i32. */
export function declareRowNumber(memory: Memory, role: string, n: RowNumbers): (row: string) => string {
  if ('component' in n) {
    const name = memory.entries(role, n.binding, 'vec4<i32>');
    const { component } = n;
    return (row) => {
      const entry = `${name}[${n.offset.isZero ? row : `${memory.poly(n.offset)} + ${row}`}]`;
      return component === 'place' ? `select(${entry}.${rowComponents.position}, ${entry}.${rowComponents.index}, ${entry}.${rowComponents.image} >= 0)` : `${entry}.${rowComponents[component]}`;
    };
  }
  if (n.storage !== 'i32') throw new RangeError(`Rows are numbered by i32, not ${n.storage}.`);
  const numbers = memory.view(role, n, 1);
  return (row) => numbers.load(numbers.element(row, '0u'), 1);
}

/** A finite number as an f32 literal. */
export function floatLiteral(x: number): string {
  const y = Math.fround(x);
  if (!Number.isFinite(y)) throw new RangeError(`${x} is no finite f32 number.`);
  const text = String(y);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/**
 * Bodies over `x` of type T. exp(−x) is bounded at 80, far below overflow, where 1/(1+exp) is 0 to f32 precision.
 * tanh is written with exp too: built-in ones may compute sinh/cosh, which is infinity over infinity for large x.
 */
const unaryBodies: Readonly<Record<UnaryName, { readonly body: string; readonly needs?: 'erf' | 'tanh' | 'sigmoid' }>> = {
  gelu: { body: 'return 0.5 * x * (1.0 + ERF(x * 0.70710678));', needs: 'erf' },
  gelu_tanh: { body: 'return x * SIGMOID(1.5957691 * x * (1.0 + 0.044715 * x * x));', needs: 'sigmoid' },
  quick_gelu: { body: 'return x * SIGMOID(1.702 * x);', needs: 'sigmoid' },
  silu: { body: 'return x * SIGMOID(x);', needs: 'sigmoid' },
  relu: { body: 'return max(x, T(0.0));' },
  sigmoid: { body: 'return 1.0 / (1.0 + exp(min(-x, T(80.0))));' },
  tanh: { body: 'return 2.0 / (1.0 + exp(min(-2.0 * x, T(80.0)))) - 1.0;' },
};

/**
 * erf as x·P(x²)/Q(x²) on |x| ≤ 4, beyond which it is ±1 in f32 (the rational minimax of Eigen's and XLA's f32 erf).
 * No exponential, so its error does not hang on the device's exp.
 */
export const erfNumerator = [-2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4, -2.95459980854025e-3, -1.60960333262415e-2];
export const erfDenominator = [-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2];
const horner = (coefficients: readonly number[], x: string): string => coefficients.slice(1).reduce((s, c) => `(${s}) * ${x} + ${floatLiteral(c)}`, `T(${floatLiteral(coefficients[0]!)})`);
const erfBody = `let z = clamp(x, T(-4.0), T(4.0)); let t = z * z;
  return z * (${horner(erfNumerator, 't')}) / (${horner(erfDenominator, 't')});`;

/** Name of the function for `lanes` components; adds it and what it needs to the kernel. */
function unaryFunction(fn: UnaryName | 'erf', memory: Memory, lanes: Lanes): string {
  const name = `${fn}_${lanes}`;
  const { body, needs } = fn === 'erf' ? { body: erfBody, needs: undefined } : unaryBodies[fn];
  const inner = needs ? unaryFunction(needs, memory, lanes) : '';
  const T = vecType(lanes);
  return memory.helper(name, `fn ${name}(x: ${T}) -> ${T} {\n  ${body.replace(/ERF|SIGMOID/g, inner).replace(/\bT\(/g, `${T}(`)}\n}`);
}
