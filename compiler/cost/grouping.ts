/** Sums of op costs: by part of the model, layer, op or entry point, and by class of count. */
import type { CountClass, Counts } from '../ir/ops/def.ts';
import { countClasses } from '../ir/ops/def.ts';
import { Poly } from '../ir/poly.ts';
import type { Convention, Part } from './conventions.ts';
import { partNames } from './conventions.ts';
import { flopsOf } from './formula.ts';
import type { OpCost } from './op-cost.ts';
import type { Dims } from './resolve.ts';

export const groupings = ['part', 'op', 'layer', 'entry'] as const;
export type Grouping = (typeof groupings)[number];

/** What a set of ops takes: FLOPs, and bytes of weights read, of activations read, and of activations written. */
export interface Amounts<T> {
  readonly flops: T;
  readonly weights: T;
  readonly read: T;
  readonly written: T;
}
export const amountNames = ['flops', 'weights', 'read', 'written'] as const satisfies readonly (keyof Amounts<unknown>)[];

export interface Group {
  /** `decoder layer 3`, `vision q_proj`, `prefill`; unique among the groups. */
  readonly name: string;
  /** The one part of the model that all its ops belong to. */
  readonly part: Part | undefined;
  readonly ops: readonly OpCost[];
  readonly amounts: Amounts<Poly>;
}

const amount = (op: OpCost, name: keyof Amounts<unknown>): Poly => (name === 'flops' ? op.flops : op.traffic[name]);
/** What ops take together, in the dims of the prompt. */
export const sumOf = (ops: Iterable<OpCost>): Amounts<Poly> => {
  const list = [...ops];
  return Object.fromEntries(amountNames.map((name) => [name, Poly.sum(list.map((op) => amount(op, name)))])) as unknown as Amounts<Poly>;
};
/** The same at sizes: exact integers, the nearest ones for a convention of fractions. `dims` are those of `ProgramCost.dims`. */
export const amountsAt = (a: Amounts<Poly>, dims: Dims): Amounts<bigint> =>
  Object.fromEntries(amountNames.map((name) => [name, a[name].nearest(dims)])) as unknown as Amounts<bigint>;
/** Bytes of all kinds. */
export const bytesMoved = (a: Amounts<bigint>): bigint => a.weights + a.read + a.written;

/** Name of the group of an op. Tower and decoder number their layers apart; the part says which is meant. */
export const groupName: Readonly<Record<Grouping, (op: OpCost) => string>> = {
  part: (op) => op.part,
  op: (op) => `${op.part} ${op.name}`,
  layer: (op) => (op.layer ? `${op.part} layer ${op.layer.index}` : op.part),
  // Tiles are seen for the image that they are of.
  entry: (op) => (op.entry === 'tile' ? 'vision' : op.entry),
};

/** Groups of ops: parts, and layers within a part, in the order of the model; others as they first come. */
export function groupOps(ops: Iterable<OpCost>, by: Grouping): Group[] {
  const groups = new Map<string, OpCost[]>();
  for (const op of ops) {
    const name = groupName[by](op), group = groups.get(name);
    if (group) group.push(op); else groups.set(name, [op]);
  }
  const list = [...groups].map(([name, own]): Group => {
    const parts = new Set(own.map((op) => op.part));
    return { name, part: parts.size === 1 ? own[0]!.part : undefined, ops: own, amounts: sumOf(own) };
  });
  const place = ({ part, ops: [first] }: Group): number => partNames.indexOf(part!) * 1e6 + (by === 'layer' ? first!.layer?.index ?? -1 : 0);
  return by === 'entry' ? list : list.sort((a, b) => place(a) - place(b));
}

/** Work of one class, as it is counted and in FLOPs. */
export interface ClassSum { readonly name: CountClass; readonly count: Poly; readonly flops: Poly }

/** Work by class over all ops: multiply-adds of products and of scores, elements of the others. */
export function classSums(ops: Iterable<OpCost>, convention: Convention): ClassSum[] {
  const sums = new Map(countClasses.map((name) => [name, { count: Poly.zero, flops: Poly.zero }]));
  for (const op of ops) for (const [name, count] of Object.entries(op.counts) as [CountClass, Poly][]) {
    const only: Counts = { [name]: count }, sum = sums.get(name)!;
    const flops = convention.without?.test(op.path) ? Poly.zero : flopsOf(only, convention, op.part);
    sums.set(name, { count: sum.count.add(count), flops: sum.flops.add(flops) });
  }
  return [...sums].flatMap(([name, s]) => (s.count.isZero ? [] : [{ name, ...s }]));
}

/** Ops of the parts that make a convention's total. */
export const inTotal = (ops: Iterable<OpCost>, { total }: Convention): OpCost[] => [...ops].filter((op) => total.includes(op.part));
