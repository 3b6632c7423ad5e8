/**
 * The memory plan of one entry point: which values share which bytes of one arena.
 *
 * A value is stored densely, kind after kind. `rows` and `as_rows` are views; the parts of a `merge` are written straight
 * into the merged value; a result may take over the bytes of an operand that dies with it and that the kernel reads
 * element by element (a residual). What remains are allocations with a lifetime, placed greedily, largest first, at the
 * lowest offset that no allocation alive at the same time holds.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { isLeaf } from '../ir/graph.ts';
import { Poly } from '../ir/poly.ts';
import { opDef } from '../ir/ops/index.ts';
import type { RowSet } from '../ir/rows.ts';
import { rowCount, rowSet } from '../ir/rows.ts';
import { bytes, printType, sameType } from '../ir/types.ts';

/** Bytes of the arena that hold a value (or several, one after the other in time) for a while. */
export interface Allocation {
  readonly id: number;
  readonly bytes: number;
  offset: number;
  /** Indices of the first node that writes it and of the last that reads it. */
  first: number;
  last: number;
  readonly values: Node[];
}

/** Where a value's rows begin: in an allocation or a leaf's own buffer, at a row offset that may depend on the dims. */
export interface Place {
  readonly in: Allocation | Node;
  readonly offset: Poly;
  /** The rows that lie there densely; rows of a state lie in its fixed regions instead. */
  readonly rows: RowSet | undefined;
}

export interface MemoryPlan {
  readonly places: ReadonlyMap<Node, Place>;
  readonly allocations: readonly Allocation[];
  /** Parts of merges that could not be written in place. */
  readonly copies: ReadonlyMap<Node, readonly Node[]>;
  readonly bytes: number;
}

export type Sizes = Readonly<Record<string, number>>;
const alignment = 256;

/** Values without storage of their own: read as row data or as a vector by the kernels that use them. */
export const isVirtual = (n: Node): boolean => n.op === 'row_number';
const isView = (n: Node): boolean => n.op === 'rows' || n.op === 'as_rows' || n.op === 'result';

/** Rows before `part` in a value that holds `whole`, counted in the value's own dense order. */
export function rowsBefore(whole: RowSet, part: RowSet): Poly {
  const before = whole.kinds.slice(0, whole.kinds.indexOf(part.kinds[0]!));
  const start = rowCount(rowSet(whole.sequence, before, { context: whole.context }));
  return part.last && !whole.last ? start.add(rowCount({ ...part, last: false, context: whole.context })).sub(1) : start;
}

