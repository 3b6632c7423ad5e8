/**
 * Fusion: which ops become one kernel.
 *
 * Linears that read the same rows of the same value become one *matmul group*. The norm in front of them (or the cutting
 * of pictures into patches) becomes the group's prologue, and what follows each linear row by row (bias, activation,
 * gate times up, residual, rotary embedding, the write into the KV cache) its epilogue, as far as nobody else reads the
 * value in between. A write of quantised rows needs whole heads, and stays a kernel of its own. Products with the same chosen experts become an *experts group*, with what follows them element by element.
 * What is left of elementwise work, and the mixing of what experts gave, becomes *elementwise groups*. Of one row more is one kernel's
 * work (fuse-one-row.ts). A group's body holds the very nodes, so the interpreter runs a fused graph by the same table.
 */
import { GraphBuilder, sweep } from '../compiler/ir/builder.ts';
import type { Body, Graph, Node } from '../compiler/ir/graph.ts';
import { isLeaf, leafName } from '../compiler/ir/graph.ts';
import { opDef } from '../compiler/ir/ops/index.ts';
import { printRows, sameRows } from '../compiler/ir/rows.ts';
import type { StateFormat } from '../compiler/ir/state-format.ts';
import { stateFormatOf } from '../compiler/ir/state-format.ts';
import { sameType } from '../compiler/ir/types.ts';
import { isNorm, isPrologue, mixedProduct, takeChoices } from './fuse-one-row.ts';
import type { Pass } from './pass.ts';

export interface Group {
  readonly family: 'matmul' | 'experts' | 'elementwise';
  /** Of experts: what they give is mixed, so other values may follow. */
  readonly mixes?: true;
  /** Every node that the group computes. */
  readonly members: Set<Node>;
  /** The members whose values leave the group. */
  roots: Node[];
}

export const fuse: Pass = {
  name: 'fuse',
  proves: 'Each group of ops computes, row by row, what its ops compute one after the other, and no value inside it has a reader outside.',
  run: (g) => form(readFromStores(rowsBeforeNorms(g))),
};

/** `rows(norm(x))` → `norm(rows(x))`: the norm can then be the prologue of whoever reads just these rows. */
function rowsBeforeNorms(g: Graph): Graph {
  const b = GraphBuilder.like(g);
  const done = new Map<Node, Node>();
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  for (const n of g.nodes) {
    const inputs = n.inputs.map((i) => done.get(i) ?? i);
    const [x] = inputs;
    if (n.op === 'rows' && x && isNorm(x)) done.set(n, b.op(x.op, [b.select(x.inputs[0]!, n.type.rows!), ...x.inputs.slice(1)], x.attrs, x));
    else done.set(n, inputs.every((i, k) => i === n.inputs[k]) ? (b.nodes.push(n), n) : b.op(n.op, inputs, n.attrs, n));
  }
  for (const [name, n] of g.outputs) b.output(name, done.get(n) ?? n);
  return sweep(b.finish());
}

const formatStored = (g: Graph, store: Node): StateFormat => stateFormatOf(g.states.get(String(store.attrs['state']))!);

/** A value that is stored and also read otherwise is read from the state, so that the store can be its one reader: where the state holds it as it is. */
function readFromStores(g: Graph): Graph {
  const uses = usersOf(g);
  const storeOf = new Map<Node, Node>();
  for (const n of g.nodes) if (n.op === 'store' && formatStored(g, n).kind === 'f32' && uses.get(n.inputs[1]!)!.length > 1 && n.inputs[1]!.type.dtype === n.type.dtype && !isLeaf(n.inputs[1]!) && n.inputs[1]!.op !== 'rows' && n.inputs[1]!.op !== 'merge') storeOf.set(n.inputs[1]!, n);
  if (!storeOf.size) return g;
  const b = GraphBuilder.like(g);
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  const done = new Map<Node, Node>();
  const emit = (n: Node, reader: Node | undefined): Node => {
    const store = storeOf.get(n);
    if (store && reader !== store) return b.op('rows', [emit(store, undefined)], { rows: printRows(n.type.rows!) }, { path: n.path, where: n.where });
    const old = done.get(n);
    if (old) return old;
    const inputs = n.inputs.map((i) => emit(i, n));
    const out = isLeaf(n) ? n : inputs.every((i, k) => i === n.inputs[k]) ? (b.nodes.push(n), n) : b.op(n.op, inputs, n.attrs, n);
    done.set(n, out);
    return out;
  };
  for (const n of g.nodes) emit(n, n.op === 'store' ? undefined : storeOf.get(n));
  for (const [name, n] of g.outputs) b.output(name, emit(n, undefined));
  return sweep(b.finish());
}

