/** What `eemllm flops` works out for one variant: FLOPs by its convention; bytes, time and memory of the program that is compiled. */
import type { Convention } from '../../cost/conventions.ts';
import { conventions } from '../../cost/conventions.ts';
import type { DeviceProfile, MathType } from '../../cost/device-profiles.ts';
import type { Cost, CostFormula } from '../../cost/formula.ts';
import type { Amounts, Grouping } from '../../cost/grouping.ts';
import { amountsAt, classSums, groupName, groupOps, sumOf } from '../../cost/grouping.ts';
import type { MemoryNeed } from '../../cost/memory.ts';
import { memoryNeed } from '../../cost/memory.ts';
import type { MemoryRule } from '../../cost/memory-rules.ts';
import type { OpCost } from '../../cost/op-cost.ts';
import type { RunSizes } from '../../cost/program-cost.ts';
import { programCost } from '../../cost/program-cost.ts';
import type { Dims } from '../../cost/resolve.ts';
import type { Roofline } from '../../cost/roofline.ts';
import { rooflineTime } from '../../cost/roofline.ts';
import { settled } from '../../cost/settle.ts';
import { UserError } from '../../ir/errors.ts';
import { bundledWeights } from '../../compile.ts';
import type { StorageOptions } from '../../entries.ts';
import type { Graph } from '../../ir/graph.ts';
import { Poly } from '../../ir/poly.ts';
import type { Program } from '../../ir/program.ts';
import { program } from '../../ir/program.ts';
import { compiledProgram, countedProgram, fuseProgram } from '../../../passes/cost-program.ts';
import { costFormula, counted } from '../../../passes/flops.ts';

/** `class` groups work by what is counted, the others by op. */
export type By = Grouping | 'class';
export const bys = ['part', 'op', 'layer', 'entry', 'class'] as const satisfies readonly By[];

export interface Asked {
  readonly sizes: RunSizes;
  readonly convention: Convention;
  readonly by: By;
  readonly memory: MemoryRule;
  /** How weights, keys and values are stored. */
  readonly stored: StorageOptions;
  /** Work out what the weights take in a bundle, which takes as long as compiling. */
  readonly measured?: boolean;
  readonly device?: { readonly profile: DeviceProfile; readonly math: MathType };
}

/** Bytes that kernels move. */
export type Bytes = Omit<Amounts<bigint>, 'flops'>;
export interface GroupCost {
  readonly name: string;
  readonly flops: bigint;
  readonly formula: Poly;
  /** Absent for classes of count: bytes belong to ops. */
  readonly bytes?: Bytes;
}
export interface VariantCost {
  readonly name: string;
  readonly formula: CostFormula;
  /** FLOPs of the prompt and of the tokens after it. */
  readonly cost: Cost<bigint>;
  /** FLOPs of each part over all decoded tokens, in `V`, `T` and `G`; absent if none are asked for. */
  readonly decode?: Cost<Poly>;
  readonly groups: readonly GroupCost[];
  readonly bytes: Bytes;
  readonly roofline?: Roofline;
  /** Seconds by the groups of the table; by op, of kernels, which run several ops at once. */
  readonly times?: ReadonlyMap<string, number>;
  readonly need?: MemoryNeed;
  /** Bytes of the weights in a bundle, where they were asked for and the model can be compiled. */
  readonly bundle?: bigint;
  /** Why the model has no entry points, where it has none: its cost is then that of one pass over the prompt. */
  readonly unstaged?: string;
}

export function variantCost(name: string, model: Graph, asked: Asked): VariantCost {
  const { sizes, convention, by, memory, device } = asked, generate = sizes.generate ?? 0;
  const formula = costFormula(model, convention), prompt = programCost(program([formula.graph]), formula.convention);
  const compiled = compiledOf(model, asked.stored, by === 'entry'), kernels = programCost(compiled.program, conventions['exact']!, { memory });
  const wantsEntries = by === 'entry' || generate > 0;
  if (wantsEntries && compiled.reason !== undefined) throw new UserError(`${name} has no entry points, so neither --by entry nor --generate can be answered: ${compiled.reason}`);
  const staged = wantsEntries ? programCost(countedProgram(model, convention), settled(convention, model)) : undefined;
  const dims: Dims = { ...prompt.dims(sizes), ...staged?.dims(sizes) };
  const decodeOps = generate ? staged!.ops.filter((op) => op.entry === 'decode') : [];
  const decode = generate ? split(decodeOps, formula.convention) : undefined;
  const roofline = device && rooflineTime(kernels, device.profile, sizes, { math: device.math });
  const ops = by === 'entry' ? withoutIdleDecode(staged!.ops, generate) : [...prompt.ops, ...decodeOps];
  const { flops: _, ...bytes } = amountsAt(sumOf(kernels.ops), kernels.dims(sizes));
  return {
    name, formula, cost: added(formula.at(sizes), decode, dims), ...(decode && { decode }), bytes,
    groups: groupsOf(by, ops, dims, formula.convention, kernels.ops, kernels.dims(sizes)),
    ...(roofline && { roofline, times: timesBy(by, roofline) }), ...(device && !compiled.reason && { need: memoryNeed(kernels.program, sizes, memory.storage) }),
    ...(asked.measured && !compiled.reason && { bundle: bundledWeights(model, asked.stored) }),
    ...(compiled.reason !== undefined && { unstaged: compiled.reason }),
  };
}

