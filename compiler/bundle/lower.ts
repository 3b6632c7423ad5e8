/**
 * Lowering: every node of a fused graph becomes dispatches of kernels over buffer ranges.
 *
 * The kernel families take specs (compiler/wgsl); this file says which spec a node is. Views, rotary tables, weights
 * that several groups share, and the limit of storage bindings are settled here.
 */
import { UserError } from '../ir/errors.ts';
import type { Graph, Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import { shuffleShape } from '../ir/ops/pixel-shuffle.ts';
import { ropeFrequencies } from '../ir/ops/rope.ts';
import { Poly } from '../ir/poly.ts';
import type { RowSet } from '../ir/rows.ts';
import { rowCount, rowSet } from '../ir/rows.ts';
import { printStateFormat, stateFormatOf } from '../ir/state-format.ts';
import { rowElements, sameType } from '../ir/types.ts';
import type { MemoryPlan } from '../schedule/memory.ts';
import { isVirtual, rowsBefore } from '../schedule/memory.ts';
import type { Kernel, View } from '../wgsl/kernel.ts';
import type { BodyExpr, NormPrologue } from './body.ts';
import { readElementwise, readMatmul } from './body.ts';
import type { Families } from './families.ts';
import type { AttentionDecl } from '../../runtime/manifest.ts';
import { attentionDecl } from './executed.ts';
import type { ElementExpr, RowNumbers } from '../wgsl/expr.ts';
import type { AttentionSpec } from '../wgsl/attention.ts';
import { byPair } from '../wgsl/experts.ts';
import type { MatmulSpec } from '../wgsl/matmul.ts';
import { splitNorm } from '../wgsl/norm.ts';
import type { Norm } from '../wgsl/statistics.ts';
import type { TopKSpec } from '../wgsl/top-k.ts';
import { lowerExperts } from './lower-experts.ts';
import { blockOf, epilogueVectors, vectorBlock } from './node-weights.ts';
import type { Capacities, EntryDims, Range } from './operands.ts';
import { Operands, plainView, regionStart, rowDataOffset } from './operands.ts';
import type { Block, PackedView, Packing, Part } from './packing.ts';

/** A kernel with the buffer ranges that it binds, in the order of its bindings. */
export interface Step {
  readonly kernel: Kernel;
  readonly bind: readonly Range[];
  readonly node: Node;
  readonly label: string;
  /** True for the one step of a node at which its rows and FLOPs are counted. */
  readonly main: boolean;
  /** A kernel over the same bindings for at most so many rows. */
  readonly few?: { readonly rows: number; readonly kernel: Kernel };
  /** Nodes that the dispatch computes besides. */
  readonly together?: readonly Node[];
  /** Of an attention's first kernel: how it was made. */
  readonly attention?: AttentionDecl;
}

/** What lowering needs to know of the bundle that is being made. */
export interface LowerContext {
  readonly graph: Graph;
  readonly plan: MemoryPlan;
  readonly capacities: Capacities;
  readonly entryDims: EntryDims;
  /** Every dim at its largest. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly packing: Packing;
  readonly families: Families;
  /** Where the rows of a weight `[Σ rows, columns]` lie that are in one tensor of the bundle; without `columns`, of a vector. */
  weightRange(view: PackedView, columns?: number): Range;
  /** Range of a leaf's own buffer. */
  leafRange(n: Node): Range;
  ropeRange(frequencies: readonly number[]): Range;
  /** Scratch memory of at least so many bytes, for use within one dispatch and the next; two names for what one kernel needs two of. */
  scratchRange(bytes: number, name?: 'scratch' | 'sums'): Range;
  dataRange(source: 'rows' | 'spans' | 'draw' | 'dims', sequence?: string): Range;
}

/** Storage buffers that a kernel may bind on every device (WebGPU's default limit). */
const storageLimit = 8;

export function lower(ctx: LowerContext): Step[] {
  const steps: Step[] = [], nodes = ctx.graph.nodes.filter((n) => !isVirtual(n) && n.op !== 'rows' && n.op !== 'as_rows' && n.op !== 'result');
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!, together = storedWith(nodes, i), own = lowerNode(ctx, node, together), main = own.find((s) => node.op !== 'fused' || s.kernel.family !== 'norm');
    steps.push(...own.map((s) => ({ ...s, main: s === main })));
    i += together.length;
  }
  return steps;
}

