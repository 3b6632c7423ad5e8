import type { SourcePos } from './errors.ts';
import { UserError } from './errors.ts';
import type { Attrs, Body, Graph, GraphHead, MaskDecl, Node, Time } from './graph.ts';
import { inferType } from './ops/infer.ts';
import type { RowSet, Sequence } from './rows.ts';
import { printRows, rowsWithin, sameRows } from './rows.ts';
import type { TensorType } from './types.ts';
import { sameType, printType } from './types.ts';

export interface NodeOptions { readonly path?: string; readonly where?: SourcePos; readonly body?: Body }

/**
 * Builds a graph node by node; shapes are inferred and checked as each node is added. The current `path` and `where`
 * are stamped on new nodes, so a tracer sets them and an error names the author's own line.
 */
export class GraphBuilder implements GraphHead {
  readonly sequences = new Map<string, Sequence>();
  readonly masks = new Map<string, MaskDecl>();
  readonly inputs = new Map<string, Node>();
  readonly weights = new Map<string, Node>();
  readonly states = new Map<string, Node>();
  readonly nodes: Node[] = [];
  readonly outputs = new Map<string, Node>();
  path = '';
  where: SourcePos | undefined;

  constructor(readonly name: string) {}

  /** A builder with the same sequences and masks, and nothing else. */
  static like(head: GraphHead & { name: string }): GraphBuilder {
    const b = new GraphBuilder(head.name);
    for (const s of head.sequences.values()) b.sequence(s);
    for (const m of head.masks.values()) b.mask(m);
    return b;
  }

  sequence(s: Sequence): Sequence { this.sequences.set(s.name, s); return s; }
  mask(m: MaskDecl): MaskDecl { this.masks.set(m.name, m); return m; }

  input(name: string, type: TensorType, time: Time): Node {
    return this.leaf(this.inputs, { op: 'input', inputs: [], attrs: { name, time }, type, path: '' });
  }
  /** `attrs`: how it is stored (`format`), where that is settled. */
  weight(name: string, type: TensorType, attrs: Attrs = {}): Node {
    return this.leaf(this.weights, { op: 'weight', inputs: [], attrs: { ...attrs, name }, type, path: name });
  }
  /** `attrs`: how its rows are held (`format`), where that is settled. */
  state(name: string, type: TensorType, attrs: Attrs = {}): Node {
    return this.leaf(this.states, { op: 'state', inputs: [], attrs: { ...attrs, name }, type, path: '' });
  }
  /** Adds the same leaf again only if its type agrees; two uses of one weight (tied embeddings) share the leaf. */
  leaf(map: Map<string, Node>, node: Node): Node {
    const name = String(node.attrs['name']);
    const old = map.get(name);
    if (old && !sameType(old.type, node.type))
      throw new UserError(`${node.op} '${name}' is used as ${printType(old.type)} and as ${printType(node.type)}; one name has one shape.`, this.where);
    if (!old) map.set(name, node);
    return old ?? node;
  }

  op(op: string, inputs: readonly Node[], attrs: Attrs = {}, opts: NodeOptions = {}): Node {
    const where = opts.where ?? this.where;
    const path = opts.path ?? this.path;
    let type: TensorType;
    try {
      type = inferType(op, inputs.map((n) => n.type), attrs, this, opts.body ?? inputs[0]?.body);
    } catch (e) {
      if (e instanceof UserError || !(e instanceof RangeError)) throw e;
      throw new UserError(`${op}: ${e.message}${path ? ` (in ${path})` : ''}`, where, { cause: e });
    }
    const node: Node = { op, inputs, attrs, type, path, ...(where ? { where } : {}), ...(opts.body ? { body: opts.body } : {}) };
    this.nodes.push(node);
    return node;
  }

  /** The given rows of a value; the value itself, if it has just these. Looks through `rows` and `merge`. Belongs to the value's module, or to `at`. */
  select(x: Node, rows: RowSet, at?: NodeOptions): Node {
    if (x.type.rows && sameRows(x.type.rows, rows)) return x;
    if (x.op === 'rows' && rowsWithin(rows, x.type.rows!)) return this.select(x.inputs[0]!, rows, at);
    if (x.op === 'merge') {
      const part = x.inputs.find((i) => rows.kinds.every((k) => i.type.rows!.kinds.includes(k)));
      if (part) return this.select(part, rows, at);
    }
    return this.op('rows', [x], { rows: printRows(rows) }, at ?? { path: x.path, where: x.where });
  }
  /** Disjoint rows of one sequence, put together in the sequence's order. */
  merge(parts: readonly Node[]): Node {
    if (parts.length === 1) return parts[0]!;
    const order = parts[0]!.type.rows!.sequence.kinds.map((k) => k.name);
    const flat = parts.flatMap((p) => (p.op === 'merge' ? p.inputs : [p]));
    flat.sort((a, b) => order.indexOf(a.type.rows!.kinds[0]!) - order.indexOf(b.type.rows!.kinds[0]!));
    return this.op('merge', flat);
  }

  output(name: string, node: Node): void { this.outputs.set(name, node); }

  /** The finished graph. The builder may go on being used; the graph does not change with it. */
  finish(): Graph {
    return {
      name: this.name, sequences: new Map(this.sequences), masks: new Map(this.masks), inputs: new Map(this.inputs),
      weights: new Map(this.weights), states: new Map(this.states), nodes: [...this.nodes], outputs: new Map(this.outputs),
    };
  }
}

/**
 * Rebuilds a graph node by node. `step` gets a node and its rewritten inputs, and returns the node's replacement;
 * returning nothing copies it. Leaves are kept, unused ones too.
 */
export function rewrite(g: Graph, step: (node: Node, inputs: Node[], b: GraphBuilder) => Node | void): Graph {
  const b = GraphBuilder.like(g);
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const)
    for (const n of leaves.values()) b.leaf(map, n);
  const done = new Map<Node, Node>();
  const get = (n: Node): Node => done.get(n) ?? n;
  for (const n of g.nodes) {
    const inputs = n.inputs.map(get);
    done.set(n, step(n, inputs, b) ?? copyNode(b, n, inputs));
  }
  for (const [name, n] of g.outputs) b.output(name, get(n));
  return b.finish();
}

/** Adds a node like `n` over other inputs; `n` itself, if the inputs are its own. */
export function copyNode(b: GraphBuilder, n: Node, inputs: readonly Node[]): Node {
  if (inputs.every((x, i) => x === n.inputs[i])) { b.nodes.push(n); return n; }
  return b.op(n.op, inputs, n.attrs, { path: n.path, where: n.where, body: n.body });
}

/** Keeps what the outputs need, in the old order; leaves that nobody reads go too. */
export function sweep(g: Graph): Graph {
  const live = new Set<Node>();
  const visit = (n: Node): void => { if (!live.has(n)) { live.add(n); n.inputs.forEach(visit); } };
  for (const n of g.outputs.values()) visit(n);
  const keep = (m: ReadonlyMap<string, Node>): Map<string, Node> => new Map([...m].filter(([, n]) => live.has(n)));
  return { ...g, inputs: keep(g.inputs), weights: keep(g.weights), states: keep(g.states), nodes: g.nodes.filter((n) => live.has(n)) };
}
