/** The kernel families of one class of device: how it reads each format of weights, features, and the schedule of every spec. */
import { Poly } from '../ir/poly.ts';
import type { Sequence } from '../ir/rows.ts';
import type { StateFormat } from '../ir/state-format.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { attentionShape, attentionScratch, attentionKernels } from '../wgsl/attention.ts';
import type { AttentionSpec } from '../wgsl/attention.ts';
import { argmaxKernel } from '../wgsl/argmax.ts';
import type { ArgmaxSpec } from '../wgsl/argmax.ts';
import { copyKernel } from '../wgsl/copy.ts';
import type { CopySpec } from '../wgsl/copy.ts';
import type { ElementwiseSpec } from '../wgsl/elementwise.ts';
import { elementwiseKernel, ropeKernel } from '../wgsl/elementwise.ts';
import type { EmbedSpec } from '../wgsl/embed.ts';
import { embedKernel } from '../wgsl/embed.ts';
import type { ExpertsSpec, GroupsSpec } from '../wgsl/experts.ts';
import { expertGroupsKernel, expertTileKernel } from '../wgsl/experts.ts';
import { expertRowKernel } from '../wgsl/experts-row.ts';
import type { GatherSpec } from '../wgsl/gather.ts';
import { gatherKernel } from '../wgsl/gather.ts';
import type { HeldView, Kernel, WeightStorage } from '../wgsl/kernel.ts';
import type { MatmulSpec } from '../wgsl/matmul.ts';
import { matmulKernels, matmulScratch, shapeOf } from '../wgsl/matmul.ts';
import { matvecKernel } from '../wgsl/matvec.ts';
import type { NormSpec } from '../wgsl/norm.ts';
import { normKernel, normShapeOf } from '../wgsl/norm.ts';
import type { StoreHeadsSpec } from '../wgsl/store-heads.ts';
import { storeHeadsKernel } from '../wgsl/store-heads.ts';
import type { SampleSpec } from '../wgsl/sample.ts';
import { sampleKernel } from '../wgsl/sample.ts';
import type { AttentionSchedule } from '../schedule/attention-schedule.ts';
import type { Choice, Chooser } from '../schedule/chooser.ts';
import { tableChooser, usualChooser } from '../schedule/chooser.ts';
import type { DeviceClass, DeviceFacts } from '../schedule/device-facts.ts';
import { defaultLimits, leastFacts } from '../schedule/device-facts.ts';
import type { MatvecSchedule } from '../schedule/matvec-schedule.ts';
import { inOneWorkgroup } from '../schedule/matvec-schedule.ts';
import { normApart } from '../schedule/norm-schedule.ts';
import type { Arithmetic } from '../schedule/product-shape.ts';
import type { ScheduleTable } from '../schedule/table.ts';
import { adapterName, factsOfTable } from '../schedule/table.ts';
import type { FamilyName, Schedule, Wanted } from '../schedule/wanted.ts';
import { fewRows, kernelFamilies, scheduleText, wantedAttention, wantedNorm, wantedProduct } from '../schedule/wanted.ts';
import { expertRow, expertTile } from '../schedule/experts-schedule.ts';
import type { TopKSpec } from '../wgsl/top-k.ts';
import { topKKernel } from '../wgsl/top-k.ts';
import { tilesDim } from './operands.ts';
import type { TargetOptions } from './target.ts';

export type { DeviceClass } from '../schedule/device-facts.ts';
type Writable = ReadonlySet<string>;

