/**
 * What the kernel families must compute, in plain TypeScript over numbers: buffers by name, elements by view. Slow and
 * obvious on purpose.
 */
import { dequantiseRows, quantiseRows } from '../../compiler/bundle/quantise.ts';
import { rowWords } from '../../compiler/ir/weight-format.ts';
import { unaryFunctions } from '../../compiler/ir/ops/elementwise.ts';
import { shuffleSource } from '../../compiler/ir/ops/pixel-shuffle.ts';
import { activationBlock } from '../../compiler/schedule/matvec-schedule.ts';
import type { ElementExpr, RowNumbers } from '../../compiler/wgsl/expr.ts';
import type { RowComponent } from '../../compiler/wgsl/printer.ts';
import type { ElementwiseSpec } from '../../compiler/wgsl/elementwise.ts';
import type { Rope } from '../../compiler/wgsl/epilogue.ts';
import type { Storage, View, WeightStorage } from '../../compiler/wgsl/kernel.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import type { BufferData } from './gpu.ts';
import { fromHalves, toHalves } from './gpu.ts';

export type Dims = Readonly<Record<string, number>>;
const components = { position: 0, kind: 1, index: 2, image: 3 } as const;

/** Named buffers as numbers, each with the storage that a kernel sees. */
export class Buffers {
  readonly data = new Map<string, Float64Array>();
  private readonly storage = new Map<string, Storage>();
  private readonly words = new Map<string, Uint32Array>();

  /** Adds a buffer; numbers are rounded to the storage. */
  add(name: string, storage: Storage, values: ArrayLike<number>): this {
    const rounded = storage === 'f32' ? Float32Array.from(values) : storage === 'i32' ? Int32Array.from(values) : fromHalves(toHalves(values));
    this.data.set(name, Float64Array.from(rounded));
    this.storage.set(name, storage);
    return this;
  }
  /** Adds rows of a weight matrix; a kernel sees the quantised rows, the reference what they stand for. */
  addWeight(name: string, storage: WeightStorage, values: ArrayLike<number>, K: number): this {
    if (typeof storage === 'string') return this.add(name, storage, values);
    const words = new Uint32Array((values.length / K) * rowWords(storage, K));
    quantiseRows(storage, Float32Array.from(values), K, words, name);
    this.data.set(name, Float64Array.from(dequantiseRows(storage, words, K)));
    this.words.set(name, words);
    return this;
  }
  get(name: string): Float64Array { return this.data.get(name)!; }

  /** As a kernel's buffers, with a few elements of rubbish behind each that no kernel may use or change. */
  encode(): Record<string, BufferData> {
    return Object.fromEntries([...this.data].map(([name, x]) => {
      const s = this.storage.get(name)!, words = this.words.get(name);
      return [name, words ?? (s === 'f32' ? Float32Array.from(x) : s === 'i32' ? Int32Array.from(x) : toHalves(x))];
    }));
  }
  decode(name: string, x: BufferData): Float64Array {
    return Float64Array.from(this.storage.get(name)!.startsWith('f16') ? fromHalves(x as Uint16Array) : x);
  }

  element(v: View, dims: Dims, row: number, column: number): number {
    let slot = row;
    if (v.regions?.length) {
      let before = 0;
      for (const { count, start } of v.regions) {
        const n = count.at(dims);
        if (row < before + n || v.regions.at(-1)!.count === count) { slot = start.at(dims) + row - before; break; }
        before += n;
      }
    }
    return (v.offset.at(dims) + slot) * v.stride + (v.column ?? 0) + column;
  }
  read(v: View, dims: Dims, row: number, column: number): number { return this.get(v.binding)[this.element(v, dims, row, column)]!; }
  number(n: RowNumbers, dims: Dims, row: number): number {
    if (!('component' in n)) return this.read(n, dims, row, 0);
    const entry = (component: RowComponent): number => this.get(n.binding)[(n.offset.at(dims) + row) * 4 + components[component]]!;
    return entry(n.component !== 'place' ? n.component : entry('image') >= 0 ? 'index' : 'position');
  }
}

