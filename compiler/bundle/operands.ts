/** From values of the graph to what kernels bind: views with role names, and the buffer ranges behind the roles. */
import type { Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { hasText } from '../ir/layout.ts';
import { Poly } from '../ir/poly.ts';
import type { RowSet } from '../ir/rows.ts';
import { rowCount, rowSet, sequenceKind } from '../ir/rows.ts';
import { rowElements } from '../ir/types.ts';
import type { MemoryPlan, Place } from '../schedule/memory.ts';
import { rowsBefore } from '../schedule/memory.ts';
import type { StateFormat } from '../ir/state-format.ts';
import { stateFormatOf } from '../ir/state-format.ts';
import type { HeldView, Region, Storage, View } from '../wgsl/kernel.ts';

/** A range of a buffer of the bundle. */
export interface Range { readonly buffer: string; readonly offset: number; readonly bytes: number; readonly writable: boolean }

/** Most rows of each kind that a session holds. */
export type Capacities = Readonly<Record<string, number>>;
/** What is known of the dims of an entry point: decode has one new text row and no new media rows. */
export type EntryDims = Readonly<Record<string, number>>;

export const capacityOf = (sequence: RowSet['sequence'], kind: string, capacities: Capacities): number => {
  const k = sequenceKind(sequence, kind);
  return k.count.constant() ?? capacities[kind] ?? 0;
};

/** Slots in front of a kind's region, in every state of the sequence alike. */
export const regionStart = (rows: RowSet, kind: string, capacities: Capacities): number => {
  let start = 0;
  for (const k of rows.sequence.kinds) { if (k.name === kind) break; start += capacityOf(rows.sequence, k.name, capacities); }
  return start;
};
/** Dim that counts the tiles of an image that a tower has seen so far. */
export const tilesDim = 'tiles';
/** Slots that a state must have: up to the end of the last region that it holds; of a tower, so many for each of `tiles` pictures. */
export const stateSlots = (rows: RowSet, capacities: Capacities, tiles: number): number => {
  if (!hasText(rows.sequence)) return rowCount(rows).constant()! * tiles;
  const last = rows.kinds.at(-1)!;
  return regionStart(rows, last, capacities) + capacityOf(rows.sequence, last, capacities);
};

/**
 * The operands of one dispatch. Kernels name their bindings by role (`b0`, `b1`, …, in the order of first use), so that
 * the same layer thirty-two times is one kernel.
 */
export class Operands {
  readonly ranges = new Map<string, Range>();
  private readonly roles = new Map<string, string>();

  constructor(
    private readonly plan: MemoryPlan,
    private readonly capacities: Capacities,
    private readonly entryDims: EntryDims,
    private readonly rangeOf: (n: Node) => Range,
    private readonly heldAs: (format: StateFormat) => HeldView['storage'],
  ) {}

  /** Roles that a kernel must bind read_write, whatever it does with them. */
  get writable(): ReadonlySet<string> { return new Set([...this.ranges].filter(([, r]) => r.writable).map(([role]) => role)); }

  role(range: Range): string {
    const key = `${range.buffer}@${range.offset}`;
    let role = this.roles.get(key);
    if (role === undefined) {
      role = `b${this.roles.size}`;
      this.roles.set(key, role);
      this.ranges.set(role, range);
    }
    return role;
  }

  place(n: Node): Place {
    const p = this.plan.places.get(n);
    if (!p) throw new Error(`The memory plan has no place for '${n.op}' in ${n.path || 'the graph'}.`);
    return p;
  }

  /** The rows of a value of plain numbers, where they lie. */
  view(n: Node, width = rowElements(n.type)): View { return plainView(this.heldView(n, width)); }

  /** The rows of a value, where they lie, be they quantised or not. */
  heldView(n: Node, width = rowElements(n.type)): HeldView {
    const place = this.place(n), rows = n.type.rows;
    const base = { binding: this.roleOf(place), storage: this.storageIn(place, n), stride: width };
    if (!('bytes' in place.in) && place.in.op === 'state' && rows && !rows.context) return { ...base, offset: Poly.zero, regions: this.newRows(rows) };
    return { ...base, offset: this.known(place.offset) };
  }

  /** Where new rows of the given kinds go in a state: behind what each kind's region already holds. */
  stateView(state: Node, rows: RowSet): HeldView {
    return { binding: this.roleOf(this.place(state)), storage: this.storageIn(this.place(state), state), stride: rowElements(state.type), offset: Poly.zero, regions: this.newRows(rows) };
  }

  known(p: Poly): Poly { return p.substitute(this.entryDims); }
  count(rows: RowSet): Poly { return this.known(rowCount(rows)); }

  private newRows(rows: RowSet): Region[] {
    // Rows of a tower are those of one picture, and lie picture after picture.
    if (!hasText(rows.sequence)) return [{ count: rowCount(rows), start: rowCount(rows).mul(Poly.dim(tilesDim).sub(1)) }];
    return rows.kinds.map((kind) => {
      const one = rowSet(rows.sequence, [kind]), context = { ...one, context: true };
      return { count: this.known(rowCount(one)), start: this.known(rowCount(context).sub(rowCount(one)).add(regionStart(rows, kind, this.capacities))) };
    });
  }

  private storageIn(place: Place, n: Node): HeldView['storage'] {
    return 'bytes' in place.in || place.in.op !== 'state' || n.type.dtype !== 'f32' ? storageOf(n) : this.heldAs(stateFormatOf(place.in));
  }
  private roleOf(place: Place): string {
    if ('bytes' in place.in) return this.role({ buffer: 'arena', offset: place.in.offset, bytes: place.in.bytes, writable: true });
    return this.role(this.rangeOf(place.in));
  }
}

/** Rows of plain numbers, which every kernel reads and writes. */
export function plainView(v: HeldView): View {
  const { storage } = v;
  if (typeof storage !== 'string') throw new Error('A quantised state is read by attentions alone, and written by a kernel of its own.');
  return { ...v, storage };
}

const storageOf = (n: Node): Storage => (n.type.dtype === 'i32' || n.type.dtype === 'u32' ? 'i32' : n.type.dtype === 'f16' ? 'f16' : 'f32');

/** Row of the sequence's row data at which the rows of a value begin. */
export function rowDataOffset(rows: RowSet): Poly {
  const all = rowSet(rows.sequence, rows.sequence.kinds.map((k) => k.name));
  return rowsBefore(all, rows);
}

export const inputBuffer = (n: Node): string => `input:${leafName(n)}`;