/** Quantised stores that follow one another, as keys and values of a layer do, are one dispatch: the nodes behind the `i`-th that it takes along. */
function storedWith(nodes: readonly Node[], i: number): readonly Node[] {
  const quantised = (n: Node): boolean => n.op === 'store' && stateFormatOf(n.inputs[0]!).kind === 'int8';
  const [first, next] = [nodes[i]!, nodes[i + 1]];
  return next && quantised(first) && quantised(next) && sameType(first.inputs[1]!.type, next.inputs[1]!.type) && printStateFormat(stateFormatOf(first.inputs[0]!)) === printStateFormat(stateFormatOf(next.inputs[0]!)) ? [next] : [];
}

function lowerNode(ctx: LowerContext, node: Node, together: readonly Node[]): Omit<Step, 'main'>[] {
  const { families } = ctx;
  const operands = (): Operands => new Operands(ctx.plan, ctx.capacities, ctx.entryDims, ctx.leafRange, ctx.families.heldAs);
  const finish = (o: Operands, kernels: readonly Kernel[], label = node.op): Omit<Step, 'main'>[] => kernels.map((kernel) => ({
    kernel, node, label,
    bind: kernel.bindings.map((b) => {
      if (b.access === 'uniform') return ctx.dataRange('dims');
      const range = o.ranges.get(b.name);
      if (!range) throw new Error(`The kernel '${kernel.family}' binds '${b.name}', which no operand of '${node.op}' has.`);
      return range;
    }),
  }));
  const [x] = node.inputs;

  if (node.op === 'fused' && node.attrs['family'] === 'matmul') {
    const body = readMatmul(node), linear = node.body!.nodes.find((n) => n.op === 'linear')!, rows = linear.type.rows!, K = linear.inputs[1]!.type.dims[1]!;
    /** The kernels of these columns of groups: for each tensor that their weights lie in, or two if it would bind too many buffers. */
    const layOut = (columns: readonly Columns[]): Omit<Step, 'main'>[] => ctx.packing.find(columns.map((c) => c.block), K).flatMap((view) => make(view, view.parts.map((p) => columnsOf(columns, p))));
    const resultOf = (index: number): Node => (node.body!.results.length === 1 ? node : resultNode(ctx.graph, node, index)), { choice } = body;
    const largest = (o: Operands): TopKSpec => ({ rows: o.count(rows), width: body.groups[choice!.of]!.width, top: choice!.top, from: o.view(resultOf(choice!.of)), out: o.view(resultOf(body.groups.length)) });
    let chosen = false;
    const make = (view: PackedView, columns: readonly Columns[]): Omit<Step, 'main'>[] => {
      const o = operands(), groups = columns.map((c) => body.groups[c.group]!);
      const weight = ctx.weightRange(view, K);
      const spec: MatmulSpec = {
        rows: o.count(rows), K, a: o.view(node.inputs[body.a]!),
        ...prologueSpec(ctx, o, node, body), ...(families.arithmetic ? { arithmetic: families.arithmetic } : {}),
        weight: { binding: o.role(weight), storage: families.storageOf(ctx.packing.format(columns[0]!.block)) },
        groups: columns.map(({ group, first, block }) => {
          const g = body.groups[group]!;
          return {
            linears: g.linears.length, width: block.rows, value: element(ctx, o, node, g.value, { first, ...(g.rope ? { headDim: g.rope.headDim } : {}) }),
            ...(g.rope ? { rope: {
              table: o.role(ctx.ropeRange([...ropeFrequencies(g.rope.headDim, g.rope.attrs)])), headDim: g.rope.headDim,
              positions: positions(ctx, o, node.inputs[g.rope.positions]!),
            } } : {}),
            out: fromColumn(g.store !== undefined ? plainView(o.stateView(node.inputs[g.store]!, rows)) : o.view(resultOf(group)), first),
          };
        }),
      };
      if (columns.length > 1 && o.ranges.size > storageLimit) { const mid = Math.ceil(columns.length / 2); return [...layOut(columns.slice(0, mid)), ...layOut(columns.slice(mid))]; }
      const apart = families.normApart(spec) ? splitNorm(spec, scratchView(ctx, o, spec.rows, K)) : undefined;
      const product = apart?.product ?? spec, sums = families.matmulScratch(product), whole = sums ? { ...product, scratch: scratchView(ctx, o, Poly.of(Math.ceil(sums / 4)), 4, 'sums') } : product;
      // The choice binds one buffer more, and is among all columns of the only result.
      const choosing = !!choice && body.groups.length === 1 && columns[0]!.block.rows === groups[0]!.width && o.ranges.size < storageLimit;
      chosen ||= choosing;
      const kernels = choosing ? families.matmulChoosing(whole, largest(o), o.writable) : families.matmul(whole, o.writable), few = families.matmulFew(whole, o.writable);
      return finish(o, [...(apart ? [families.norm(apart.norm, o.writable)] : []), ...kernels], [...groups.map((g) => g.linears.map((l) => shortName(leafName(node.inputs[l.weight]!))).join('·')), ...(choosing ? ['top_k'] : [])].join('+'))
        .map((step) => (few && step.kernel === kernels[0] ? { ...step, few } : step));
    };
    const products = layOut(body.groups.map((g, group) => ({ group, first: 0, block: blockOf(node, g) }))), apart = operands();
    return choice && !chosen ? [...products, ...finish(apart, [families.topK(largest(apart), apart.writable)], 'top_k')] : products;
  }

  if (node.op === 'fused' && node.attrs['family'] === 'experts')
    return lowerExperts(ctx, node, {
      operands, finish, result: (index) => (node.body!.results.length === 1 ? node : resultNode(ctx.graph, node, index)), fits: (o) => o.ranges.size <= storageLimit,
      element: (o, e) => element(ctx, o, node, e), norm: (o, prologue) => normSpec(ctx, o, node, prologue),
    });

  const o = operands();
  if (node.op === 'fused') return finish(o, [families.elementwise({ rows: o.count(node.type.rows!), width: rowElements(node.type), value: element(ctx, o, node, readElementwise(node)), out: o.view(node) }, o.writable)], 'elementwise');
  if (node.op === 'attention') {
    const [q, k, v] = node.inputs as [Node, Node, Node], rows = q.type.rows!, mask = ctx.graph.masks.get(String(node.attrs['mask']))!;
    const heads = Number(node.attrs['heads']), kvHeads = Number(node.attrs['kv_heads']), headDim = q.type.dims[0]! / heads, sequence = rows.sequence;
    const relative = node.attrs['relative'] as { kinds: string[]; theta: number } | undefined;
    const spec: AttentionSpec = {
      heads, kvHeads, headDim, valueDim: v.type.dims[0]! / kvHeads, scale: Number(node.attrs['scale']),
      q: o.view(q), k: o.heldView(k), v: o.heldView(v), out: o.view(node), qRows: o.count(rows), qRowData: o.known(rowDataOffset(rows)),
      rows: o.role(ctx.dataRange('rows', sequence.name)), spans: o.role(ctx.dataRange('spans', sequence.name)), sequence, mask, queryKinds: rows.kinds, keyKinds: k.type.rows!.kinds, keyShift: keyShift(o, k, ctx.capacities), valueShift: keyShift(o, v, ctx.capacities),
      ...(relative ? { relative: { kinds: relative.kinds.map((name) => sequence.kinds.findIndex((s) => s.name === name)), table: o.role(ctx.ropeRange([...ropeFrequencies(headDim, relative)])), interleaved: true } } : {}),
    };
    const scratch = families.attentionScratch(spec);
    const whole = scratch ? { ...spec, scratch: scratchView(ctx, o, Poly.of(Math.ceil(scratch / 4)), 4) } : spec;
    const steps = finish(o, families.attention(whole, o.writable), 'attention');
    return [{ ...steps[0]!, attention: attentionDecl(spec, families.attentionSchedule(spec)) }, ...steps.slice(1)];
  }
  if (node.op === 'rms_norm' || node.op === 'layer_norm') {
    const gain = vectorOf(ctx, o, node.inputs[1]!), bias = node.inputs[2] && vectorOf(ctx, o, node.inputs[2]);
    return finish(o, [families.norm({ rows: o.count(node.type.rows!), width: rowElements(node.type), kind: node.op, a: o.view(x!), gain, ...(bias ? { bias } : {}), eps: Number(node.attrs['eps']), out: o.view(node) }, o.writable)]);
  }
  if (node.op === 'embed') {
    const table = node.inputs[1]!, block: Block = { tensors: [leafName(table)], rows: table.type.dims[0]! };
    const width = rowElements(node.type), views = ctx.packing.find([block], table.type.dims[1]!);
    return views.flatMap((view) => {
      const own = operands(), [part] = view.parts, ids: RowNumbers = isVirtual(x!) ? positions(ctx, own, x!) : own.view(x!);
      const weight = { binding: own.role(ctx.weightRange(view, table.type.dims[1]!)), storage: families.storageOf(ctx.packing.format(block)) };
      return finish(own, [families.embed({ rows: own.count(node.type.rows!), ids, table: weight, width, out: own.view(node), ...(views.length > 1 ? { slice: { first: part!.first, count: part!.rows } } : {}) }, own.writable)]);
    });
  }
  if (node.op === 'top_k') return finish(o, [families.topK({ rows: o.count(node.type.rows!), width: x!.type.dims[0]!, top: node.type.dims[0]!, from: o.view(x!), out: o.view(node) }, o.writable)]);
  if (node.op === 'argmax') return finish(o, [families.argmax({ row: o.view(x!), width: x!.type.dims[0]!, out: o.view(node, 1) }, o.writable)]);
  if (node.op === 'rope') {
    const headDim = node.type.dims[0]! / Number(node.attrs['heads']);
    const rope = { table: o.role(ctx.ropeRange([...ropeFrequencies(headDim, node.attrs)])), headDim, positions: positions(ctx, o, node.inputs[1]!) };
    return finish(o, [families.rope({ rows: o.count(node.type.rows!), width: rowElements(node.type), a: o.view(x!), rope, out: o.view(node) }, o.writable)]);
  }
  if (node.op === 'repeat_heads') {
    const heads = Number(node.attrs['heads']), kvHeads = Number(node.attrs['kv_heads']);
    return finish(o, [families.copy({ rows: o.count(node.type.rows!), width: rowElements(node.type), from: o.view(x!), to: o.view(node), repeat: { heads, kvHeads, headDim: node.type.dims[0]! / heads } }, o.writable)]);
  }
  if (node.op === 'pixel_shuffle')
    return finish(o, [families.copy({ rows: o.count(node.type.rows!), width: rowElements(node.type), from: o.view(x!), to: o.view(node), shuffle: shuffleShape(x!.type, Number(node.attrs['factor'])) }, o.writable)]);
  if (node.op === 'gather_rows') {
    const [map, from, ...rest] = node.inputs as [Node, Node, ...Node[]], weights = rest.find((r) => r.type.rows), learned = rest.find((r) => !r.type.rows);
    if (learned && learned.type.dims.length > 1) throw new UserError(`The rows of ${node.path || 'an image'} are gathered from ${learned.type.dims[0]} learned rows ('${leafName(learned)}'), and the kernel takes one. Write them as parameters of their own.`, node.where);
    return finish(o, [families.gather({
      rows: o.count(node.type.rows!), width: rowElements(node.type), from: o.view(from), map: o.view(map), sources: map.type.dims[0]!,
      ...(weights ? { weights: o.view(weights) } : {}), ...(learned ? { learned: vectorOf(ctx, o, learned) } : {}), out: o.view(node),
    }, o.writable)]);
  }
  if (node.op === 'store') {
    const from = node.inputs[1]!, to = o.stateView(x!, from.type.rows!), { storage } = to;
    if (typeof storage !== 'string') {
      const values = [node, ...together].map((n) => { const v = n.inputs[1]!, state = o.stateView(n.inputs[0]!, v.type.rows!); return { from: o.view(v), to: { ...state, storage } }; });
      return finish(o, [families.storeHeads({ rows: o.count(from.type.rows!), values }, o.writable)]).map((s) => ({ ...s, together }));
    }
    return copy(ctx, node, from, (c) => plainView(c.stateView(x!, from.type.rows!)), finish);
  }
  if (node.op === 'merge') return (ctx.plan.copies.get(node) ?? []).flatMap((part) => copy(ctx, node, part, (c) => partView(c, node, part), finish));
  if (node.op === 'broadcast') return finish(o, [families.elementwise({ rows: o.count(node.type.rows!), width: rowElements(node.type), value: { op: 'vector', ...vectorOf(ctx, o, x!) }, out: o.view(node) }, o.writable)], 'broadcast');
  if (node.op === 'zeros') return finish(o, [families.elementwise({ rows: o.count(node.type.rows!), width: rowElements(node.type), value: { op: 'constant', value: 0 }, out: o.view(node) }, o.writable)], 'zeros');
  throw new UserError(`No kernel computes the op '${node.op}' yet, which stands in ${node.path ? `the module '${node.path}'` : 'the model itself'} (entry point '${ctx.graph.name}'), so the model cannot be compiled to a bundle. What it costs can be asked without one: eemllm flops.`, node.where);
}

