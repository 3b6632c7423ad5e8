/**
 * Rows that leave: what a `keep` lets go on becomes row sets, so that all that follows shrinks by the ordinary rules.
 *
 * The kind is cut into parts by how far its rows get: those that leave at the first mark, at the second, …, and those that
 * stay, which keep the kind's name. How many rows a part has follows from the shares and the kind's own count; a mask sees in
 * a part the whole kind. After a mark there are only the parts that go on, and each op is narrowed to them by its own rule.
 *
 * Choices are taken to be nested, as where each ranks what the one before it left.
 */
import { GraphBuilder, copyNode } from '../compiler/ir/builder.ts';
import { UserError } from '../compiler/ir/errors.ts';
import { Fraction, floorName } from '../compiler/ir/fraction.ts';
import type { Graph, MaskDecl, Node } from '../compiler/ir/graph.ts';
import { pairKey } from '../compiler/ir/graph.ts';
import { pairClass } from '../compiler/ir/ops/attention.ts';
import { opDef } from '../compiler/ir/ops/index.ts';
import { keptShare } from '../compiler/ir/ops/keep.ts';
import { Poly } from '../compiler/ir/poly.ts';
import type { Kind, RowSet, Sequence } from '../compiler/ir/rows.ts';
import { printRows, restrictRows, rowSet, sequenceKind, withoutRows } from '../compiler/ir/rows.ts';
import type { Pass } from './pass.ts';
import { rowsRead } from './row-demand.ts';

/** How many rows a share is: `whole` rows, rounded down, or the `fraction` that papers put into their formulas. */
export type ShareCounting = 'whole' | 'fraction';

export const splitKept: Pass = {
  name: 'split-kept',
  proves: 'Rows that leave at a mark are in nothing that follows it, and all other rows are where they were.',
  run: (g) => splitBy(g, 'whole'),
};

export function splitBy(g: Graph, counting: ShareCounting): Graph {
  return g.nodes.some((n) => n.op === 'keep') ? new Splitting(g, counting).run() : g;
}

/** Of the rows of each kind of a value, the fraction that is still there. */
type Shares = ReadonlyMap<string, Fraction>;

/** How far rows get, forwards: a row of a value is there where all rows are that it is computed from. */
function sharesOf(g: Graph): Map<Node, Shares> {
  const known = new Map<Node, Shares>();
  const share = (n: Node, kind: string): Fraction => known.get(n)?.get(kind) ?? Fraction.one;
  for (const n of g.nodes) {
    const rows = n.type.rows, gathers = opDef(n.op).gathers ?? [];
    known.set(n, new Map((rows?.kinds ?? []).map((kind) => {
      let least = Fraction.one;
      n.inputs.forEach((x, i) => {
        const read = gathers.includes(i) ? undefined : rowsRead(n, restrictRows(rows!, [kind])!, i, g);
        // Rows that become those of another sequence are counted anew there.
        if (read?.sequence.name === rows!.sequence.name) for (const k of read.kinds) if (share(x, k).compare(least) < 0) least = share(x, k);
      });
      return [kind, n.op === 'keep' && n.attrs['kind'] === kind ? least.times(keptShare(n.attrs)) : least];
    })));
  }
  return known;
}

/** The parts of a kind, from the one that leaves first to the one that stays, and the fraction of the kind at which each is the next to leave. */
interface Part { readonly kind: Kind; readonly until: Fraction }

class Splitting {
  private readonly shares: ReadonlyMap<Node, Shares>;
  /** Sequences that have marks, with the parts of all their kinds. */
  private readonly parts = new Map<string, { readonly sequence: Sequence; readonly of: ReadonlyMap<string, readonly Part[]> }>();
  private readonly done = new Map<Node, Node>();
  private readonly b: GraphBuilder;

  constructor(private readonly g: Graph, private readonly counting: ShareCounting) {
    this.shares = sharesOf(g);
    const taken = new Set([...g.sequences.values()].flatMap((s) => s.kinds.map((k) => k.name)));
    for (const s of g.sequences.values()) if (g.nodes.some((n) => n.op === 'keep' && n.type.rows!.sequence.name === s.name)) this.cut(s, taken);
    this.b = new GraphBuilder(g.name);
    for (const s of g.sequences.values()) this.b.sequence(this.parts.get(s.name)?.sequence ?? s);
    for (const m of g.masks.values()) this.b.mask(this.maskOf(m));
  }

