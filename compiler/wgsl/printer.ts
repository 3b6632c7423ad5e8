/**
 * What all kernel families share when they print WGSL: the dims uniform, storage bindings and access to their elements.
 *
 * A kernel first declares every access to `Memory`, then prints loads and stores, then `memory.head()`. The order
 * matters: how a binding is declared (`array<vec4<f32>>` or `array<f32>`) follows from all its uses. Variables are named
 * after the role of their first use, not after the binding, so that layers with equal shapes share one text.
 *
 * Arithmetic is f32 whatever the storage: loads widen, stores round and saturate.
 */
import type { Poly } from '../ir/poly.ts';
import type { Binding, Storage, View } from './kernel.ts';
import { dimField, polyWgsl } from './kernel.ts';

export interface KernelOptions {
  /** Variables of the dims uniform, u32 each, in the order of the manifest. */
  readonly dims: readonly string[];
  /** WebGPU features of the device; storage `f16` needs `shader-f16`. */
  readonly features: ReadonlySet<string>;
  /** Bindings to declare read_write even where this kernel only reads them: allocations of the arena. */
  readonly readWrite?: ReadonlySet<string>;
}

/** Components that are read or written at once. */
export type Lanes = 1 | 2 | 4;
export const vecType = (lanes: Lanes): string => (lanes === 1 ? 'f32' : `vec${lanes}<f32>`);
/** The largest of 4, 2, 1 that divides all of `xs`. */
export const alignmentOf = (...xs: readonly number[]): Lanes => (xs.every((x) => x % 4 === 0) ? 4 : xs.every((x) => x % 2 === 0) ? 2 : 1);
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
/** Plain expressions go without parentheses. */
const group = (x: string): string => (/^[\w.]+$/.test(x) ? x : `(${x})`);
const plus = (x: string, n: number): string => (n === 0 ? x : `${x} + ${n}u`);
const shift = (x: string, lanes: number): string => (lanes === 1 ? x : `${group(x)} >> ${Math.log2(lanes)}u`);
const times = (x: string, n: number): string => (n === 1 ? x : `${group(x)} * ${n}u`);
const letters = 'xyzw';

/** Numbers a row carries in the buffer `rows_<sequence>`, as components of a vec4<i32>. */
export const rowComponents = { position: 'x', kind: 'y', index: 'z', image: 'w' } as const;
export type RowComponent = keyof typeof rowComponents;

/** Features of a device and what WGSL calls them. */
const enables = { 'shader-f16': 'f16', 'subgroups': 'subgroups', 'chromium-experimental-subgroup-matrix': 'chromium_experimental_subgroup_matrix' } as const;

interface Buffer {
  readonly name: string;
  readonly binding: string;
  readonly storage: Storage;
  /** The most elements that one entry of the WGSL array may hold, by the alignment of every use. */
  aligned: Lanes;
  /** Components that loads and stores want at once, at most; 1 if nobody wants more. */
  wanted: Lanes;
  written: boolean;
  /** f16x2 whose halves belong to different invocations. */
  atomic: boolean;
  /** Type of an entry that is no number, such as row data. */
  readonly entry?: string;
}

export class Memory {
  private readonly buffers = new Map<string, Buffer>();
  private readonly helpers = new Map<string, string>();
  private readonly needed = new Set<string>();
  private usesDims = false;
  private printing = false;

  constructor(readonly options: KernelOptions) {}

  /** Rows of a value. `vector`: components wanted at once; `width`: columns that are written, where it is written. */
  view(role: string, v: View, vector: Lanes, written?: { readonly width: number }): ViewAccess {
    const aligned = alignmentOf(v.stride, v.column ?? 0);
    const b = this.register(role, v.binding, v.storage, vector, aligned);
    if (written) {
      b.written = true;
      // Two invocations may hold the halves of one word: then only atomics write one half and leave the other.
      if (v.storage === 'f16x2' && (aligned === 1 || written.width % 2 || vector === 1)) b.atomic = true;
    }
    return new ViewAccess(this, b, v);
  }

  /** A vector of `length` elements that begins at element `offset`: weights, biases, gains. */
  vector(role: string, binding: string, storage: Storage, vector: Lanes, length: number, offset = 0): Access {
    // A length that 4 does not divide would lose its tail to vec4: the last entry would be incomplete.
    return new Access(this, this.register(role, binding, storage, vector, alignmentOf(length, offset)));
  }