type Finish = (o: Operands, kernels: readonly Kernel[], label?: string) => Omit<Step, 'main'>[];
function copy(ctx: LowerContext, _node: Node, from: Node, to: (o: Operands) => View, finish: Finish): Omit<Step, 'main'>[] {
  const o = new Operands(ctx.plan, ctx.capacities, ctx.entryDims, ctx.leafRange, ctx.families.heldAs);
  const source = o.view(from), target = to(o);
  return finish(o, [ctx.families.copy({ rows: o.count(from.type.rows!), width: rowElements(from.type), from: source, to: target }, o.writable)], 'copy');
}

/** Spans give slots of the sequence's states; new keys that lie densely are found that many rows from there. */
function keyShift(o: Operands, keys: Node, capacities: Capacities): Record<string, Poly> {
  const rows = keys.type.rows!;
  // New rows that are read from a state lie at their slots there.
  if (rows.context || o.view(keys).regions) return {};
  return Object.fromEntries(rows.kinds.map((kind) => {
    const one = rowSet(rows.sequence, [kind]);
    const held = rowCount({ ...one, context: true }).sub(rowCount(one));
    return [kind, o.known(rowsBefore(rows, one).sub(held).sub(regionStart(rows, kind, capacities)))];
  }));
}

/** Where a part of a merge begins in the merged value. */
function partView(o: Operands, merge: Node, part: Node): View {
  const whole = o.view(merge), before = merge.inputs.slice(0, merge.inputs.indexOf(part)).map((i) => o.count(i.type.rows!));
  return { ...whole, offset: whole.offset.add(Poly.sum(before)) };
}