  run(): Graph {
    const { b, g } = this;
    for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const)
      for (const n of leaves.values()) this.done.set(n, b.leaf(map, this.isCut(n) ? { ...n, type: { ...n.type, rows: this.rowsOf(n) } } : n));
    for (const n of g.nodes) this.done.set(n, this.rebuild(n, n.inputs.map((x) => this.done.get(x)!)));
    for (const [name, n] of g.outputs) b.output(name, this.done.get(n)!);
    return b.finish();
  }

  private cut(s: Sequence, taken: Set<string>): void {
    const of = new Map(s.kinds.map((k) => [k.name, this.cutKind(k, taken)]));
    this.parts.set(s.name, { of, sequence: { ...s, kinds: [...of.values()].flatMap((parts) => parts.map((p) => p.kind)) } });
  }

  private cutKind(k: Kind, taken: Set<string>): Part[] {
    const found = [...this.shares.values()].flatMap((m) => m.get(k.name) ?? []).filter((f) => f.num > 0n);
    const stages = [Fraction.one, ...found].sort((a, b) => b.compare(a)).filter((f, i, all) => !i || !f.equals(all[i - 1]!));
    return stages.map((until, i): Part => {
      const next = stages[i + 1], rows = this.countOf(k, until);
      if (!next) return { until, kind: i ? { ...k, count: rows } : k };
      let name = `${k.name}_${i + 1}`;
      while (taken.has(name)) name += '_';
      taken.add(name);
      return { until, kind: { name, count: rows.sub(this.countOf(k, next)), media: k.media, of: k.of ?? k.name } };
    });
  }

  /** How many of the rows of a kind a share is. */
  private countOf(k: Kind, share: Fraction): Poly {
    if (share.equals(Fraction.one)) return k.count;
    if (this.counting === 'fraction') return k.count.mul(share.num).div(share.den);
    if (k.count.isConstant) return Poly.of(share.floorOf(k.count.evaluate({})));
    const [dim, ...others] = k.count.variables;
    if (others.length || !k.count.equals(Poly.dim(dim!))) throw new UserError(`There are ${k.count} rows of kind '${k.name}', of which no share can be taken in whole rows; expected a number or the name of a dim.`);
    return Poly.dim(floorName(share, dim!));
  }

  private maskOf(m: MaskDecl): MaskDecl {
    const parts = this.parts.get(m.sequence.name);
    if (!parts) return m;
    if (!m.pairs) return { ...m, sequence: parts.sequence };
    const pairs = m.sequence.kinds.flatMap(({ name: q }) => m.sequence.kinds.flatMap(({ name: k }) => parts.of.get(q)!.flatMap((a) => parts.of.get(k)!.map((b) => {
      const whole = pairClass(m, q, k);
      return [pairKey(a.kind.name, b.kind.name), whole === 'diagonal' && a !== b ? 'empty' : whole] as const;
    }))));
    return { ...m, sequence: parts.sequence, pairs: Object.fromEntries(pairs) };
  }

  private isCut(n: Node): boolean { return !!n.type.rows && this.parts.has(n.type.rows.sequence.name); }

  /** The rows of a value that are still there, as parts. */
  private rowsOf(n: Node): RowSet {
    const rows = n.type.rows!, { sequence, of } = this.parts.get(rows.sequence.name)!;
    const kinds = rows.kinds.flatMap((kind) => {
      const share = this.shares.get(n)?.get(kind) ?? Fraction.one;
      return of.get(kind)!.filter((p) => p.until.compare(share) <= 0).map((p) => p.kind.name);
    });
    if (rows.last && kinds.length > 1) throw new UserError(`The last row of kind '${rows.kinds[0]}' is read, of which some rows leave; which of them is the last is not known before the model runs.`, n.where);
    return rowSet(sequence, kinds, { last: rows.last, context: rows.context });
  }

  private rebuild(n: Node, inputs: readonly Node[]): Node {
    const { b } = this;
    if (!this.isCut(n)) return copyNode(b, n, inputs);
    const rows = this.rowsOf(n), def = opDef(n.op);
    b.path = n.path; b.where = n.where;
    if (n.op === 'keep') return this.leave(n, inputs[0]!, rows);
    const attrs = Object.fromEntries(Object.entries(n.attrs).map(([name, value]) => [name, def.attrs[name]?.startsWith('rows') ? printRows(rows) : value]));
    const made = { ...n, attrs, type: { ...n.type, rows } };
    return def.narrow ? def.narrow(b, made, inputs, rows) : b.op(n.op, inputs.map((x) => (x.type.rows ? b.select(x, rows) : x)), attrs, n);
  }

  /** At a mark: the rows of the kind that go on are gathered; those of other kinds are a view. */
  private leave(n: Node, x: Node, rows: RowSet): Node {
    const { b } = this, whole = String(n.attrs['kind']);
    const on = restrictRows(rows, rows.kinds.filter((k) => (sequenceKind(rows.sequence, k).of ?? k) === whole)), others = on ? withoutRows(rows, on) : rows;
    return b.merge([
      ...(on ? [b.op('chosen', [b.select(x, restrictRows(x.type.rows!, x.type.rows!.kinds.filter((k) => !others?.kinds.includes(k)))!)], { rows: printRows(on) }, n)] : []),
      ...(others ? [b.select(x, others)] : []),
    ]);
  }
}
