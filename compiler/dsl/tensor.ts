import type { Node } from '../ir/graph.ts';
import { UserError } from '../ir/errors.ts';
import { Fraction } from '../ir/fraction.ts';
import type { RowSet } from '../ir/rows.ts';
import { printRows, restrictRows, sameRows, withoutRows } from '../ir/rows.ts';
import { suggest } from '../ir/spelling.ts';
import { printType } from '../ir/types.ts';
import { emit, tracing } from './context.ts';
import { Parameter, dimSize } from './parameter.ts';
import type { Dim } from './parameter.ts';
import { callSite } from './where.ts';

/** Rows of vectors whose kinds the types do not know: what a tower chosen by the config gives. */
export abstract class Rows<in out Width extends string> {
  /** @internal */
  constructor(readonly node: Node, readonly width: Width) {}

  /** The rows of some kinds, where the types cannot tell whether there are such. A view, no work. */
  ofKinds<Some extends string>(...kinds: readonly Some[]): Tensor<Some, Width> {
    return new Tensor<Some, Width>(select(this.node, kinds), this.width);
  }
}

/**
 * Rows of a sequence, each a vector: `Tensor<'visual' | 'text', 'hidden_size'>` has rows of both kinds, each
 * `hidden_size` wide. It is no data but a value of the graph that is being built. How many rows there are is open.
 */
export class Tensor<in out Kinds extends string, in out Width extends string> extends Rows<Width> {
  declare private readonly kinds: Kinds;

  /** Element by element sum, with a tensor of the same rows or with one vector for all rows. */
  add(other: Tensor<Kinds, Width> | Parameter<Width>): Tensor<Kinds, Width> { return this.binary('add', other); }
  /** Element by element difference. */
  sub(other: Tensor<Kinds, Width> | Parameter<Width>): Tensor<Kinds, Width> { return this.binary('sub', other); }
  /** Element by element product. */
  mul(other: Tensor<Kinds, Width> | Parameter<Width>): Tensor<Kinds, Width> { return this.binary('mul', other); }
  /** Every element times a constant. */
  scale(by: number): Tensor<Kinds, Width> { return this.with(emit('scale', [this.node], { by })); }

  /** The rows of some kinds: a view, no work. */
  rows<Some extends Kinds>(...kinds: readonly Some[]): Tensor<Some, Width> { return this.ofKinds(...kinds); }

  /**
   * Rewrites the rows of some kinds and leaves the others as they are: `x.update('text', (rows) => …)`. The function
   * gets these rows and gives as many; what it reads besides is its own affair.
   */
  update<Some extends Kinds>(kinds: Some | readonly Some[], rewrite: (rows: Tensor<NoInfer<Some>, Width>) => Tensor<NoInfer<Some>, Width>): Tensor<Kinds, Width> {
    const some: readonly Some[] = typeof kinds === 'string' ? [kinds] : (kinds as readonly Some[]);
    const before = select(this.node, some), rest = withoutRows(this.node.type.rows!, before.type.rows!);
    const after = rewrite(new Tensor<Some, Width>(before, this.width));
    if (!(after instanceof Tensor)) throw new UserError(`update(${some.map((k) => `'${k}'`).join(', ')}) got no tensor from its function. Give back the rewritten rows.`, callSite());
    if (!sameRows(after.node.type.rows!, before.type.rows!))
      throw new UserError(`update() rewrites the rows ${printRows(before.type.rows!)}, but its function gave the rows ${printRows(after.node.type.rows!)}. Pick the rows to write with .rows(${some.map((k) => `'${k}'`).join(', ')}).`, callSite());
    return this.with(rest ? mergeNodes([selectRows(this.node, rest), after.node]) : after.node);
  }

