/** Everything that a report tells of a model: each variant's graphs, formulas and passes, at the sizes that are drawn in detail. */
import type { Convention } from '../cost/conventions.ts';
import { conventions } from '../cost/conventions.ts';
import type { Cost } from '../cost/formula.ts';
import { CostFormula } from '../cost/formula.ts';
import type { DeviceProfile, MathType } from '../cost/device-profiles.ts';
import type { ProgramCost } from '../cost/program-cost.ts';
import { compiled } from '../cost/storage.ts';
import { traffic } from '../cost/traffic.ts';
import { resolvePairs } from '../cost/resolve.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph } from '../ir/graph.ts';
import { Poly } from '../ir/poly.ts';
import { modelCosts } from '../../passes/cost-program.ts';
import { demand } from '../../passes/demand.ts';
import { costFormula } from '../../passes/flops.ts';
import { optimise } from '../../passes/pipeline.ts';
import { pruneByMask } from '../../passes/prune-by-mask.ts';

/** Sizes of a prompt: rows, images, and tiles, the pictures that the vision tower sees. */
export interface PromptSizes { readonly visual: number; readonly text: number; readonly images: number; readonly tiles: number; /** Dims that count rows of towers, where pictures do. */ readonly tower?: Readonly<Record<string, number>> }

/** A graph in numbers. */
export interface Size {
  readonly ops: number;
  /** 2 per multiply-add; every query with every key of an attention, as a kernel without knowledge of the mask computes them. */
  readonly flops: bigint;
  /** What the ops read and write if each runs by itself. */
  readonly bytes: bigint;
}
/** A pass that changed the graph, and what was left after it. */
export interface PassStep { readonly pass: string; readonly before: Size; readonly after: Size }

export interface VariantStudy {
  readonly name: string;
  /** As its author wrote it. */
  readonly written: Graph;
  /** The same with every mask analysed, before anything is pruned. */
  readonly analysed: Graph;
  /** Pruned by what the masks say, before it is asked which rows are read. */
  readonly pruned: Graph;
  /** What the passes before staging leave of it. */
  readonly optimised: Graph;
  readonly passes: readonly PassStep[];
  /** The cost under the report's convention. */
  readonly formula: CostFormula;
  readonly cost: Cost<bigint>;
  /** Its entry points, fused into kernels; why there are none, where the compiler cannot stage this variant. */
  readonly kernels: ProgramCost | string;
}

/** A size of the picture (or prompt) on the axis of a sweep. */
export interface SizePoint extends PromptSizes {
  readonly x: number;
  /** True for sizes that were asked for; the others lie between them. */
  readonly asked: boolean;
  /** In the order of the variants. */
  readonly costs: readonly Cost<bigint>[];
}
export interface SizeSweep {
  /** `side of the picture`, and what its values are in a sentence: `px`, `visual tokens`. */
  readonly axis: string;
  readonly unit: string;
  /** The axis with its unit, where it has one that it does not name itself. */
  readonly label: string;
  readonly points: readonly SizePoint[];
}

export interface Study {
  readonly model: string;
  /** The sizes drawn in detail, and the same in words. */
  readonly sizes: PromptSizes;
  readonly sizesText: string;
  /** True for a model that generates text; a tower by itself does not. */
  readonly answers: boolean;
  readonly convention: Convention;
  /** Tokens that are generated after the prompt, for time and memory. */
  readonly generate: number;
  /** The device of the roofline, and the arithmetic whose peak is taken. */
  readonly device: { readonly profile: DeviceProfile; readonly math: MathType };
  /** The first is the baseline. */
  readonly variants: readonly VariantStudy[];
  readonly bySize: SizeSweep;
  /** The command that makes this report. */
  readonly command: string;
}

/** What a kernel computes that knows nothing of the mask. */
const dense: Convention = { ...conventions['exact']!, pairs: 'rectangle' };

/** Takes a variant through the passes. `written` is its traced graph. */
export function studyVariant(name: string, written: Graph, convention: Convention, sizes: PromptSizes): VariantStudy {
  const dims = { V: sizes.visual, T: sizes.text, tiles: sizes.tiles, ...sizes.tower };
  const known = new Map<Graph, Size>();
  const sizeOf = (g: Graph): Size => {
    let size = known.get(g);
    if (!size) {
      const at = resolvePairs(g, dims, sizes.images), moved = traffic(g);
      size = {
        ops: g.nodes.length, flops: Poly.sum(new CostFormula(g, dense).nodes.map((n) => n.flops)).evaluate(at),
        bytes: moved.weights.add(moved.read).add(moved.written).evaluate(at),
      };
      known.set(g, size);
    }
    return size;
  };
  const passes: PassStep[] = [];
  let before = written, analysed = written, pruned = written;
  const optimised = optimise(written, (pass, after) => {
    if (pass === pruneByMask.name) analysed = before;
    if (pass === demand.name) pruned = before;
    if (after !== before) passes.push({ pass, before: sizeOf(before), after: sizeOf(after) });
    before = after;
  });
  const formula = costFormula(written, convention);
  return {
    name, written, analysed, pruned, optimised, passes, formula, cost: formula.at({ dims: { V: sizes.visual, T: sizes.text, ...sizes.tower }, images: sizes.images, tiles: sizes.tiles }),
    kernels: kernelsOf(written),
  };
}

/** As `eemllm compile` stores it: matrices in f16. */
function kernelsOf(written: Graph): ProgramCost | string {
  try {
    return modelCosts(written, conventions['exact']!, { memory: { storage: compiled.f16 } }).kernels;
  } catch (e) {
    if (e instanceof UserError) return e.message;
    throw e;
  }
}