/** What lowering asks of the kernel families. `writable`: bindings that must be read_write whatever the kernel does. */
export interface Families {
  /** Fields of the dims uniform. */
  readonly dims: readonly string[];
  /** How kernels see weights of a format. */
  storageOf(format: WeightFormat): WeightStorage;
  /** How kernels see rows of a state of a format. */
  heldAs(format: StateFormat): HeldView['storage'];
  /** The coarsest operands that products may be computed with; absent: no coarser than their weights. */
  readonly arithmetic?: Arithmetic;
  matmul(spec: MatmulSpec, writable: Writable): Kernel[];
  /** The product, and the numbers of the largest entries of its one result: one kernel where a workgroup has all of a row. */
  matmulChoosing(spec: MatmulSpec, choice: TopKSpec, writable: Writable): Kernel[];
  /** A kernel over the bindings of `matmul`'s one kernel that is better for few rows, if there is one. */
  matmulFew(spec: MatmulSpec, writable: Writable): { readonly rows: number; readonly kernel: Kernel } | undefined;
  /** f32 elements of scratch memory that the product needs. */
  matmulScratch(spec: MatmulSpec): number;
  /** Whether a norm in front of this product is better a kernel of its own. */
  normApart(spec: MatmulSpec): boolean;
  attention(spec: AttentionSpec, writable: Writable): Kernel[];
  attentionSchedule(spec: AttentionSpec): AttentionSchedule;
  /** f32 elements of scratch memory that the attention needs. */
  attentionScratch(spec: AttentionSpec): number;
  elementwise(spec: ElementwiseSpec, writable: Writable): Kernel;
  norm(spec: NormSpec, writable: Writable): Kernel;
  embed(spec: EmbedSpec, writable: Writable): Kernel;
  argmax(spec: ArgmaxSpec, writable: Writable): Kernel;
  sample(spec: SampleSpec, writable: Writable): Kernel;
  copy(spec: CopySpec, writable: Writable): Kernel;
  storeHeads(spec: StoreHeadsSpec, writable: Writable): Kernel;
  gather(spec: GatherSpec, writable: Writable): Kernel;
  topK(spec: TopKSpec, writable: Writable): Kernel;
  /** Sorts the pairs of rows and choices by expert, for products of more rows than one. */
  expertGroups(spec: GroupsSpec, writable: Writable): Kernel;
  experts(spec: ExpertsSpec, writable: Writable): Kernel;
  rope(spec: Parameters<typeof ropeKernel>[0], writable: Writable): Kernel;
}

/** Dims of the uniform: new and context rows of every kind that varies, the tiles seen if there are such, then the number of key spans of each sequence. */
export const dimsOf = (sequences: readonly Sequence[], tiled = false): string[] => {
  const variables = [...new Set(sequences.flatMap((s) => s.kinds.flatMap((k) => k.count.variables)))];
  return [...variables, ...variables.map((v) => `C${v}`), ...(tiled ? [tilesDim] : []), ...sequences.map((s) => `spans_${s.name}`)];
};

/** Kernels that were made for a piece of work, and how to make others for it: what a tuner measures. */
export interface Made<F extends FamilyName = FamilyName> {
  readonly wanted: Wanted<F>;
  readonly choice: Choice<F>;
  readonly kernels: readonly Kernel[];
  /** The same work by another schedule, over the same bindings; what it needs of `scratchBinding` besides, in f32 elements. */
  again(schedule: Schedule<F>): { readonly kernels: readonly Kernel[]; readonly scratch: number };
}
export const scratchBinding = 'tuned_scratch';

/** Whom kernels are for, and who chooses their schedules. */
export interface Choosing {
  readonly facts: DeviceFacts;
  readonly chooser: Chooser;
  /** Every dim in a usual prompt. */
  readonly usual: Readonly<Record<string, number>>;
  readonly arithmetic?: Arithmetic;
  readonly onMade?: (made: Made) => void;
}