/** Whoever runs the graph: a reader outside every group. */
const caller: Node = { op: 'caller', inputs: [], attrs: {}, type: { dtype: 'f32', dims: [] }, path: '' };

function usersOf(g: Graph): Map<Node, Node[]> {
  const users = new Map<Node, Node[]>();
  const add = (n: Node, u: Node): void => { const l = users.get(n); if (l) l.push(u); else users.set(n, [u]); };
  for (const n of g.nodes) for (const i of n.inputs) add(i, n);
  for (const n of g.outputs.values()) if (n.op !== 'store') add(n, caller);
  return users;
}

function form(g: Graph): Graph {
  const users = usersOf(g);
  const order = new Map(g.nodes.map((n, i) => [n, i]));
  const groupOf = new Map<Node, Group>();
  const usesOf = (n: Node): readonly Node[] => users.get(n) ?? [];

  /** True if `n` needs a member of the group; nodes before `first` cannot. */
  const dependsOn = (n: Node, group: Group, first: number): boolean => {
    const seen = new Set<Node>();
    const visit = (x: Node): boolean => {
      if (group.members.has(x)) return true;
      if (isLeaf(x) || seen.has(x) || (order.get(x)! < first && !groupOf.has(x))) return false;
      seen.add(x);
      return [...(groupOf.get(x)?.members ?? [x])].some((m) => m.inputs.some(visit));
    };
    return visit(n);
  };

  /** Takes in what follows the roots, as long as each root's one reader works on the same rows, element by element. */
  const grow = (group: Group, first: number): void => {
    for (let grown = true; grown;) {
      grown = false;
      for (const root of group.roots) {
        const readers = usesOf(root);
        const u = readers[0];
        if (!u || u === caller || new Set(readers).size !== 1 || groupOf.has(u)) continue;
        const others = u.inputs.filter((i) => i !== root);
        const outside = others.filter((i) => !group.roots.includes(i));
        const inside = others.filter((i) => group.roots.includes(i) && new Set(usesOf(i)).size === 1);
        if (outside.length + inside.length !== others.length || outside.some((o) => dependsOn(o, group, first))) continue;
        const elementwise = opDef(u.op).elementwise === true && sameType(u.type, root.type) && outside.every((o) => !o.type.rows || sameType(o.type, u.type));
        const turn = u.op === 'rope' && u.inputs[0] === root && u.inputs[1]!.op === 'row_number' && group.family === 'matmul';
        const write = u.op === 'store' && u.inputs[1] === root && group.family === 'matmul' && formatStored(g, u).kind !== 'int8';
        const open = root.op !== 'rope' && root.op !== 'store';
        if (!(write ? root.op !== 'store' : (elementwise || turn) && open)) continue;
        if ((turn && inside.length) || (group.family === 'experts' && !group.mixes && outside.length)) continue;
        group.members.add(u);
        groupOf.set(u, group);
        group.roots = [...group.roots.filter((r) => r !== root && !inside.includes(r)), u];
        grown = true;
        break;
      }
    }
  };

  const firstOf = ({ members }: Group): number => Math.min(...[...members].map((m) => order.get(m)!));
  /** Makes the members a group, with the prologue that they read, and takes in what follows. */
  const begin = (group: Group, x: Node): void => {
    group.members.forEach((m) => groupOf.set(m, group));
    if (isPrologue(x, usesOf)) group.members.add(x);
    grow(group, firstOf(group));
  };

  for (const n of g.nodes) {
    if (n.op !== 'linear' || groupOf.has(n)) continue;
    const [x] = n.inputs;
    const siblings = usesOf(x!).filter((u) => u.op === 'linear' && u.inputs[0] === x && !groupOf.has(u) && sameRows(u.type.rows!, n.type.rows!));
    const linears = [...new Set(siblings)].sort((a, c) => order.get(a)! - order.get(c)!);
    const group: Group = { family: 'matmul', members: new Set(linears), roots: linears };
    begin(group, x!);
    group.roots.sort(byPlace((n) => n.op === 'store' || usesOf(n).some((u) => u.op === 'store' && u.inputs[1] === n)));
  }
  takeChoices(g, groupOf, usesOf);
  for (const n of g.nodes) {
    const product = mixedProduct(n, usesOf);
    if (product) begin({ family: 'experts', mixes: true, members: new Set([product, n]), roots: [n] }, product.inputs[0]!);
  }
  for (const n of g.nodes) {
    if (n.op !== 'expert_linear' || groupOf.has(n)) continue;
    const alike = usesOf(n.inputs[0]!).filter((u) => u.op === 'expert_linear' && !groupOf.has(u) && u.inputs[1] === n.inputs[1] && sameType(u.type, n.type));
    begin({ family: 'experts', members: new Set(alike), roots: [...new Set(alike)] }, n.inputs[0]!);
  }
  for (const n of g.nodes) {
    if ((opDef(n.op).elementwise !== true && n.op !== 'mix_experts') || groupOf.has(n)) continue;
    const group: Group = { family: 'elementwise', members: new Set([n]), roots: [n] };
    groupOf.set(n, group);
    grow(group, order.get(n)!);
  }
  return emit(g, groupOf);
}

