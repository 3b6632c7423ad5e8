/**
 * What is computed when: for every value the rows that `vision` computes once an image, and those that `prefill` computes
 * once a prompt; and which rows one step must leave in a state for a later one.
 *
 * Demand runs backwards from the outputs, as in the pass of that name, but stops where a row is known earlier: there
 * lies the frontier, and the row becomes a memory. An attention of prompt time reads its keys and values from states, so
 * that a later prompt or token finds them; only rows that stay within their own image read them directly.
 */
import type { Graph, Node } from '../../compiler/ir/graph.ts';
import { maskOf } from '../../compiler/ir/ops/attention.ts';
import { opDef } from '../../compiler/ir/ops/index.ts';
import type { RowSet } from '../../compiler/ir/rows.ts';
import { restrictRows, sequenceKind } from '../../compiler/ir/rows.ts';
import { originOf } from '../atoms.ts';
import { localToImage } from '../masks.ts';
import { Demand, rowsRead } from '../row-demand.ts';
import { BindingTimes, byImage } from '../times.ts';
import { KeyGroups } from './key-groups.ts';

export class StagePlan {
  readonly vision = new Demand();
  readonly prefill = new Demand();
  readonly groups: KeyGroups;
  /** Rows known with the image that prefill reads, other than keys and values: by the value that computes them. */
  readonly memories = new Map<Node, Set<string>>();
  /** Outputs that are known with the image. */
  readonly visionOutputs = new Map<string, Node>();
  readonly prefillOutputs = new Map<string, Node>();
  private readonly times: BindingTimes;

  constructor(readonly g: Graph) {
    this.times = new BindingTimes(g);
    this.groups = new KeyGroups(g);
    for (const [name, n] of g.outputs) {
      if (n.type.rows!.kinds.every((k) => this.isVision(n, k))) {
        this.visionOutputs.set(name, n);
        this.vision.add(n, n.type.rows);
      } else {
        this.prefillOutputs.set(name, n);
        this.wantInPrefill(n, n.type.rows!);
      }
    }
    for (const n of [...g.nodes].reverse()) {
      const once = this.vision.of(n), rows = this.prefill.of(n);
      if (once) n.inputs.forEach((x, i) => this.vision.add(x, rowsRead(n, once, i, g)));
      if (rows) this.readInPrefill(n, rows);
    }
    this.dropMemoriesHeldAsKeys();
  }

  /** True if there is anything to do once an image. */
  get hasVision(): boolean {
    return this.visionOutputs.size > 0 || this.memories.size > 0
      || this.groups.all.some((group) => [...group.atoms].some(([kind, { k, v }]) => this.isVision(k, kind) || this.isVision(v, kind)));
  }

  /** True for rows of images that are known with the image. */
  isVision(n: Node, kind: string): boolean {
    const rows = n.type.rows!;
    return sequenceKind(rows.sequence, kind).media && !rows.last && byImage(this.times.of(n, kind));
  }

  /** True if every step may as well make these rows anew: they take no work and no other row. */
  isFree(n: Node, kind: string): boolean {
    return n.op !== 'input' && this.times.of(n, kind) === 'constant' && n.inputs.every((x) => !x.type.rows) && !Object.keys(opDef(n.op).counts(n, noPairs)).length;
  }

  /** True if an attention reads keys and values of this step alone, without states. */
  isDirect(n: Node, queries: RowSet): boolean {
    const m = maskOf(n.attrs, this.g), atoms = this.groups.atomsOf(n, queries);
    if (!atoms.size) return true;
    return queries.kinds.every((q) => sequenceKind(queries.sequence, q).media && localToImage(m, q, n.inputs[1]!.type.rows!.kinds))
      && [...atoms].every(([kind, { k, v }]) => !this.isVision(k, kind) && !this.isVision(v, kind));
  }

  private readInPrefill(n: Node, rows: RowSet): void {
    if (n.op !== 'attention' || this.isDirect(n, rows)) {
      n.inputs.forEach((x, i) => {
        const read = rowsRead(n, rows, i, this.g);
        if (read) this.wantInPrefill(x, read);
      });
      return;
    }
    this.wantInPrefill(n.inputs[0]!, rows);
    const group = this.groups.add(n, rows);
    for (const [kind, { k, v }] of group.atoms) for (const x of [k, v]) (this.isVision(x, kind) ? this.vision : this.prefill).add(x, restrictRows(x.type.rows!, [kind]));
  }

  private wantInPrefill(n: Node, rows: RowSet): void {
    for (const kind of rows.kinds) {
      const part = restrictRows(rows, [kind])!;
      if (!this.isVision(n, kind)) { this.prefill.add(n, part); continue; }
      const origin = originOf(n, kind);
      if (this.isFree(origin, kind)) { this.prefill.add(origin, part); continue; }
      const kinds = this.memories.get(origin);
      if (kinds) kinds.add(kind); else this.memories.set(origin, new Set([kind]));
      this.vision.add(origin, restrictRows(origin.type.rows!, [kind]));
    }
  }

  /** Rows that lie in a key group already need no memory of their own. */
  private dropMemoriesHeldAsKeys(): void {
    for (const [origin, kinds] of this.memories) {
      for (const kind of kinds) if (this.heldAsKeys(origin, kind)) kinds.delete(kind);
      if (!kinds.size) this.memories.delete(origin);
    }
  }
  heldAsKeys(origin: Node, kind: string): { group: KeyGroups['all'][number]; part: 'k' | 'v' } | undefined {
    for (const group of this.groups.all) {
      const atom = group.atoms.get(kind);
      if (atom?.k === origin) return { group, part: 'k' };
      if (atom?.v === origin) return { group, part: 'v' };
    }
    return undefined;
  }
}

const noPairs = (): never => { throw new Error('An attention reads rows, and is never free.'); };