function prologueSpec(ctx: LowerContext, o: Operands, node: Node, { a, prologue }: ReturnType<typeof readMatmul>): Pick<MatmulSpec, 'prologue'> {
  if (!prologue) return {};
  if (prologue.kind === 'patches') {
    const [channels, height, width] = node.inputs[a]!.type.dims as [number, number, number];
    return { prologue: { kind: 'patches', channels, height, width, size: prologue.size } };
  }
  return { prologue: normSpec(ctx, o, node, prologue) };
}

const normSpec = (ctx: LowerContext, o: Operands, node: Node, { kind, eps, gain, bias }: NormPrologue): Norm =>
  ({ kind, eps, gain: vectorOf(ctx, o, node.inputs[gain]!), ...(bias === undefined ? {} : { bias: vectorOf(ctx, o, node.inputs[bias]!) }) });

/** Dense rows of `width` f32 elements, each begun on a vec4, for what one step of a node leaves to the next. */
function scratchView(ctx: LowerContext, o: Operands, rows: Poly, width: number, name: 'scratch' | 'sums' = 'scratch'): View {
  const stride = Math.ceil(width / 4) * 4;
  return { binding: o.role(ctx.scratchRange(rows.at(ctx.sizes) * stride * 4, name)), storage: 'f32', stride, offset: Poly.zero };
}