  /**
   * A share of the rows of one kind goes on, from 0 (none of them) to 1 (all); the others leave here, and nothing that follows
   * has them. Which rows those are is decided at run time: what it costs can be said, but no kernel chooses rows yet. Where
   * none goes on there is nothing to choose.
   */
  keep<Kind extends Kinds>(kind: Kind, share: Fraction | number): Tensor<Kinds, Width> {
    const part = share instanceof Fraction ? share : Fraction.parse(share);
    if (!part || part.compare(Fraction.one) > 0) throw new UserError(`keep('${kind}', …) takes the share of rows that goes on, a number from 0 to 1, but was given ${String(share)}.`, callSite());
    const { kinds, sequence } = this.node.type.rows!;
    if (!sequence.kinds.some((k) => k.name === kind)) throw new UserError(`keep('${kind}', …) lets rows of the kind '${kind}' go on, which the sequence '${sequence.name}' has not.${suggest(kind, sequence.kinds.map((k) => k.name), 'Its kinds are')}`, callSite());
    // Of rows that have left before, any share is none.
    return part.equals(Fraction.one) || !kinds.includes(kind) ? this : this.with(emit('keep', [this.node], { kind, share: String(part) }));
  }

  /** The same rows under another name of their width, which must be the same size: where one part's dim is another's. */
  named<Config, Name extends Dim<Config>>(config: Config, name: Name): Tensor<Kinds, Name> {
    checkWidth(this, dimSize(config, name), name, 'named()');
    return new Tensor<Kinds, Name>(this.node, name);
  }

  private with(node: Node): Tensor<Kinds, Width> { return new Tensor<Kinds, Width>(node, this.width); }
  private binary(op: string, other: Tensor<Kinds, Width> | Parameter<Width>): Tensor<Kinds, Width> {
    if (!(other instanceof Tensor || other instanceof Parameter)) throw new UserError(`${op}() takes a tensor or a parameter, but was given ${String(other)}.`, callSite());
    const node = other instanceof Tensor ? other.node : tracing().weight(other);
    return this.with(emit(op, [this.node, node]));
  }
}

/** One whole number a row: token ids, positions. */
export class Integers<in out Kinds extends string> {
  declare private readonly kinds: Kinds;
  /** @internal */
  constructor(readonly node: Node) {}
}

/** For each row of a kind the rows that it is gathered from: `sources` numbers a row, and where there are several their weights. */
export class RowMap<in out Kinds extends string> {
  declare private readonly kinds: Kinds;
  /** @internal */
  constructor(readonly sources: Node, readonly weights: Node | undefined) {}
}

/** One picture as rows, and for each of them a whole number: its place in the picture, as the tower counts places. */
export class PictureRows<in out Kind extends string, in out Width extends string> {
  /** @internal */
  constructor(readonly rows: Tensor<Kind, Width>, readonly numbers: Integers<Kind>) {}
}

/** Pictures `[tile, channels, height, width]`, normalised as the tower expects them. */
export class Pictures {
  /** @internal */
  constructor(readonly node: Node) {}
}

/** Rows of different kinds of one sequence, put together: `merge(visual, text)`. */
export function merge<A extends string, B extends string, Width extends string>(a: Tensor<A, Width>, b: Tensor<B, Width>): Tensor<A | B, Width> {
  return new Tensor<A | B, Width>(mergeNodes([a.node, b.node]), a.width);
}

function mergeNodes(parts: readonly Node[]): Node {
  const { builder } = tracing();
  builder.where = callSite();
  return builder.merge(parts);
}
function selectRows(x: Node, rows: RowSet): Node {
  const { builder } = tracing();
  builder.where = callSite();
  return builder.select(x, rows, {});
}
function select(x: Node, kinds: readonly string[]): Node {
  const rows = x.type.rows!;
  const missing = kinds.find((k) => !rows.kinds.includes(k));
  if (missing !== undefined || !kinds.length)
    throw new UserError(`${missing === undefined ? 'No kind of row is named' : `There are no rows of kind '${missing}'`}; the tensor's kinds are ${rows.kinds.join(', ')} (it is ${printType(x.type)}).`, callSite());
  return selectRows(x, restrictRows(rows, kinds)!);
}

/** Throws a UserError that names both sides unless the rows are `size` wide. */
export function checkWidth(x: { readonly node: Node; readonly width: string }, size: number, name: string, what: string): void {
  const given = x.node.type.dims[0];
  if (given === size) return;
  throw new UserError(`${what} takes rows of ${name} = ${size}, but was given rows of ${x.width} = ${given} (${printType(x.node.type)}).`, callSite());
}
