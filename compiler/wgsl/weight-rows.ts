/**
 * The products that the matmul and matvec families compute, and how the rows of their weight fall to invocations.
 *
 * Weight rows are counted group after group. An invocation takes `chunk` neighbouring rows, and every group begins at a
 * multiple of `chunk`, so that the linears of one output and the two columns of a rotary pair are never parted. Where a
 * group's rows are no multiple, the few places up to the next group compute nothing that is stored: positions with these
 * gaps are `places` here, the rows in memory have none.
 */
import type { Arithmetic, MatmulShape } from '../schedule/product-shape.ts';
import type { Poly } from '../ir/poly.ts';
import type { Finish, OutputGroup } from './epilogue.ts';
import { declareFinish } from './epilogue.ts';
import type { View, WeightMatrix } from './kernel.ts';
import type { Lanes, Memory } from './printer.ts';
import { range, vecType } from './printer.ts';
import type { Norm } from './statistics.ts';

/**
 * A = square patches of pictures [tile, channels, height, width], read where they lie. `a.binding` holds the pictures
 * from element `a.column` on; K = channels · size².
 */
export interface Patches {
  readonly kind: 'patches';
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly size: number;
}

export interface MatmulGroup extends OutputGroup {
  /** Linears that are interleaved: weight row `first + column · linears + i` is linear i at this column (gate and up: 2). */
  readonly linears: number;
}

/** out = epilogue(prologue(A) · Wᵀ): A [rows, K], W [Σ linears · width, K] row-major, quantised or not. */
export interface MatmulSpec {
  readonly rows: Poly;
  readonly K: number;
  readonly a: View;
  readonly prologue?: Norm | Patches;
  readonly weight: WeightMatrix;
  readonly groups: readonly MatmulGroup[];
  /** The coarsest operands that this product may be computed with; f32 for f32 weights, else f16, where it does not say. */
  readonly arithmetic?: Arithmetic;
  /** Memory for sums of shares of K, f32, of at least `matmulScratch` elements from its row 0 on. */
  readonly scratch?: View;
}

/** What a schedule is chosen by. f16 arithmetic is no coarser than the rounding that f16 and quantised weights went through. */
export function shapeOf(spec: MatmulSpec): MatmulShape {
  const rows = spec.rows.constant(), { a, weight, prologue, groups } = spec;
  if (a.storage === 'i32') throw new RangeError('A matmul multiplies floats, not i32.');
  return {
    ...(rows === undefined ? {} : { rows }), K: spec.K, weightRows: groups.reduce((s, g) => s + g.linears * g.width, 0), a: a.storage, weight: weight.storage,
    linears: groups.map((g) => g.linears), pairs: groups.some((g) => g.rope), normed: !!prologue && prologue.kind !== 'patches', patches: prologue?.kind === 'patches',
    arithmetic: spec.arithmetic ?? (weight.storage === 'f32' ? 'f32' : 'f16'),
  };
}

/** Checks what no type can say. */
export function checkSpec(spec: MatmulSpec): void {
  if (!spec.groups.length) throw new RangeError('A matmul needs at least one group of outputs.');
  for (const g of spec.groups) if (!(g.width > 0 && g.linears > 0)) throw new RangeError(`A group of ${g.width} columns with ${g.linears} linears has no output.`);
  const p = spec.prologue;
  if (p?.kind === 'patches' && spec.K !== p.channels * p.size * p.size) throw new RangeError(`Patches of ${p.channels}·${p.size}² pixels are ${p.channels * p.size * p.size} wide, not K = ${spec.K}.`);
}

/** At which place each group begins, and the places of all of them, gaps included. */
export function startsOf(groups: readonly MatmulGroup[], chunk: number): { readonly starts: readonly number[]; readonly places: number } {
  const starts: number[] = [];
  let places = 0;
  for (const g of groups) {
    places = Math.ceil(places / chunk) * chunk;
    starts.push(places);
    places += g.linears * g.width;
  }
  return { starts, places };
}

export class WeightRows {
  readonly starts: readonly number[];
  /** Places of all groups, gaps included. */
  readonly places: number;
  readonly finishes: readonly Finish[];

  constructor(private readonly spec: MatmulSpec, readonly chunk: number, memory: Memory, lanes: (group: MatmulGroup) => Lanes) {
    ({ starts: this.starts, places: this.places } = startsOf(spec.groups, chunk));
    this.finishes = spec.groups.map((g, i) => declareFinish(memory, g, i, g.linears, lanes(g), spec.rows));
  }

  /** Rows in memory. */
  get count(): number { return this.spec.groups.reduce((s, g) => s + g.linears * g.width, 0); }

  /** WGSL: the weight row at a place, clamped to those that exist. */
  row(place: string): string {
    let gap = 0, text = place;
    this.starts.forEach((s, i) => {
      const before = this.spec.groups.slice(0, i).reduce((n, g) => n + g.linears * g.width, 0);
      if (s - before > gap) { text = `select(${text}, ${place} - ${s - before}u, ${place} >= ${s}u)`; gap = s - before; }
    });
    return `min(${text}, ${this.count - 1}u)`;
  }

  /**
   * Statements that hand the sums of `size` neighbouring weight rows to their group, for `rows.count` rows. `place` is the
   * identifier of the first weight row's place, `rows.at(r)` the row of a WGSL expression r (the first `rows.inside` of them
   * exist), `sum(r, i)` the text of the sum of row r with the i-th weight row. A loop, not a list of calls: drivers inline every call, and an epilogue that stands
   * there eight times takes seconds to compile.
   */
  finish(place: string, rows: { readonly count: number; readonly inside?: string; at(r: string): string }, sum: (row: number, i: number) => string, size = this.chunk): string {
    const branches = this.spec.groups.map((g, i) => {
      const { name, lanes } = this.finishes[i]!, pieces = size / g.linears / lanes, calls = rows.count * pieces, start = this.starts[i]!;
      const column = `${start ? `(${place} - ${start}u)` : place}${g.linears > 1 ? ` / ${g.linears}u` : ''}`;
      const acc = (call: number, l: number): string => {
        const parts = range(lanes).map((e) => sum(Math.floor(call / pieces), ((call % pieces) * lanes + e) * g.linears + l));
        return lanes === 1 ? parts[0]! : `${vecType(lanes)}(${parts.join(', ')})`;
      };
      const linears = range(g.linears);
      if (calls === 1) return `{ ${name}(${rows.at('0u')}, ${column}, ${linears.map((l) => acc(0, l)).join(', ')}); }`;
      const cases = range(calls).map((call) => `${call + 1 < calls ? `case ${call}u:` : 'default:'} { ${linears.map((l) => `acc${l} = ${acc(call, l)};`).join(' ')} }`);
      return `{
    for (var i = 0u; i < ${rows.inside ? `${pieces}u * ${rows.inside}` : `${calls}u`}; i++) {
      ${linears.map((l) => `var acc${l} = ${vecType(lanes)}(0.0);`).join(' ')}
      switch i {
        ${cases.join('\n        ')}
      }
      ${name}(${rows.at(pieces > 1 ? `i / ${pieces}u` : 'i')}, ${column}${pieces > 1 ? ` + i % ${pieces}u * ${lanes}u` : ''}, ${linears.map((l) => `acc${l}`).join(', ')});
    }
  }`;
    });
    return branches.map((b, i) => (i + 1 < branches.length ? `if (${place} < ${this.starts[i + 1]}u) ` : '') + b).join(' else ');
  }

  text(): string { return this.finishes.map((f) => f.text()).join('\n'); }
}