  /** An array of entries of the given WGSL type, read-only unless `written`; returns the variable's name. */
  entries(role: string, binding: string, type: string, written = false): string {
    const old = this.buffers.get(binding);
    if (old && old.entry !== type) throw new RangeError(`The binding '${binding}' is read as ${type} and as ${old.entry ?? old.storage}; a kernel reads a buffer in one way.`);
    const b = old ?? { name: this.unique(role), binding, storage: 'i32' as const, aligned: 1 as Lanes, wanted: 1 as Lanes, written, atomic: false, entry: type };
    this.buffers.set(binding, b);
    return b.name;
  }

  /** Adds a function (or module-scope variable) once; returns its name. */
  helper(name: string, text: string): string { this.helpers.set(name, text); return name; }

  /** A polynomial in the dims as a WGSL expression. */
  poly(p: Poly): string {
    for (const v of p.variables) {
      if (!this.options.dims.includes(v)) throw new RangeError(`The size ${p} needs the dim '${v}'; the dims of this entry are ${this.options.dims.join(', ') || 'none'}.`);
      this.usesDims = true;
    }
    return polyWgsl(p);
  }

  private unique(role: string): string {
    const taken = new Set([...this.buffers.values()].map((b) => b.name));
    // No local variable ends so: a buffer is never shadowed.
    let name = `${role}_data`;
    for (let i = 2; taken.has(name); i++) name = `${role}${i}_data`;
    return name;
  }

  private register(role: string, binding: string, storage: Storage, vector: Lanes, aligned: Lanes): Buffer {
    if (this.printing) throw new Error(`The access to '${binding}' was declared after printing began.`);
    if (storage === 'f16' && !this.options.features.has('shader-f16')) throw new RangeError(`'${binding}' is stored as f16, which needs the feature shader-f16; store it as f16x2 for this device.`);
    const old = this.buffers.get(binding);
    if (old && (old.storage !== storage || old.entry)) throw new RangeError(`The binding '${binding}' is used as ${old.entry ?? old.storage} and as ${storage}; one allocation has one storage in a kernel.`);
    const b = old ?? { name: this.unique(role), binding, storage, aligned: 4 as Lanes, wanted: 1 as Lanes, written: false, atomic: false };
    this.buffers.set(binding, b);
    b.aligned = Math.min(b.aligned, storage === 'i32' ? 1 : aligned) as Lanes;
    // A narrower use picks components out of a wider entry, so the widest wish decides.
    b.wanted = Math.max(b.wanted, vector) as Lanes;
    return b;
  }

  /** The kernel's text uses a WebGPU feature that no storage asks for. */
  need(feature: keyof typeof enables): void {
    if (!this.options.features.has(feature)) throw new RangeError(`This kernel needs the feature ${feature}, which the device it is made for lacks.`);
    this.needed.add(feature);
  }

  /** Called by the first load or store. */
  begin(): void { this.printing = true; }

  /** `enable`, the dims uniform, bindings and helpers: everything before the entry point. */
  head(): string {
    const lines: string[] = [];
    for (const f of this.features()) lines.push(`enable ${enables[f]};`);
    const fields = this.options.dims.map((d) => `${dimField(d)}: u32`);
    if (this.usesDims) lines.push(`struct Dims { ${fields.join(', ')} }`);
    this.bindings().forEach((b, i) => {
      const at = `@group(0) @binding(${i})`;
      if (b.access === 'uniform') lines.push(`${at} var<uniform> d: Dims;`);
      else lines.push(`${at} var<storage, ${b.access}> ${this.buffers.get(b.name)!.name}: array<${entryType(this.buffers.get(b.name)!)}>;`);
    });
    return [...lines, ...this.helpers.values()].join('\n') + '\n';
  }

  bindings(): Binding[] {
    const list: Binding[] = [...this.buffers.values()].map((b) => ({
      name: b.binding, access: b.written || b.atomic || this.options.readWrite?.has(b.binding) ? 'read_write' : 'read',
    }));
    return this.usesDims ? [...list, { name: 'dims', access: 'uniform' }] : list;
  }

  /** WebGPU features that the text needs, in the order of `enables`. */
  features(): (keyof typeof enables)[] {
    const half = [...this.buffers.values()].some((b) => b.storage === 'f16');
    return (Object.keys(enables) as (keyof typeof enables)[]).filter((f) => this.needed.has(f) || (half && f === 'shader-f16'));
  }
}

