/** The graphs of the entry points, built from the plan: each value over the rows that its entry computes. */
import { GraphBuilder, sweep } from '../../compiler/ir/builder.ts';
import { UserError } from '../../compiler/ir/errors.ts';
import type { Graph, Node, Time } from '../../compiler/ir/graph.ts';
import { leafName } from '../../compiler/ir/graph.ts';
import type { RowSet } from '../../compiler/ir/rows.ts';
import { printRows, restrictRows, rowSet, rowsWithin } from '../../compiler/ir/rows.ts';
import { tensorType } from '../../compiler/ir/types.ts';
import { originOf } from '../atoms.ts';
import { narrowNode, rowsRead } from '../row-demand.ts';
import type { KeyGroup } from './key-groups.ts';
import type { StateNames } from './names.ts';
import type { StagePlan } from './plan.ts';

/** What differs between the entry points. */
export interface Entry {
  readonly name: string;
  /** Rows of a value that this entry computes. */
  rows(n: Node): RowSet | undefined;
  /** True if this entry computes rows `kind` of a value; otherwise it reads them from a state. */
  computes(n: Node, kind: string): boolean;
  /** The rows of a set that this entry works on: all, or just the last one. */
  within(rows: RowSet): RowSet | undefined;
  readonly outputs: ReadonlyMap<string, Node>;
  /** When this entry gets an input that the definition gets at the given time. */
  time(given: Time): Time;
}

export function buildEntry(plan: StagePlan, names: StateNames, entry: Entry): Graph {
  return new EntryBuilder(plan, names, entry).build();
}

class EntryBuilder {
  private readonly b: GraphBuilder;
  private readonly done = new Map<Node, Node>();
  /** States after this entry's stores, by name. */
  private readonly states = new Map<string, Node>();
  constructor(private readonly plan: StagePlan, private readonly names: StateNames, private readonly entry: Entry) {
    this.b = GraphBuilder.like({ ...plan.g, name: entry.name });
  }

  build(): Graph {
    const { g } = this.plan, { b, entry, done } = this;
    for (const n of g.inputs.values()) {
      const rows = n.type.rows && entry.within(n.type.rows);
      if (rows || !n.type.rows) done.set(n, b.input(leafName(n), tensorType(n.type.dtype, rows, n.type.dims), entry.time(n.attrs['time'] as Time)));
    }
    for (const n of g.weights.values()) b.leaf(b.weights, n);
    for (const n of g.nodes) {
      const out = entry.rows(n);
      if (out) done.set(n, this.compute(n, out));
    }
    for (const [name, n] of entry.outputs) {
      const rows = entry.within(n.type.rows!);
      if (rows) b.output(name, this.value(n, rows, n));
    }
    for (const group of this.plan.groups.all) for (const part of ['k', 'v'] as const) this.keyState(group, part);
    for (const [origin, kinds] of this.plan.memories) this.storeMemory(origin, kinds);
    for (const [name, n] of this.states) if (n.op === 'store') b.output(name, n);
    return sweep(b.finish());
  }

  private compute(n: Node, out: RowSet): Node {
    const group = this.plan.groups.of(n);
    if (group && this.entry.name !== 'vision')
      return this.b.op('attention', [this.value(n.inputs[0]!, out, n), this.keyState(group, 'k'), this.keyState(group, 'v')], n.attrs, n);
    const inputs = n.inputs.map((x, i) => {
      const read = rowsRead(n, out, i, this.plan.g);
      return read ? this.value(x, read, n) : x;
    });
    return narrowNode(this.b, n, inputs, out);
  }

  /** The given rows of a value: computed in this entry, or read from where an earlier step has put them. */
  private value(x: Node, rows: RowSet, reader: Node): Node {
    const { b, entry } = this;
    const own = restrictRows(rows, rows.kinds.filter((k) => entry.computes(x, k)));
    const parts = rows.kinds.filter((k) => !own?.kinds.includes(k)).map((k) => this.known(x, k, restrictRows(rows, [k])!, reader));
    if (own) {
      const made = this.done.get(x);
      if (!made || !rowsWithin(own, made.type.rows!)) throw this.outOfReach(x, own, reader);
      parts.push(b.select(made, own));
    }
    b.path = x.path; b.where = x.where;
    return b.merge(parts);
  }

  private known(x: Node, kind: string, rows: RowSet, reader: Node): Node {
    const { b, plan, entry } = this, origin = originOf(x, kind);
    const made = this.done.get(origin);
    if (made && (plan.isFree(origin, kind) || entry.computes(origin, kind))) return b.select(made, rows);
    const held = plan.heldAsKeys(origin, kind);
    const state = held ? this.keyLeaf(held.group, held.part) : plan.memories.has(origin) ? this.memoryLeaf(origin) : undefined;
    if (!state || !entry.within(rows)) throw this.outOfReach(x, rows, reader);
    return b.op('rows', [state], { rows: printRows(rows) }, { path: origin.path, where: origin.where });
  }

  private outOfReach(x: Node, rows: RowSet, reader: Node): UserError {
    return new UserError(`${reader.op}${reader.path ? ` (in ${reader.path})` : ''} needs the rows '${printRows(rows)}' of ${x.op}${x.path ? ` (in ${x.path})` : ''} in every step, but they are computed once and only attention keeps rows for later steps. Read them through an attention.`, reader.where);
  }

  private keyLeaf(group: KeyGroup, part: 'k' | 'v'): Node {
    const { type } = [...group.atoms.values()][0]![part];
    return this.b.state(this.names.key(group, part), tensorType(type.dtype, rowSet(group.sequence, group.kinds, { context: true }), type.dims));
  }
  private memoryLeaf(origin: Node): Node {
    const { type } = origin;
    return this.b.state(this.names.memory(origin), tensorType(type.dtype, rowSet(type.rows!.sequence, this.plan.memories.get(origin)!, { context: true }), type.dims));
  }

  /** The keys (or values) of a group, after this entry has added its own rows. */
  private keyState(group: KeyGroup, part: 'k' | 'v'): Node {
    const name = this.names.key(group, part), old = this.states.get(name);
    if (old) return old;
    const parts = group.kinds.flatMap((kind) => {
      const x = group.atoms.get(kind)![part];
      const rows = this.entry.computes(x, kind) ? this.entry.within(restrictRows(x.type.rows!, [kind])!) : undefined;
      return rows ? [this.value(x, rows, group.attention)] : [];
    });
    return this.store(name, this.keyLeaf(group, part), parts, group.attention);
  }

  private storeMemory(origin: Node, kinds: ReadonlySet<string>): void {
    const rows = restrictRows(origin.type.rows!, [...kinds].filter((k) => this.entry.computes(origin, k)));
    if (rows) this.store(this.names.memory(origin), this.memoryLeaf(origin), [this.value(origin, rows, origin)], origin);
  }

  private store(name: string, state: Node, parts: readonly Node[], at: Node): Node {
    const { b } = this;
    b.path = at.path; b.where = at.where;
    const made = parts.length ? b.op('store', [state, b.merge(parts)], { state: name }) : state;
    this.states.set(name, made);
    return made;
  }
}