/** `pictures`: how many pictures a tower sees in one step; its rows are those of one. */
export function planMemory(g: Graph, sizes: Sizes, entryDims: Readonly<Record<string, number>> = {}, pictures = 1): MemoryPlan {
  const users = new Map<Node, Node[]>();
  for (const n of g.nodes) for (const i of n.inputs) users.set(i, [...(users.get(i) ?? []), n]);
  const order = new Map(g.nodes.map((n, i) => [n, i]));
  const end = g.nodes.length;
  /** The step at which a value is written: all results of a fused node at the node's own. */
  const writtenAt = (n: Node): number => order.get(n.op === 'result' ? n.inputs[0]! : n)!;
  const outputs = new Set(g.outputs.values());

  // Which merge, if any, a value is written into. The first merge that asks wins; the others copy.
  const host = new Map<Node, Node>();
  const copies = new Map<Node, Node[]>();
  const producer = (n: Node): Node => (n.op === 'as_rows' ? producer(n.inputs[0]!) : n);
  for (const m of g.nodes) {
    if (m.op !== 'merge') continue;
    for (const part of m.inputs) {
      const p = producer(part);
      const own = !isLeaf(p) && !isVirtual(p) && p.op !== 'rows' && p.op !== 'store' && !host.has(p) && !(p.op === 'merge' && copies.has(p));
      if (own) host.set(p, m); else copies.set(m, [...(copies.get(m) ?? []), part]);
    }
  }
  const lastRead = (n: Node): number => {
    let last = outputs.has(n) ? end : order.get(n) ?? -1;
    for (const u of users.get(n) ?? []) {
      const through = isView(u) || (u.op === 'merge' && host.get(producer(n)) === u);
      last = Math.max(last, through ? lastRead(u) : order.get(u)!);
    }
    const h = host.get(n);
    return h ? Math.max(last, lastRead(h)) : last;
  };

  const allocations: Allocation[] = [];
  const places = new Map<Node, Place>();
  const inTower = ({ type: { rows } }: Node): boolean => !!rows && rows.sequence.kinds.every((k) => k.media);
  const sizeOf = (n: Node): number => Math.max(4, Math.ceil((bytes(n.type).substitute(entryDims).at(sizes) * (inTower(n) ? pictures : 1)) / 4) * 4);
  const allocate = (n: Node): Allocation => {
    const a: Allocation = { id: allocations.length, bytes: sizeOf(n), offset: 0, first: writtenAt(n), last: writtenAt(n), values: [n] };
    allocations.push(a);
    return a;
  };

  /** Where a value that a kernel computes goes, decided when it (or the merge that hosts it) is first met. */
  const home = (n: Node): Place => {
    const old = places.get(n);
    if (old) return old;
    const h = host.get(n);
    let place: Place;
    if (h) {
      const outer = home(h);
      const part = h.inputs.find((i) => producer(i) === n)!;
      place = { in: outer.in, offset: outer.offset.add(rowsBefore(h.type.rows!, part.type.rows!)), rows: n.type.rows };
    } else {
      const heir = inherit(n);
      place = heir ?? { in: allocate(n), offset: Poly.zero, rows: n.type.rows };
    }
    places.set(n, place);
    if ('bytes' in place.in) {
      place.in.first = Math.min(place.in.first, writtenAt(n));
      place.in.last = Math.max(place.in.last, lastRead(n));
      if (!place.in.values.includes(n)) place.in.values.push(n);
    }
    return place;
  };

  /** The bytes of a residual that dies with this node; a kernel may overwrite what it alone reads, element by element. */
  const inherit = (n: Node): Place | undefined => {
    const group = n.op === 'result' ? n.inputs[0]! : n;
    if (group.op !== 'fused') return undefined;
    const body = group.body!;
    const root = body.results[n.op === 'result' ? (n.attrs['index'] as number) : 0]!;
    if (opDef(root.op).elementwise !== true) return undefined;
    for (const p of root.inputs) {
      const k = body.params.indexOf(p);
      if (k < 0 || body.nodes.some((m) => m !== root && m.inputs.includes(p))) continue;
      const x = group.inputs[k]!;
      const at = places.get(x);
      if (!at || !('bytes' in at.in) || !at.offset.isZero || !sameType(x.type, n.type) || isView(x) && x.op === 'rows') continue;
      if (group.inputs.some((o, j) => j !== k && places.get(o)?.in === at.in)) continue;
      if (at.in.bytes !== sizeOf(n) || at.in.last > order.get(group)!) continue;
      return at;
    }
    return undefined;
  };

  for (const n of g.nodes) {
    const [x] = n.inputs;
    if (isVirtual(n)) continue;
    if (n.op === 'store') places.set(n, { in: n.inputs[0]!, offset: Poly.zero, rows: n.type.rows });
    else if (n.op === 'fused' && n.body!.results.length > 1) continue;
    else if (n.op === 'fused' && n.body!.results[0]!.op === 'store') places.set(n, storePlace(n, 0));
    else if (n.op === 'result' && x!.body!.results[n.attrs['index'] as number]!.op === 'store') places.set(n, storePlace(x!, n.attrs['index'] as number));
    else if (n.op === 'rows' || n.op === 'as_rows') {
      const at = isLeaf(x!) ? leafPlace(x!) : places.get(x!) ?? home(x!);
      if (n.op === 'as_rows') places.set(n, { ...at, rows: n.type.rows });
      else if (x!.type.rows!.context) places.set(n, { in: at.in, offset: Poly.zero, rows: n.type.rows });
      else places.set(n, { in: at.in, offset: at.offset.add(rowsBefore(x!.type.rows!, n.type.rows!)), rows: n.type.rows });
    } else home(n);
  }
  for (const leaf of [...g.inputs.values(), ...g.weights.values(), ...g.states.values()]) places.set(leaf, leafPlace(leaf));
  return { places, allocations, copies, bytes: pack(allocations) };
}

const leafPlace = (n: Node): Place => ({ in: n, offset: Poly.zero, rows: n.type.rows });
function storePlace(group: Node, index: number): Place {
  const root = group.body!.results[index]!;
  const state = group.inputs[group.body!.params.indexOf(root.inputs[0]!)]!;
  return { in: state, offset: Poly.zero, rows: root.type.rows };
}

/** Gives every allocation an offset; returns the bytes that the arena needs. */
function pack(allocations: readonly Allocation[]): number {
  const placed: Allocation[] = [];
  let peak = 0;
  for (const a of [...allocations].sort((x, y) => y.bytes - x.bytes || x.first - y.first)) {
    const alive = placed.filter((p) => p.first <= a.last && a.first <= p.last).sort((x, y) => x.offset - y.offset);
    let offset = 0;
    for (const p of alive) {
      if (offset + a.bytes <= p.offset) break;
      offset = Math.max(offset, Math.ceil((p.offset + p.bytes) / alignment) * alignment);
    }
    a.offset = offset;
    placed.push(a);
    peak = Math.max(peak, offset + a.bytes);
  }
  return Math.ceil(peak / alignment) * alignment;
}

/** The plan as a table: bytes, lifetime and the values that lie there, then the peak. */
export function printMemoryPlan(g: Graph, plan: MemoryPlan): string {
  const index = new Map(g.nodes.map((n, i) => [n, i]));
  const rows = [...plan.allocations].sort((a, b) => a.offset - b.offset || a.first - b.first)
    .map((a) => `${a.offset}..${a.offset + a.bytes}  steps ${a.first}-${a.last}  ${a.values.map((n) => `%${index.get(n)} ${printType(n.type)}`).join(', ')}`);
  const sum = plan.allocations.reduce((s, a) => s + a.bytes, 0);
  return [...rows, `peak ${plan.bytes} bytes for ${sum} bytes of values`].join('\n');
}

