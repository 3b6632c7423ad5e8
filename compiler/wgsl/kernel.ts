import type { Poly } from '../ir/poly.ts';
import type { Int8Heads } from '../ir/state-format.ts';
import type { QuantisedFormat } from '../ir/weight-format.ts';

/**
 * What a kernel family hands to the planner: WGSL with an explicit list of bindings (group 0, in order), the workgroup's
 * size, and a grid that is symbolic in the dims. Bindings are whole allocations; where a value begins inside one is part
 * of the generated code, as a number of rows that depends on the dims uniform.
 */
export interface Kernel {
  readonly family: string;
  readonly wgsl: string;
  readonly bindings: readonly Binding[];
  readonly workgroup: readonly [number, number, number];
  readonly grid: readonly [GridSize, GridSize, GridSize];
  /** WebGPU features that the text needs: `shader-f16`, `subgroups`, … */
  readonly features: readonly string[];
  /** Work that the kernel really executes, padding of ragged tiles included, as a function of concrete dims. */
  readonly executed?: (dims: Readonly<Record<string, number>>) => { flops: number };
}

export interface Binding {
  readonly name: string;
  readonly access: 'read' | 'read_write' | 'uniform';
}

/** Workgroups along one axis: a number, or ⌈poly / by⌉. */
export type GridSize = number | { readonly ceil: Poly; readonly by: number };

/** Storage of a buffer's elements. `f16x2` is f16 packed in pairs into u32, for devices without `shader-f16`. */
export type Storage = 'f32' | 'f16' | 'f16x2' | 'i32';
export type FloatStorage = Exclude<Storage, 'i32'>;
/** How the rows of a weight matrix lie: as elements, or quantised, which every device reads alike. */
export type WeightStorage = FloatStorage | QuantisedFormat;
/** A weight matrix in a buffer of its own. */
export interface WeightMatrix { readonly binding: string; readonly storage: WeightStorage }

/**
 * Where the rows of a value lie: in the allocation bound as `binding`, beginning at row `offset` (a polynomial in the
 * dims), each `stride` elements long, first element of a row at `column`. For a state with several kinds of row,
 * `regions` maps row r of the value to its slot, kind after kind.
 */
export interface View {
  readonly binding: string;
  readonly storage: Storage;
  readonly stride: number;
  readonly column?: number;
  readonly offset: Poly;
  readonly regions?: readonly Region[];
}
/** Rows of a state: plain, or quantised head by head; `stride` counts their elements either way. */
export type HeldView = Omit<View, 'storage'> & { readonly storage: Storage | Int8Heads };
/** `count` consecutive rows of the value lie at `start` and after. */
export interface Region { readonly count: Poly; readonly start: Poly }

/** Name of a polynomial's variable in the WGSL struct `Dims`. */
export const dimField = (variable: string): string => variable.replace(/[^A-Za-z0-9_]/g, '_');

/** A polynomial as a WGSL u32 expression over `d: Dims`. Coefficients must be integers. */
export function polyWgsl(p: Poly): string {
  const terms = p.list();
  if (!terms.length) return '0u';
  return terms.map(({ num, den, powers }, i) => {
    if (den !== 1n) throw new RangeError(`${p} has fractional coefficients and is no count of rows.`);
    const abs = num < 0n ? -num : num;
    const vars = Object.entries(powers).flatMap(([v, e]) => Array.from({ length: e }, () => `d.${dimField(v)}`));
    const factors = abs === 1n && vars.length ? vars : [`${abs}u`, ...vars];
    return (num < 0n ? (i ? ' - ' : '0u - ') : i ? ' + ' : '') + factors.join(' * ');
  }).join('');
}