export function evaluate(e: ElementExpr, b: Buffers, dims: Dims, row: number, column: number, width: number, acc: readonly number[]): number {
  const at = (x: ElementExpr): number => evaluate(x, b, dims, row, column, width, acc);
  switch (e.op) {
    case 'acc': return acc[e.index]!;
    case 'constant': return Math.fround(e.value);
    case 'load': {
      if (e.shuffle) { const from = shuffleSource(e.shuffle, row, column); return b.read(e.view, dims, from.row, from.column); }
      const r = e.repeat, h = e.halves, c = h ? column - (column % h) + Math.floor((column % h) / 2) + (column % 2) * (h / 2) : r ? Math.floor(column / (r.group * r.headDim)) * r.headDim + (column % r.headDim) : column;
      return b.read(e.view, dims, row, c);
    }
    case 'vector': return b.get(e.binding)[(e.offset ?? 0) + column]!;
    case 'gather': return b.get(e.table.binding)[b.number(e.rows, dims, row) * width + column]!;
    case 'mix': {
      let sum = 0;
      for (let s = 0; s < e.sources; s++) {
        const i = b.read(e.map, dims, row, s), weight = e.weights ? b.read(e.weights, dims, row, s) : 1;
        sum += weight * (i >= 0 ? b.read(e.from, dims, i, column) : b.get(e.learned!.binding)[(-1 - i) * width + column]!);
      }
      return sum;
    }
    case 'mix_experts': {
      const chosen = Array.from({ length: e.top }, (_, j) => b.read(e.chosen, dims, row, j)), shares = chosen.map((x) => Math.exp(b.read(e.scores, dims, row, x)));
      return shares.reduce((sum, p, j) => sum + p * b.read(e.from, dims, row * e.top + j, column), 0) / shares.reduce((x, y) => x + y, 0);
    }
    case 'unary': return unaryFunctions[e.fn]!(at(e.x));
    case 'add': return at(e.a) + at(e.b);
    case 'sub': return at(e.a) - at(e.b);
    case 'mul': return at(e.a) * at(e.b);
  }
}

function turned(values: Float64Array, rope: Rope, b: Buffers, dims: Dims, row: number): Float64Array {
  const out = new Float64Array(values.length), half = rope.headDim / 2, position = b.number(rope.positions, dims, row), table = b.get(rope.table);
  for (let c = 0; c < values.length; c += 2) {
    const i = (position * half + (c % rope.headDim) / 2) * 2, cos = table[i]!, sin = table[i + 1]!;
    out[c] = values[c]! * cos - values[c + 1]! * sin;
    out[c + 1] = values[c + 1]! * cos + values[c]! * sin;
  }
  return out;
}

interface Group { readonly width: number; readonly value: ElementExpr; readonly rope?: Rope; readonly out: View }
type Write = { binding: string; at: number; value: number };
function groupRow(g: Group, b: Buffers, dims: Dims, row: number, acc: (column: number) => number[]): Write[] {
  let values = Float64Array.from({ length: g.width }, (_, c) => evaluate(g.value, b, dims, row, c, g.width, acc(c)));
  if (g.rope) values = turned(values, g.rope, b, dims, row) as Float64Array<ArrayBuffer>;
  return [...values].map((value, c) => ({ binding: g.out.binding, at: b.element(g.out, dims, row, c), value }));
}

/** Writes of elementwise work, row by row. */
export const elementwiseReference = (s: ElementwiseSpec, b: Buffers, dims: Dims): Write[] =>
  Array.from({ length: s.rows.at(dims) }, (_, row) => groupRow(s, b, dims, row, () => [])).flat();

export function normed(row: Float64Array, kind: string, gain: Float64Array, bias: Float64Array | undefined, eps: number): Float64Array {
  const mean = kind === 'layer_norm' ? row.reduce((s, x) => s + x, 0) / row.length : 0;
  const scale = 1 / Math.sqrt(row.reduce((s, x) => s + (x - mean) ** 2, 0) / row.length + eps);
  return row.map((x, i) => (x - mean) * scale * gain[i]! + (bias?.[i] ?? 0));
}

