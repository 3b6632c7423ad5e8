/** Random products with every prologue, epilogue and kind of group that the matmul and matvec families know. */
import { Poly } from '../../compiler/ir/poly.ts';
import { printWeightFormat } from '../../compiler/ir/weight-format.ts';
import type { ElementExpr, UnaryName } from '../../compiler/wgsl/expr.ts';
import type { FloatStorage, View, WeightMatrix, WeightStorage } from '../../compiler/wgsl/kernel.ts';
import type { MatmulGroup, MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { Buffers, numbers } from './kernel-reference.ts';

export interface Product { readonly name: string; readonly spec: MatmulSpec; readonly buffers: Buffers; readonly dims: Record<string, number> }

/** Uniform integers and choices that depend on the seed alone. */
export class Dice {
  private s: number;
  constructor(seed: number) { this.s = (Math.imul(seed + 1, 2654435761) ^ 0x9e3779b9) >>> 0 || 1; for (let i = 0; i < 4; i++) this.next(); }
  private next(): number { this.s ^= this.s << 13; this.s >>>= 0; this.s ^= this.s >>> 17; this.s ^= this.s << 5; this.s >>>= 0; return this.s; }
  below(n: number): number { return this.next() % n; }
  of<T>(xs: readonly T[]): T { return xs[this.below(xs.length)]!; }
  chance(p: number): boolean { return this.below(1000) < p * 1000; }
}

const unaries: readonly UnaryName[] = ['gelu', 'gelu_tanh', 'quick_gelu', 'silu', 'relu', 'sigmoid', 'tanh'];

export interface ProductOptions {
  /** Storages that the device has. */
  readonly storages: readonly FloatStorage[];
  /** How weights may be stored; as everything else by default. */
  readonly weights?: readonly WeightStorage[];
  readonly oneRow?: boolean;
}

export function randomProduct(seed: number, { storages, weights = storages, oneRow = false }: ProductOptions): Product {
  const d = new Dice(seed), buffers = new Buffers(), notes: string[] = [];
  const rows = oneRow ? 1 : d.of([1, 2, 7, 13, 17, 33, 40]), V = d.below(4), dims = { V, T: rows };
  const count = oneRow ? Poly.of(1) : Poly.dim('T');
  let fill = seed;
  const addWeight = (name: string, storage: WeightStorage, rows: number, width: number, scale: number): WeightMatrix => { buffers.addWeight(name, storage, numbers(rows * width, ++fill, scale), width); return { binding: name, storage }; };
  const add = (name: string, storage: FloatStorage, n: number, scale = 1): string => { buffers.add(name, storage, numbers(n, ++fill, scale)); return name; };
  const float = (): FloatStorage => d.of(storages);

  // Groups of quantised weights are seen only where K has several, and where the last is cut short.
  let K = d.of([4, 8, 11, 14, 26, 64, 90, 93, 128, ...(weights.every((w) => typeof w === 'string') ? [] : [160, 201, 300])]);
  const kind = d.of(['none', 'none', 'rms_norm', 'layer_norm', 'patches'] as const);
  const aStorage = float();
  let a: View, prologue: MatmulSpec['prologue'];
  if (kind === 'patches') {
    const size = d.of([2, 3, 4, 8]), channels = d.of([1, 3]), across = d.of([1, 2, 3]), extra = d.below(size);
    const width = across * size + extra, down = Math.max(1, Math.ceil(rows / across)), height = down * size + d.below(2);
    K = channels * size * size;
    const tiles = Math.ceil(rows / (across * down));
    a = { binding: add('a', aStorage, tiles * channels * height * width), storage: aStorage, stride: K, offset: Poly.zero };
    prologue = { kind, channels, height, width, size };
  } else {
    const stride = K + d.of([0, 0, 2, 3, 4]), column = stride > K ? d.below(stride - K + 1) : 0;
    a = { binding: add('a', aStorage, (rows + V) * stride, 2), storage: aStorage, stride, offset: Poly.dim('V'), ...(column ? { column } : {}) };
    if (kind !== 'none') {
      // Alone, behind others that share the binding, or there where no vec4 begins.
      const offset = [0, 8, 3][rows % 3]!, gain = { binding: add('gain', 'f32', offset + K), storage: 'f32' as const, ...(offset ? { offset } : {}) };
      prologue = { kind, gain, eps: 1e-5, ...(kind === 'layer_norm' && d.chance(0.8) ? { bias: { binding: add('shift', 'f32', K), storage: 'f32' as const } } : {}) };
    }
  }
  notes.push(`${rows} rows`, `K ${K}`, kind, `a ${aStorage}`);

  const groups: MatmulGroup[] = [];
  const n = d.of([1, 1, 2, 3]);
  for (let g = 0; g < n; g++) {
    const shape = d.of(['plain', 'plain', 'gated', 'rope', 'residual', 'position'] as const);
    const linears = shape === 'gated' ? 2 : 1, headDim = d.of([2, 6, 8, 14, 16]);
    const width = shape === 'rope' ? headDim * (1 + d.below(4)) : d.of([1, 2, 3, 11, 28, 37, 64, 90]);
    const storage = float(), stride = width + d.of([0, 0, 1, 4]), column = stride > width ? d.below(stride - width + 1) : 0;
    const acc: ElementExpr = { op: 'acc', index: 0 };
    const vector = (name: string): ElementExpr => {
      const s = float(), offset = d.of([0, 0, 3]);
      return { op: 'vector', binding: add(`${name}${g}`, s, width + offset), storage: s, ...(offset ? { offset } : {}) };
    };
    let value: ElementExpr = d.chance(0.5) ? { op: 'add', a: acc, b: vector('bias') } : acc;
    if (shape === 'gated') value = { op: 'mul', a: { op: 'unary', fn: 'silu', x: value }, b: { op: 'acc', index: 1 } };
    else if (shape === 'plain' && d.chance(0.7)) value = { op: 'unary', fn: d.of(unaries), x: value };
    const into = d.of(['rows', 'regions'] as const);
    const slots = rows + V + 5;
    const view: View = {
      binding: add(`out${g}`, storage, slots * stride), storage, stride, ...(column ? { column } : {}),
      ...(into === 'rows' ? { offset: Poly.dim('V') } : { offset: Poly.zero, regions: [{ count: Poly.of(1), start: Poly.dim('V').add(2) }, { count: count.sub(1), start: Poly.dim('V').add(4) }] }),
    };
    if (shape === 'residual') value = { op: 'add', a: value, b: { op: 'load', view } };
    if (shape === 'position') {
      const s = d.of(weights);
      buffers.add('ids', 'i32', Int32Array.from({ length: (rows + 1) * 4 }, () => d.below(5)));
      value = { op: 'add', a: { op: 'mul', a: value, b: { op: 'constant', value: 0.5 } }, b: { op: 'gather', table: addWeight(`table${g}`, s, 5, width, 1), rows: { binding: 'ids', component: 'index', offset: Poly.of(1) } } };
    }
    let rope: MatmulGroup['rope'];
    if (shape === 'rope') {
      buffers.add('ids', 'i32', Int32Array.from({ length: (rows + 1) * 4 }, () => d.below(5)));
      buffers.add(`angles${g}`, 'f32', Float64Array.from({ length: 5 * headDim }, (_, i) => (i % 2 ? Math.sin(i) : Math.cos(i - 1))));
      rope = { table: `angles${g}`, headDim, positions: { binding: 'ids', component: 'position', offset: Poly.of(1) } };
    }
    groups.push({ linears, width, value, out: view, ...(rope ? { rope } : {}) });
    notes.push(`${shape} ${width} ${storage} ${into}`);
  }
  const wStorage = d.of(weights), total = groups.reduce((s, g) => s + g.linears * g.width, 0);
  notes.push(`w ${typeof wStorage === 'string' ? wStorage : printWeightFormat(wStorage)}`);
  const spec: MatmulSpec = { rows: count, K, a, weight: addWeight('w', wStorage, total, K, 0.5), groups, ...(prologue ? { prologue } : {}) };
  return { name: `#${seed}: ${notes.join(', ')}`, spec, buffers, dims };
}
