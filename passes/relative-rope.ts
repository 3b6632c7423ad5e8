/**
 * Relative rotary embedding: keys of an image that do not wait for the prompt.
 *
 * A key's rotation depends on its position, and so on the text before the image. But rotations compose,
 * R(p)q · R(s)k = R(p−o)q · R(s−o)k for any o, here the position at which the image begins: so keys may be rotated by
 * their place s−o within their image, known with the image, and each query is turned back by o when it meets them
 * (attribute `relative` of attention). Rows that read their own image alone meet no other o: their queries are rotated
 * by their place p−o, and nothing is turned back.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { rewrite } from '../compiler/ir/builder.ts';
import type { Attrs, MaskDecl, Node } from '../compiler/ir/graph.ts';
import { maskOf, pairClass } from '../compiler/ir/ops/attention.ts';
import { printRows, restrictRows, sequenceKind } from '../compiler/ir/rows.ts';
import { originOf } from './atoms.ts';
import { isTower, localToImage } from './masks.ts';
import type { Pass } from './pass.ts';
import { BindingTimes, byImage } from './times.ts';

export const relativeRope: Pass = {
  name: 'relative-rope',
  proves: 'R(p)q · R(s)k = R(p−o)q · R(s−o)k, with o the position of the image: its keys depend on the image alone, where what is rotated does.',
  run: (g) => {
    let rope: Rotations | undefined;
    return rewrite(g, (n, inputs, b) => {
      rope ??= new Rotations(b);
      return n.op === 'attention' && n.attrs['relative'] === undefined ? turn(b, rope, n, inputs) : undefined;
    });
  },
};

/** Values rotated by index instead of position, each made once. */
class Rotations {
  private readonly times: BindingTimes;
  private readonly made = new Map<string, Node>();
  private readonly ids = new Map<Node, number>();
  constructor(private readonly b: GraphBuilder) { this.times = new BindingTimes(b); }

  /** The op that rotates rows `kind` of `x` by position, if its operand is known with the image. */
  of(x: Node, kind: string): Node | undefined {
    const rope = originOf(x, kind);
    if (rope.op !== 'rope') return undefined;
    const numbers = originOf(rope.inputs[1]!, kind);
    const waits = numbers.op === 'row_number' && numbers.attrs['of'] === 'position' && !byImage(this.times.of(numbers, kind));
    return waits && byImage(this.times.of(rope.inputs[0]!, kind)) ? rope : undefined;
  }

  byIndex(rope: Node, kind: string): Node {
    if (!this.ids.has(rope)) this.ids.set(rope, this.ids.size);
    const id = `${this.ids.get(rope)} ${kind}`;
    let made = this.made.get(id);
    if (!made) {
      const rows = restrictRows(rope.type.rows!, [kind])!;
      const index = this.b.op('row_number', [], { of: 'index', rows: printRows(rows) }, rope);
      this.made.set(id, (made = this.b.op('rope', [this.b.select(rope.inputs[0]!, rows), index], rope.attrs, rope)));
    }
    return made;
  }
}

/** What must agree for two rotations to be the same function of a number. */
const angles = ({ theta, scaling }: Attrs): Attrs => ({ theta: theta!, ...(scaling !== undefined ? { scaling } : {}) });

function turn(b: GraphBuilder, rotations: Rotations, n: Node, [q, k, v]: readonly Node[]): Node | undefined {
  const m = maskOf(n.attrs, b), keys = k!.type.rows!;
  if (isTower(m.sequence) || keys.context) return undefined;
  let turned: { kind: string; rope: Node }[] = keys.kinds.flatMap((kind) => {
    const rope = sequenceKind(m.sequence, kind).media && isRead(m, q!, kind) ? rotations.of(k!, kind) : undefined;
    return rope && rope.attrs['heads'] === n.attrs['kv_heads'] ? [{ kind, rope }] : [];
  });
  const same = JSON.stringify(angles(turned[0]?.rope.attrs ?? {}));
  turned = turned.filter(({ rope }) => JSON.stringify(angles(rope.attrs)) === same);
  if (!turned.length) return undefined;

  const rotatedKeys = join(b, rotations, k!, turned);
  const queries = n.type.rows!.kinds.map((kind) => ({ kind, rope: rotations.of(q!, kind) }));
  const local = queries.every(({ kind, rope }) => rope && localToImage(m, kind, keys.kinds) && JSON.stringify(angles(rope.attrs)) === same)
    && keys.kinds.every((kind) => turned.some((t) => t.kind === kind) || !isRead(m, q!, kind));
  if (local) return b.op('attention', [join(b, rotations, q!, queries as { kind: string; rope: Node }[]), rotatedKeys, v!], n.attrs, n);
  const relative = { kinds: turned.map((t) => t.kind), ...angles(turned[0]!.rope.attrs) };
  return b.op('attention', [q!, rotatedKeys, v!], { ...n.attrs, relative }, n);
}

const isRead = (m: MaskDecl, q: Node, key: string): boolean => q.type.rows!.kinds.some((kind) => pairClass(m, kind, key) !== 'empty');

/** `x` with the given kinds rotated by index. */
function join(b: GraphBuilder, rotations: Rotations, x: Node, turned: readonly { kind: string; rope: Node }[]): Node {
  const rest = restrictRows(x.type.rows!, x.type.rows!.kinds.filter((kind) => !turned.some((t) => t.kind === kind)));
  b.path = x.path; b.where = x.where;
  const parts = turned.map(({ kind, rope }) => b.select(rotations.byIndex(rope, kind), restrictRows(x.type.rows!, [kind])!));
  return b.merge([...parts, ...(rest ? [b.select(x, rest)] : [])]);
}