/** Row `row` of A after the prologue. */
function operand(s: MatmulSpec, b: Buffers, dims: Dims, row: number): Float64Array {
  const p = s.prologue;
  if (p?.kind === 'patches') {
    const across = Math.floor(p.width / p.size), down = Math.floor(p.height / p.size), tile = Math.floor(row / (across * down)), y = Math.floor(row / across) % down, x = row % across;
    return Float64Array.from({ length: s.K }, (_, k) => {
      const c = Math.floor(k / (p.size * p.size)), py = Math.floor(k / p.size) % p.size, px = k % p.size;
      return b.get(s.a.binding)[(s.a.column ?? 0) + ((tile * p.channels + c) * p.height + y * p.size + py) * p.width + x * p.size + px]!;
    });
  }
  const a = Float64Array.from({ length: s.K }, (_, k) => b.read(s.a, dims, row, k));
  const vector = ({ binding, offset = 0 }: { readonly binding: string; readonly offset?: number }): Float64Array => b.get(binding).subarray(offset, offset + s.K);
  return p ? normed(a, p.kind, vector(p.gain), p.bias && vector(p.bias), p.eps) : a;
}

/** Activations rounded to int8, with a scale for every block of them. */
function toInt8(row: Float64Array): Float64Array {
  return row.map((x, i) => {
    const block = Math.floor(i / activationBlock) * activationBlock, high = row.slice(block, block + activationBlock).reduce((m, y) => Math.max(m, Math.abs(y)), 0);
    return high ? (Math.round((x * 127) / high) * high) / 127 : 0;
  });
}

/** `int8`: with activations rounded as dot4 rounds them. */
export function matmulReference(s: MatmulSpec, b: Buffers, dims: Dims, { int8 = false } = {}): Write[] {
  const w = b.get(s.weight.binding), writes: Write[] = [];
  for (let row = 0; row < s.rows.at(dims); row++) {
    const exact = operand(s, b, dims, row), a = int8 ? toInt8(exact) : exact;
    let first = 0;
    for (const g of s.groups) {
      const start = first;
      writes.push(...groupRow(g, b, dims, row, (c) => Array.from({ length: g.linears }, (_, l) => {
        let sum = 0;
        for (let k = 0, at = (start + c * g.linears + l) * s.K; k < s.K; k++) sum += a[k]! * w[at + k]!;
        return sum;
      })));
      first += g.linears * g.width;
    }
  }
  return writes;
}

/**
 * Largest |got − expected| / max(1, max |expected|) over all elements of the written buffers; elements that nobody
 * writes must keep their value exactly.
 */
export function worstError(b: Buffers, writes: readonly Write[], outputs: Readonly<Record<string, BufferData>>): number {
  const expected = new Map<string, Map<number, number>>();
  for (const w of writes) {
    if (!expected.has(w.binding)) expected.set(w.binding, new Map());
    expected.get(w.binding)!.set(w.at, w.value);
  }
  let worst = 0;
  for (const [binding, data] of Object.entries(outputs)) {
    const got = b.decode(binding, data), old = b.get(binding), want = expected.get(binding);
    let largest = 1;
    for (const v of want?.values() ?? []) largest = Math.max(largest, Math.abs(v));
    got.forEach((g, i) => {
      const e = want?.get(i);
      if (e === undefined && g !== old[i]) throw new Error(`Element ${i} of '${binding}' was ${old[i]} and is ${g}, though nobody should write it.`);
      const error = Math.abs(g - (e ?? g)) / largest;
      if (!(error <= worst)) worst = Number.isNaN(error) ? Infinity : error;
    });
  }
  return worst;
}

/** Numbers between −1 and 1 that depend on the seed alone. */
export function numbers(n: number, seed: number, scale = 1): Float64Array {
  let s = (seed * 2654435761) >>> 0 || 1;
  return Float64Array.from({ length: n }, () => {
    s ^= s << 13; s >>>= 0; s ^= s >>> 17; s ^= s << 5; s >>>= 0;
    return (s / 2 ** 31 - 1) * scale;
  });
}