function families({ facts, chooser, usual, arithmetic, onMade }: Choosing, half: 'f16' | 'f16x2', dims: readonly string[]): Families {
  const options = (readWrite: Writable) => ({ dims, features: facts.features, readWrite });
  const made = <F extends FamilyName>(m: Made<F>): readonly Kernel[] => { onMade?.(m as unknown as Made); return m.kernels; };
  const wantedOf = (spec: AttentionSpec) => wantedAttention(attentionShape(spec), spec.qRows.at(usual), keyRows(spec).at(usual), typeof spec.k.storage === 'string' ? spec.k.storage : spec.k.storage.kind);
  const schedule = (spec: AttentionSpec) => chooser.choose(wantedOf(spec), facts);
  const matmul: Families['matmul'] = (spec, w) => {
    const wanted = wantedProduct(shapeOf(spec), spec.rows.at(usual));
    if (wanted.family === 'matvec') {
      const choice = chooser.choose(wanted, facts);
      return [...made({ wanted, choice, kernels: [matvecKernel(spec, choice.schedule, options(w))], again: (s) => ({ kernels: [matvecKernel(spec, s, options(w))], scratch: 0 }) })];
    }
    const choice = chooser.choose(wanted, facts), { scratch: _, ...plain } = spec;
    return [...made({
      wanted, choice, kernels: matmulKernels(spec, choice.schedule, options(w)),
      again: (s) => {
        const scratch = matmulScratch(plain, s), whole: MatmulSpec = scratch ? { ...plain, scratch: { binding: scratchBinding, storage: 'f32', stride: 4, offset: Poly.zero } } : plain;
        return { kernels: matmulKernels(whole, s, options(new Set([...w, scratchBinding]))), scratch };
      },
    })];
  };
  return {
    dims, ...(arithmetic ? { arithmetic } : {}), storageOf: (format) => (format.kind === 'f32' ? 'f32' : format.kind === 'f16' ? half : format),
    heldAs: (format) => (format.kind === 'f32' ? 'f32' : format.kind === 'f16' ? half : format),
    matmul,
    matmulChoosing: (spec, largest, w) => {
      const wanted = wantedProduct(shapeOf(spec), spec.rows.at(usual));
      if (wanted.family !== 'matvec') return [...matmul(spec, w), topKKernel(largest, options(w))];
      const by = (s: MatvecSchedule): Kernel[] => {
        const whole = inOneWorkgroup(s, wanted.shape, facts);
        return whole ? [matvecKernel(spec, whole, options(w), largest)] : [matvecKernel(spec, s, options(w)), topKKernel(largest, options(w))];
      };
      const choice = chooser.choose(wanted, facts);
      return [...made({ wanted, choice, kernels: by(choice.schedule), again: (s) => ({ kernels: by(s), scratch: 0 }) })];
    },
    matmulFew: (spec, w) => {
      const wanted = wantedProduct(shapeOf(spec), fewRows / 2);
      if (spec.rows.isConstant || wanted.family === 'matvec' || spec.rows.at(usual) <= fewRows) return undefined;
      const usually = chooser.choose(wantedProduct(shapeOf(spec), spec.rows.at(usual)) as typeof wanted, facts).schedule, few = chooser.choose(wanted, facts).schedule;
      if (scheduleText(few) === scheduleText(usually) || matmulScratch(spec, usually) || matmulScratch(spec, few)) return undefined;
      const [[many], [kernel]] = [matmulKernels(spec, usually, options(w)), matmulKernels(spec, few, options(w))] as [Kernel[], Kernel[]];
      // They share a bind group, so they must bind the same in the same order.
      return JSON.stringify(many!.bindings) === JSON.stringify(kernel!.bindings) ? { rows: fewRows, kernel: kernel! } : undefined;
    },
    matmulScratch: (spec) => {
      const wanted = wantedProduct(shapeOf(spec), spec.rows.at(usual));
      return wanted.family === 'matvec' ? 0 : matmulScratch(spec, chooser.choose(wanted, facts).schedule);
    },
    normApart: (spec) => normApart(spec.rows.constant()),
    attentionSchedule: (spec) => schedule(spec).schedule,
    attention: (spec, w) => {
      const choice = schedule(spec), { scratch: _, ...plain } = spec;
      return [...made({
        wanted: wantedOf(spec), choice, kernels: attentionKernels(spec, choice.schedule, options(w), facts),
        again: (s) => {
          const scratch = attentionScratch(plain, s), whole: AttentionSpec = scratch ? { ...plain, scratch: { binding: scratchBinding, storage: 'f32', stride: 4, offset: Poly.zero } } : plain;
          return { kernels: attentionKernels(whole, s, options(new Set([...w, scratchBinding])), facts), scratch };
        },
      })];
    },
    attentionScratch: (spec) => attentionScratch(spec, schedule(spec).schedule),
    elementwise: (spec, w) => elementwiseKernel(spec, options(w)),
    norm: (spec, w) => {
      const wanted = wantedNorm(normShapeOf(spec), spec.rows.at(usual)), choice = chooser.choose(wanted, facts);
      return made({ wanted, choice, kernels: [normKernel(spec, choice.schedule, options(w))], again: (s) => ({ kernels: [normKernel(spec, s, options(w))], scratch: 0 }) })[0]!;
    },
    embed: (spec, w) => embedKernel(spec, options(w)),
    argmax: (spec, w) => argmaxKernel(spec, options(w)),
    sample: (spec, w) => sampleKernel(spec, options(w)),
    copy: (spec, w) => copyKernel(spec, options(w)),
    storeHeads: (spec, w) => storeHeadsKernel(spec, options(w)),
    gather: (spec, w) => gatherKernel(spec, options(w)),
    topK: (spec, w) => topKKernel(spec, options(w)),
    expertGroups: (spec, w) => expertGroupsKernel(spec, options(w), facts.class === 'gpu' ? 256 : 16),
    experts: (spec, w) => (spec.rows.constant() === 1 ? expertRowKernel(spec, expertRow(facts.class, spec.linears, spec.scores !== undefined), options(w)) : expertTileKernel(spec, expertTile(facts.class, spec.linears), options(w))),
    rope: (spec, w) => ropeKernel(spec, options(w)),
  };
}