/**
 * Results in an order that does not depend on the graph: what goes into states last, then by name. A step that computes
 * only keys and values then reads a run of the weights that another step reads with the queries.
 */
const byPlace = (stored: (n: Node) => boolean) => (a: Node, b: Node): number => {
  const name = (n: Node): string => (n.op === 'linear' ? leafName(n.inputs[1]!) : n.inputs.filter((i) => !isLeaf(i)).map(name).find((x) => x) ?? '');
  return Number(stored(a)) - Number(stored(b)) || (name(a) < name(b) ? -1 : 1);
};

/** Rebuilds the graph with one fused node a group. */
function emit(g: Graph, groupOf: ReadonlyMap<Node, Group>): Graph {
  const b = GraphBuilder.like(g);
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  const done = new Map<Node, Node>();
  const emitGroup = (group: Group): void => {
    const outer = new Map<Node, Node>();
    const params: Node[] = [], nodes: Node[] = [], inner = new Map<Node, Node>();
    const inside = (n: Node): Node => {
      const old = inner.get(n);
      if (old) return old;
      let out: Node;
      if (group.members.has(n)) {
        out = { ...n, inputs: n.inputs.map(inside) };
        nodes.push(out);
      } else {
        out = { op: 'param', inputs: [], attrs: { name: String(params.length) }, type: n.type, path: '' };
        params.push(out);
        outer.set(out, n);
      }
      inner.set(n, out);
      return out;
    };
    const results = group.roots.map(inside);
    const body: Body = { params, nodes, results };
    const inputs = params.map((p) => get(outer.get(p)!));
    const lead = group.roots[0]!;
    const path = commonPath(group.roots.map((r) => r.path));
    const node = b.op('fused', inputs, { family: group.family }, { path, where: lead.where, body });
    group.roots.forEach((r, i) => done.set(r, group.roots.length === 1 ? node : b.op('result', [node], { index: i }, { path: r.path, where: r.where })));
  };
  const get = (n: Node): Node => {
    if (isLeaf(n)) return n;
    if (!done.has(n)) {
      const group = groupOf.get(n);
      if (group) emitGroup(group);
      else done.set(n, b.op(n.op, n.inputs.map(get), n.attrs, n));
    }
    return done.get(n)!;
  };
  const prologues = new Set([...groupOf.values()].flatMap((x) => [...x.members].filter((m) => groupOf.get(m) !== x)));
  for (const n of g.nodes) {
    const group = groupOf.get(n);
    if (group ? group.roots.includes(n) : !prologues.has(n)) get(n);
  }
  for (const [name, n] of g.outputs) b.output(name, get(n));
  return sweep(b.finish());
}

function commonPath(paths: readonly string[]): string {
  const parts = paths.map((p) => p.split('.'));
  const out: string[] = [];
  for (let i = 0; i < parts[0]!.length && parts.every((p) => p[i] === parts[0]![i]); i++) out.push(parts[0]![i]!);
  return out.join('.');
}
