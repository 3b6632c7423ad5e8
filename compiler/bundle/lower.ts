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
import { rowCount, rowSet } from '../ir/rows.ts';
import { printStateFormat, stateFormatOf } from '../ir/state-format.ts';
import { rowElements, sameType } from '../ir/types.ts';
import type { MemoryPlan } from '../schedule/memory.ts';
import { isVirtual, rowsBefore } from '../schedule/memory.ts';
import type { Kernel, View } from '../wgsl/kernel.ts';
import { readElementwise } from './body.ts';
import type { Families } from './families.ts';
import type { AttentionDecl } from '../../runtime/manifest.ts';
import { attentionDecl } from './executed.ts';
import type { RowNumbers } from '../wgsl/expr.ts';
import type { AttentionSpec } from '../wgsl/attention.ts';
import { lowerExperts } from './lower-experts.ts';
import { lowerProduct } from './lower-product.ts';
import { element, positions, scratchView, vectorOf } from './lower-values.ts';
import type { Capacities, EntryDims, Range } from './operands.ts';
import { Operands, plainView, regionStart, rowDataOffset } from './operands.ts';
import type { Block, PackedView, Packing } from './packing.ts';

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

/** Makes steps of kernels, bound to the operands that they were made for. */
type Finish = (o: Operands, kernels: readonly Kernel[], label?: string) => Omit<Step, 'main'>[];
/** What the lowering of one node is given: operands of a kernel to be made, and how it becomes a step. */
export interface LowerTools { operands(): Operands; readonly finish: Finish }

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

  if (node.op === 'fused' && node.attrs['family'] === 'matmul') return lowerProduct(ctx, node, { operands, finish });
  if (node.op === 'fused' && node.attrs['family'] === 'experts') return lowerExperts(ctx, node, { operands, finish });

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