/** Rows that an attention may read as keys, new and old. */
const keyRows = ({ sequence, keyKinds }: AttentionSpec): Poly => Poly.sum(sequence.kinds.filter((k) => keyKinds.includes(k.name)).map((k) => k.count));

/** The prompt that schedules are chosen for: kernels run for any, and are best for those like it. */
export interface UsualPrompt { readonly visual: number; readonly text: number }
export const usualPrompt: UsualPrompt = { visual: 576, text: 64 };

const usualDims = (sequences: readonly Sequence[], { visual, text }: UsualPrompt): Record<string, number> =>
  Object.fromEntries([[tilesDim, 1], ...sequences.flatMap((s) => s.kinds.flatMap((k) => k.count.variables.flatMap((v) => [[v, k.media ? visual : text], [`C${v}`, k.media ? visual : text]])))]) as Record<string, number>;

export interface FamilyOptions {
  /** Device classes to make targets for; all by default. */
  readonly devices?: readonly DeviceClass[];
  /** Towers run tile by tile. */
  readonly tiled?: boolean;
  /** Measured schedules: each table makes a target of its own, for its adapter, whatever `devices` says. */
  readonly tables?: readonly ScheduleTable[];
  readonly prompt?: UsualPrompt;
  /** The coarsest operands that products may be computed with; by default no coarser than their weights. */
  readonly arithmetic?: Arithmetic;
  readonly onMade?: (made: Made, target: string) => void;
}

/**
 * The targets of a bundle whose weight matrices have these formats: every class of device, GPUs with and without `subgroups`, and
 * for f16 devices with and without `shader-f16`; then each table's adapter, with the best of what it has. Of two that a
 * device can run the better stands first. Quantised rows are words, which all devices read alike.
 */
export function familiesFor(formats: Iterable<WeightFormat>, sequences: readonly Sequence[], { devices = ['gpu', 'software'], tiled = false, tables = [], prompt = usualPrompt, arithmetic, onMade }: FamilyOptions = {}): TargetOptions[] {
  const dims = dimsOf(sequences, tiled), usual = usualDims(sequences, prompt), found = new Set([...formats].map((f) => f.kind)), kinds = (['int4', 'int8', 'f16', 'f32'] as const).filter((k) => found.has(k));
  const halves = found.has('f16') ? [['f16', ['shader-f16'], ''], ['f16x2', [], '-packed']] as const : [['f16x2', [], '']] as const;
  const target = ([half, features, ending]: (typeof halves)[number], facts: DeviceFacts, chooser: Chooser, suffix = ''): TargetOptions => {
    const name = `${facts.class}-${kinds.join('-') || 'f32'}${ending}${suffix}`;
    return { name, device: facts.class, features, families: families({ facts, chooser, usual, ...(arithmetic ? { arithmetic } : {}), ...(onMade ? { onMade: (m) => onMade(m, name) } : {}) }, half, dims) };
  };
  return [
    ...halves.flatMap((half) => devices.flatMap((device) => [
      // Sums that meet in subgroups are right for subgroups of any size; the kernels that use them say so.
      ...(device === 'gpu' ? [{ ...target(half, leastFacts(device, [...half[1], 'subgroups']), usualChooser, '-subgroups'), refines: true }] : []),
      target(half, leastFacts(device, half[1]), usualChooser),
    ])),
    ...tables.map((table, i, all): TargetOptions => {
      const facts = factsOfTable(table), half = halves.find(([, features]) => features.every((f) => facts.features.has(f)))!;
      const number = all.slice(0, i).filter((t) => adapterName(t.adapter) === adapterName(table.adapter)).length;
      const least = { ...facts, limits: defaultLimits }, chooser = tableChooser(table);
      let modest = true;
      const watched: Chooser = { choose: (wanted, of) => {
        const choice = chooser.choose(wanted, of);
        modest &&= kernelFamilies[wanted.family].whyNot(choice.schedule, wanted.shape, least) === undefined;
        return choice;
      } };
      return { ...target(half, facts, watched, `@${adapterName(table.adapter)}${number ? `-${number + 1}` : ''}`), table, refines: true, modest: () => modest };
    }),
  ];
}