/** Elements of one entry of the WGSL array; 2 or 1 of f16x2 share a u32. */
const lanesOf = (b: Buffer): Lanes => (b.atomic ? 1 : (Math.min(b.aligned, b.wanted) as Lanes));
const entryType = (b: Buffer): string => {
  const lanes = lanesOf(b);
  if (b.entry) return b.entry;
  if (b.storage === 'f16x2') return b.atomic ? 'atomic<u32>' : lanes === 4 ? 'vec2<u32>' : 'u32';
  return lanes === 1 ? b.storage : `vec${lanes}<${b.storage}>`;
};

/** Elements of one binding, by element index. */
export class Access {
  constructor(protected readonly memory: Memory, protected readonly buffer: Buffer) {}

  protected get lanes(): Lanes { this.memory.begin(); return lanesOf(this.buffer); }
  private get name(): string { return this.buffer.name; }
  private word(i: string): string { return this.buffer.atomic ? `atomicLoad(&${this.name}[${i}])` : `${this.name}[${i}]`; }

  /** `w` elements from element `e` on, as f32 (i32 for i32); `e` is a multiple of `w` as far as the binding is aligned. */
  load(e: string, w: Lanes): string {
    const L = this.lanes;
    if (L < w) return `${vecType(w)}(${range(w / L).map((i) => this.load(plus(group(e), i * L), L)).join(', ')})`;
    if (this.buffer.storage === 'f16x2') {
      if (L === 4) {
        const words = `${this.name}[${shift(e, 4)}]`;
        if (w === 4) return this.unpackFour(words);
        const two = `unpack2x16float(${words}[(${shift(e, 2)}) & 1u])`;
        return w === 2 ? two : `${two}[${group(e)} & 1u]`;
      }
      const two = `unpack2x16float(${this.word(shift(e, 2))})`;
      return w === 2 ? two : `${two}[${group(e)} & 1u]`;
    }
    const entry = `${this.name}[${shift(e, L)}]`;
    const picked = L === w ? entry : w === 1 ? `${entry}[${group(e)} & ${L - 1}u]` : `select(${entry}.xy, ${entry}.zw, (${group(e)} & 2u) != 0u)`;
    return this.buffer.storage === 'f16' ? `${vecType(w)}(${picked})` : picked;
  }

  private unpackFour(words: string): string {
    return `${this.memory.helper('unpack4', 'fn unpack4(w: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y)); }')}(${words})`;
  }

  /** An element's index in the units that `loadFour` adds to; where these are vectors it must begin one. */
  unit(e: string): string { return this.lanes === 1 ? e : `(${e}) / ${this.lanes}u`; }
  /** Where row `row` of `stride` elements begins, in the units that `loadFour` adds to. */
  rowUnit(row: string, stride: number): string { return times(row, stride / this.lanes); }

  /** Elements 4·k … 4·k+3 after `base`, which came from `rowUnit`. */
  loadFour(base: string, k: string): string {
    const L = this.lanes, { storage } = this.buffer;
    const at = `${base} + ${times(k, 4 / L)}`;
    if (storage === 'f16x2') {
      if (L === 4) return this.unpackFour(`${this.name}[${at}]`);
      if (L === 2) return `vec4<f32>(${range(2).map((i) => `unpack2x16float(${this.word(plus(at, i))})`).join(', ')})`;
      return this.load(at, 4);
    }
    const parts = range(4 / L).map((i) => `${this.name}[${plus(at, i)}]`);
    const four = parts.length === 1 ? parts[0]! : `vec4<${storage}>(${parts.join(', ')})`;
    return storage === 'f16' ? `vec4<f32>(${four})` : four;
  }

  /**
   * Statements that write the first of `w` components of the identifier `value` from element `e` on. `limit` guards a
   * ragged edge: components at or beyond column `width` are left alone.
   */
  store(e: string, value: string, w: Lanes, limit?: { readonly column: string; readonly width: number }): string[] {
    const L = this.lanes, { storage, atomic } = this.buffer;
    const ragged = limit && limit.width % w !== 0 ? limit : undefined;
    const piece = Math.min(w, storage === 'f16x2' ? (atomic ? 1 : Math.max(L, 2)) : L, ragged ? alignmentOf(ragged.width) : 4) as Lanes;
    return range(w / piece).map((i) => {
      const at = plus(group(e), i * piece);
      const x = piece === w ? value : `${value}.${letters.slice(i * piece, (i + 1) * piece)}`;
      const statement = this.storeOne(at, x, piece);
      return ragged && i > 0 ? `if (${plus(ragged.column, i * piece)} < ${ragged.width}u) { ${statement} }` : statement;
    });
  }