/** The program as it is compiled; one of a single pass over the prompt, and the reason, where the model has no entry points. */
function compiledOf(model: Graph, stored: StorageOptions, apart: boolean): { program: Program; reason?: string } {
  try {
    return { program: compiledProgram(model, stored, { apart }) };
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    return { program: fuseProgram(program([counted(model, conventions['exact']!)])), reason: e.message };
  }
}

/** No token is decoded: decode has run no step. */
const withoutIdleDecode = (ops: readonly OpCost[], generate: number): OpCost[] => ops.filter((op) => generate || op.entry !== 'decode');

/** FLOPs of ops by part, and in the decoder those of scores apart. Every other row of a decoded token is text. */
function split(ops: readonly OpCost[], { total }: Convention): Cost<Poly> {
  const of = (part: string, scores?: boolean): Poly => Poly.sum(ops.filter((op) => op.part === part && (scores === undefined || (op.node.op === 'attention') === scores)).map((op) => op.flops));
  const parts = { vision: of('vision'), projector: of('projector'), decoder: of('decoder'), head: of('head') };
  return { parts, decoder: { visual: Poly.zero, text: of('decoder', false), scores: of('decoder', true) }, total: Poly.sum(total.map((p) => parts[p])) };
}

/** The prompt's FLOPs with those of decode. */
function added(a: Cost<bigint>, b: Cost<Poly> | undefined, dims: Dims): Cost<bigint> {
  if (!b) return a;
  const sum = <K extends string>(x: Readonly<Record<K, bigint>>, y: Readonly<Record<K, Poly>>): Record<K, bigint> =>
    Object.fromEntries((Object.keys(x) as K[]).map((k) => [k, x[k] + y[k].nearest(dims)])) as Record<K, bigint>;
  return { parts: sum(a.parts, b.parts), decoder: sum({ ...a.decoder }, { ...b.decoder }), total: a.total + b.total.nearest(dims) };
}

function groupsOf(by: By, ops: readonly OpCost[], dims: Dims, convention: Convention, kernels: readonly OpCost[], kernelDims: Dims): GroupCost[] {
  if (by === 'class') return classSums(ops, convention).map(({ name, flops }) => ({ name, flops: flops.nearest(dims), formula: flops }));
  const moved = new Map(groupOps(kernels, by).map(({ name, amounts }) => {
    const { flops: _, ...bytes } = amountsAt(amounts, kernelDims);
    return [name, bytes];
  }));
  const counted = groupOps(ops, by).map(({ name, amounts: { flops } }) => ({ name, flops: flops.nearest(dims), formula: flops, bytes: moved.get(name) ?? none }));
  // Some ops come with the entry points, and only move bytes: a store into the cache.
  const known = new Set(counted.map((g) => g.name)), idle = [...moved].filter(([name, b]) => !known.has(name) && sumOfBytes(b) > 0n);
  return [...counted, ...idle.map(([name, bytes]) => ({ name, flops: 0n, formula: Poly.zero, bytes }))];
}
export const sumOfBytes = (b: Bytes): bigint => b.weights + b.read + b.written;
const none: Bytes = { weights: 0n, read: 0n, written: 0n };

/** Seconds by group; ops of one kernel run together, so by op they are those of kernels. */
function timesBy(by: By, { kernels }: Roofline): Map<string, number> {
  const times = new Map<string, number>();
  for (const { ops, name, seconds } of kernels) {
    // A kernel belongs where most of its work is.
    const main = ops.find((op) => op.node.op === 'linear') ?? ops[0]!, group = by === 'op' ? `${main.part} ${name}` : by === 'class' ? undefined : groupName[by](main);
    if (group !== undefined) times.set(group, (times.get(group) ?? 0) + seconds);
  }
  return times;
}
