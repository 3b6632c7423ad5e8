/**
 * Key groups: keys and values that later steps read, and so go into a pair of states.
 *
 * Attentions that read the same keys and values share a group (the masks of a layer may cut one attention into several).
 * A group holds, for each kind of row, the value that computes the keys and the one that computes the values.
 */
import type { GraphHead, Node } from '../../compiler/ir/graph.ts';
import { maskOf, pairClass } from '../../compiler/ir/ops/attention.ts';
import type { RowSet, Sequence } from '../../compiler/ir/rows.ts';
import { originOf } from '../atoms.ts';

export interface Atom { readonly k: Node; readonly v: Node }

export class KeyGroup {
  readonly atoms = new Map<string, Atom>();
  /** Kinds that must stay out: some query here could read them, but this attention does not offer them. */
  readonly barred = new Set<string>();
  readonly sequence: Sequence;
  constructor(readonly attention: Node) { this.sequence = attention.inputs[1]!.type.rows!.sequence; }

  /** Kinds held, in the order of the sequence. */
  get kinds(): string[] { return this.sequence.kinds.map((k) => k.name).filter((k) => this.atoms.has(k)); }

  /** Takes in what another attention reads, if that is the same or of other kinds; false if it cannot. */
  add(atoms: ReadonlyMap<string, Atom>, barred: readonly string[]): boolean {
    const shared = [...atoms].filter(([kind]) => this.atoms.has(kind));
    const same = shared.every(([kind, a]) => this.atoms.get(kind)!.k === a.k && this.atoms.get(kind)!.v === a.v);
    if (this.atoms.size && !(shared.length && same)) return false;
    if (barred.some((k) => this.atoms.has(k)) || [...atoms.keys()].some((k) => this.barred.has(k))) return false;
    for (const [kind, a] of atoms) this.atoms.set(kind, a);
    for (const k of barred) this.barred.add(k);
    return true;
  }
}

/** Kinds of key that some of the queries may read, of those that the attention offers. */
export function kindsRead(n: Node, queries: RowSet, head: GraphHead): string[] {
  const m = maskOf(n.attrs, head);
  return n.inputs[1]!.type.rows!.kinds.filter((k) => queries.kinds.some((q) => pairClass(m, q, k) !== 'empty'));
}

export class KeyGroups {
  private readonly groups: KeyGroup[] = [];
  private readonly byAttention = new Map<Node, KeyGroup>();
  constructor(private readonly head: GraphHead) {}

  /** The values that the queries of an attention read, by kind of key. */
  atomsOf(n: Node, queries: RowSet): Map<string, Atom> {
    return new Map(kindsRead(n, queries, this.head).map((kind) => [kind, { k: originOf(n.inputs[1]!, kind), v: originOf(n.inputs[2]!, kind) }]));
  }

  /** The group that serves an attention, which is made or widened. */
  add(n: Node, queries: RowSet): KeyGroup {
    const atoms = this.atomsOf(n, queries), m = maskOf(n.attrs, this.head), offered = n.inputs[1]!.type.rows!;
    const barred = offered.sequence.kinds.map((k) => k.name)
      .filter((k) => !offered.kinds.includes(k) && queries.kinds.some((q) => pairClass(m, q, k) !== 'empty'));
    let group = this.groups.find((g) => g.sequence.name === offered.sequence.name && g.add(atoms, barred));
    if (!group) {
      group = new KeyGroup(n);
      group.add(atoms, barred);
      this.groups.push(group);
    }
    this.byAttention.set(n, group);
    return group;
  }

  of(n: Node): KeyGroup | undefined { return this.byAttention.get(n); }
  /** In the order of the layers: attentions are met backwards. */
  get all(): KeyGroup[] { return [...this.groups].reverse(); }
}