  /**
   * `n`, at most the binding's entries, as a loop's bound that the driver's compiler cannot see. Mesa unrolls short loops
   * whole, which takes lavapipe seconds to compile (measured: 3.4 s against 0.1 s for a norm of 192 columns).
   */
  hiddenBound(n: number): string { this.memory.begin(); return `min(${n}u, arrayLength(&${this.name}))`; }

  /** Statement that writes one integer (i32 storage). */
  storeInteger(e: string, value: string): string { this.memory.begin(); return `${this.name}[${e}] = ${value};`; }

  private storeOne(e: string, x: string, w: Lanes): string {
    const L = this.lanes, { storage } = this.buffer;
    const saturated = storage.startsWith('f16') ? `clamp(${x}, ${vecType(w)}(-65504.0), ${vecType(w)}(65504.0))` : x;
    if (storage === 'f16x2') {
      if (w === 1) return `${this.putHalf()}(${e}, ${saturated});`;
      if (w === 4) return `${this.name}[${shift(e, 4)}] = ${this.memory.helper('pack4', 'fn pack4(x: vec4<f32>) -> vec2<u32> { return vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw)); }')}(${saturated});`;
      const place = L === 4 ? `${this.name}[${shift(e, 4)}][(${shift(e, 2)}) & 1u]` : `${this.name}[${shift(e, 2)}]`;
      return `${place} = pack2x16float(${saturated});`;
    }
    const v = storage === 'f16' ? `${w === 1 ? 'f16' : `vec${w}<f16>`}(${saturated})` : saturated;
    const entry = `${this.name}[${shift(e, L)}]`;
    if (L === w) return `${entry} = ${v};`;
    if (w === 1) return `${entry}[${group(e)} & ${L - 1}u] = ${v};`;
    return `${entry}[${group(e)} & 3u] = ${v}.x; ${entry}[(${group(e)} & 3u) + 1u] = ${v}.y;`;
  }

  /** Writes one half of a word; the other half may be written by somebody else at the same time. */
  private putHalf(): string {
    const n = this.name;
    return this.memory.helper(`put_${n}`, `fn put_${n}(e: u32, x: f32) {
  let at = (e & 1u) * 16u;
  atomicAnd(&${n}[e >> 1u], ~(0xffffu << at));
  atomicOr(&${n}[e >> 1u], (pack2x16float(vec2<f32>(x, 0.0)) & 0xffffu) << at);
}`);
  }
}

/** Elements of a value, by row and column. */
export class ViewAccess extends Access {
  constructor(memory: Memory, buffer: Buffer, readonly view: View) { super(memory, buffer); }

  /** The slot of row `row` of the value, in rows of the binding. */
  slot(row: string): string { return slotOf(this.memory, this.view, row); }

  /** Element index of (row, column). */
  element(row: string, column: string): string {
    const start = `${times(this.slot(row), this.view.stride)}${this.view.column ? ` + ${this.view.column}u` : ''}`;
    return column === '0u' ? start : `${start} + ${column}`;
  }

  /** Where a row of the value begins. */
  override rowUnit(row: string): string {
    const L = this.lanes, { stride, column } = this.view;
    return `${times(this.slot(row), stride / L)}${column ? ` + ${column / L}u` : ''}`;
  }
}

/** The slot of row `row` of a value, in rows of its binding. */
export function slotOf(memory: Memory, { offset, regions }: Pick<View, 'offset' | 'regions'>, row: string): string {
  let at = row;
  if (regions?.length) {
    const ends: Poly[] = [];
    const inRegion = regions.map(({ count, start }) => {
      const before = ends.at(-1);
      ends.push(before ? before.add(count) : count);
      return `${memory.poly(start)} + ${row}${before ? ` - (${memory.poly(before)})` : ''}`;
    });
    at = inRegion.at(-1)!;
    for (let i = regions.length - 2; i >= 0; i--) at = `select(${at}, ${inRegion[i]}, ${row} < ${memory.poly(ends[i]!)})`;
  }
  return offset.isZero ? at : `${memory.poly(offset)} + ${at}`;
}
