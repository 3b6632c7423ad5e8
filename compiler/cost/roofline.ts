/**
 * How long a device takes at best: of every kernel the longer of its FLOPs at the device's peak and its bytes at its
 * bandwidth, one kernel after another (Williams, Waterman and Patterson, Roofline, CACM 2009).
 *
 * For one's own rule of what goes through memory, make the ProgramCost with it (memory-rules.ts). Of an attention whose
 * scores go to memory each of the three steps is a kernel. Decode is a sum over its steps, each with its own context.
 */
import { Poly } from '../ir/poly.ts';
import type { DeviceProfile, MathType } from './device-profiles.ts';
import { peakOf } from './device-profiles.ts';
import type { OpCost } from './op-cost.ts';
import type { ProgramCost, RunSizes } from './program-cost.ts';
import type { Dims } from './resolve.ts';
import { movedBytes } from './traffic.ts';

export type Bound = 'compute' | 'memory';

/** One kernel, all its runs together: decode's over all steps. */
export interface KernelTime {
  readonly entry: string;
  /** The linear maps that it computes (`gate_proj+up_proj`), or its ops. */
  readonly name: string;
  readonly ops: readonly OpCost[];
  readonly flops: number;
  readonly bytes: number;
  readonly seconds: number;
  /** What bounds most of it. */
  readonly bound: Bound;
}

export interface OpTime {
  readonly op: OpCost;
  /** The op's share of its kernel's time: of the FLOPs or of the bytes, whichever bounds the kernel. */
  readonly seconds: number;
  readonly bound: Bound;
}

export interface Roofline {
  readonly profile: DeviceProfile;
  readonly math: MathType;
  readonly kernels: readonly KernelTime[];
  readonly ops: readonly OpTime[];
  readonly seconds: number;
}

export interface RooflineOptions {
  /** The arithmetic whose peak is taken; `f16` by default, which the vendors' figures for matrix units are about. */
  readonly math?: MathType;
  /** Only these ops, such as those of one entry point; all by default. A kernel's ops belong together. */
  readonly ops?: Iterable<OpCost>;
}

/** Throws a UserError where the profile has no peak for the arithmetic. */
export function rooflineTime(cost: ProgramCost, profile: DeviceProfile, sizes: RunSizes, { math = 'f16', ops = cost.ops }: RooflineOptions = {}): Roofline {
  const timer = new Timer(cost, sizes, peakOf(profile, math), profile.bandwidth), kernels = new Map<string, OpCost[]>();
  for (const op of ops) {
    const key = `${op.entry} ${op.kernel}`, kernel = kernels.get(key);
    if (kernel) kernel.push(op); else kernels.set(key, [op]);
  }
  const times = [...kernels.values()].map((kernel) => timer.ofKernel(kernel));
  return { profile, math, kernels: times, ops: times.flatMap((t) => timer.shares(t)), seconds: times.reduce((s, t) => s + t.seconds, 0) };
}

/** Numbers of 4 bits may make half a byte. */
const numberAt = (p: Poly, dims: Dims): number => Number(p.mul(8).nearest(dims)) / 8;

function labelOf(ops: readonly OpCost[]): string {
  const linear = ops.filter((op) => op.node.op === 'linear').map((op) => op.name);
  return [...new Set(linear.length ? linear : ops.map((op) => op.name))].join('+');
}

interface Work { readonly flops: Poly; readonly bytes: Poly }
interface Timed { readonly seconds: number; readonly bound: Bound }

class Timer {
  /** Dims after so many steps of decode. */
  private readonly dims = new Map<number, Dims>();
  /** Layers are alike: times by what the work is. */
  private readonly known = new Map<string, Timed>();
  private readonly steps: number;
  constructor(private readonly cost: ProgramCost, private readonly sizes: RunSizes, private readonly peak: number, private readonly bandwidth: number) {
    this.steps = Number(cost.dims(sizes)['G']);
  }

  ofKernel(ops: readonly OpCost[]): KernelTime {
    const { entry } = ops[0]!, all: Work = { flops: Poly.sum(ops.map((op) => op.flops)), bytes: Poly.sum(ops.map((op) => movedBytes(op.traffic))) };
    const steps = ops.length === 1 && ops[0]!.steps ? ops[0]!.steps.map((s): Work => ({ flops: s.flops, bytes: movedBytes(s.traffic) })) : [all];
    const times = steps.map((w) => this.of(w, entry === 'decode'));
    return {
      entry, name: labelOf(ops), ops, flops: this.value(all.flops, this.steps), bytes: this.value(all.bytes, this.steps),
      seconds: times.reduce((s, t) => s + t.seconds, 0), bound: times.reduce((a, t) => (t.seconds > a.seconds ? t : a)).bound,
    };
  }

  shares({ ops, seconds, bound }: KernelTime): OpTime[] {
    const amounts = ops.map((op) => this.value(bound === 'compute' ? op.flops : movedBytes(op.traffic), this.steps)), all = amounts.reduce((a, b) => a + b, 0);
    return ops.map((op, i) => ({ op, seconds: all ? (seconds * amounts[i]!) / all : 0, bound }));
  }

  private of(w: Work, decodes: boolean): Timed {
    const key = `${decodes} ${w.flops.toString()} ${w.bytes.toString()}`, old = this.known.get(key);
    if (old) return old;
    const end = (s: number): [number, number] => [this.value(w.flops, s) / this.peak, this.value(w.bytes, s) / this.bandwidth];
    const total = end(this.steps), bound: Bound = total[0] >= total[1] ? 'compute' : 'memory';
    const time = { seconds: decodes && this.steps > 1 ? this.over(end, 0, this.steps) : Math.max(...total), bound };
    this.known.set(key, time);
    return time;
  }

  /**
   * Steps after `from` up to `to`. What bounds the first and the last of them bounds all between, since both amounts grow evenly
   * with the context; where it changes, the range is halved.
   */
  private over(end: (step: number) => [number, number], from: number, to: number): number {
    const [a, b, c, d] = [from, from + 1, to - 1, to].map(end) as [[number, number], [number, number], [number, number], [number, number]];
    const first = b[0] - a[0] >= b[1] - a[1], last = d[0] - c[0] >= d[1] - c[1];
    if (first === last || to - from === 1) return first ? d[0] - a[0] : d[1] - a[1];
    const middle = Math.floor((from + to) / 2);
    return this.over(end, from, middle) + this.over(end, middle, to);
  }

  private dimsAfter(steps: number): Dims {
    let dims = this.dims.get(steps);
    if (!dims) this.dims.set(steps, dims = this.cost.dims({ ...this.sizes, generate: steps }));
    return dims;
  }
  private value(p: Poly, steps: number): number { return numberAt(p, this.dimsAfter(steps)); }
}