function vectorOf(ctx: LowerContext, o: Operands, n: Node): { binding: string; storage: 'f32' } {
  return { binding: o.role(ctx.weightRange(vectorIn(ctx, [vectorBlock(n)]))), storage: 'f32' };
}

/** Vectors that are bound as one. */
function vectorIn(ctx: LowerContext, blocks: readonly Block[]): PackedView {
  const [view, ...more] = ctx.packing.find(blocks);
  if (!view || more.length) throw new UserError(`The vectors ${blocks.map((b) => `'${b.tensors.join()}'`).join(', ')} are read by one kernel and take more bytes than a device may bind at once. Raise --binding-limit.`);
  return view;
}

/** Output columns of a group of a matmul: `block.rows` of them, from column `first` on. */
interface Columns { readonly group: number; readonly first: number; readonly block: Block }
const columnsOf = (asked: readonly Columns[], { of, first, block }: Part): Columns => ({ group: asked[of]!.group, first: asked[of]!.first + first, block });
/** A value from a column on. */
const fromColumn = (v: View, first: number): View => (first ? { ...v, column: (v.column ?? 0) + first } : v);

/** An expression over the columns of a value from `first` on; `headDim` where the columns of its heads are reordered in pairs. */
function element(ctx: LowerContext, o: Operands, node: Node, e: BodyExpr, columns: { readonly first: number; readonly headDim?: number } = { first: 0 }): ElementExpr {
  switch (e.op) {
    case 'acc': case 'constant': return e;
    case 'operand': {
      const n = node.inputs[e.input]!;
      if (e.type.rows) return { op: 'load', view: fromColumn(o.view(n), columns.first) };
      const all = epilogueVectors(node), wanted = JSON.stringify(vectorBlock(n, columns.headDim));
      const offset = all.slice(0, all.findIndex((v) => JSON.stringify(v.block) === wanted)).reduce((sum, v) => sum + v.block.rows, columns.first);
      return { op: 'vector', binding: o.role(ctx.weightRange(vectorIn(ctx, all.map((v) => v.block)))), storage: 'f32', offset };
    }
    case 'mix_experts': return { op: 'mix_experts', from: byPair(o.view(node.inputs[e.x]!), e.top), chosen: o.view(node.inputs[e.chosen]!), scores: o.view(node.inputs[e.scores]!), top: e.top };
    case 'unary': return { op: 'unary', fn: e.fn as never, x: element(ctx, o, node, e.x, columns) };
    default: return { op: e.op, a: element(ctx, o, node, e.a, columns), b: element(ctx, o, node, e.b, columns) };
  }
}

const numberedRows = (n: Node): RowSet => n.type.rows!;
function positions(ctx: LowerContext, o: Operands, n: Node): { binding: string; component: 'position' | 'index' | 'place'; offset: Poly } {
  return { binding: o.role(ctx.dataRange('rows', numberedRows(n).sequence.name)), component: n.attrs['of'] as 'position' | 'index' | 'place', offset: o.known(rowDataOffset(numberedRows(n))) };
}
const resultNode = (g: Graph, fused: Node, index: number): Node => {
  const r = g.nodes.find((n) => n.op === 'result' && n.inputs[0] === fused && n.attrs['index'] === index);
  if (!r) throw new Error(`Nobody reads result ${index} of a fused node in ${fused.path}; dead code should have gone.`);
  return r;
};
const shortName = (tensor: string): string => tensor.replace(/\.weight$/, '').split('.').at(-1)!;
