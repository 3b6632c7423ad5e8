/**
 * What a staged program costs, entry point by entry point: `vision` for all images of a prompt (`tile` for all their tiles),
 * `prefill` for the prompt, `decode` for `G` tokens after it. Every amount is a polynomial in the dims of the prompt (`V`,
 * `T`), in `images`, `tiles` and `G`.
 *
 * The conversation is a fresh one: what a step finds in the states is what the steps before it have put there. So context
 * dims disappear: `prefill` finds `CV = V` and `CT = T` rows, and the i-th step of `decode` finds `CT = T + i`. The steps of
 * `decode` are summed in closed form. `G` counts steps: the first token of an answer comes out of `prefill`, and each
 * token that is read back is one step.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { Poly } from '../ir/poly.ts';
import type { Program } from '../ir/program.ts';
import type { Sequence } from '../ir/rows.ts';
import type { Convention } from './conventions.ts';
import type { Sizes } from './formula.ts';
import type { MemoryRule, Step } from './memory-rules.ts';
import type { OpCost } from './op-cost.ts';
import { opCosts } from './op-cost.ts';
import type { OpenPairs } from './pairs.ts';
import { openPairs } from './pairs.ts';
import type { Dims } from './resolve.ts';
import { countOpen } from './resolve.ts';
import { sumOver } from './sums.ts';
import { mapCounts } from './work.ts';

/** Sizes of a prompt, and how many tokens are decoded after it; none by default. */
export interface RunSizes extends Sizes { readonly generate?: number }

export interface ProgramCostOptions {
  /** What goes through memory, and how wide: by default each op's operands and result, as wide as their types say. */
  readonly memory?: MemoryRule;
}

export class ProgramCost {
  /** Ops of every entry point, in the order in which they run. Decode's are the sums over `G` steps. */
  readonly ops: readonly OpCost[];
  /** Names of the entry points, in order. */
  readonly entries: readonly string[];
  /** Pairs that a mask decides, by the dim that stands for their number, with the dims at which they are counted. */
  private readonly open = new Map<string, { readonly pairs: OpenPairs; readonly at: (dims: Dims) => Dims }>();

  constructor(readonly program: Program, readonly convention: Convention, { memory }: ProgramCostOptions = {}) {
    const held = new Set<string>();
    this.entries = [...program.graphs.keys()];
    this.ops = [...program.graphs].flatMap(([entry, g]) => {
      const run = runOf(entry, g);
      // A convention that takes whole rectangles asks no mask.
      if (convention.pairs === 'admitted') for (const n of g.nodes) if (n.op === 'attention') for (const p of openPairs(n, g)) this.open.set(run.openDim(p.dim), { pairs: run.asked(p), at: run.at });
      const step = ({ flops, traffic: t }: Step): Step =>
        ({ flops: run.counted(convention) ? run.closed(flops) : Poly.zero, traffic: { weights: run.closed(t.weights).mul(run.times), read: run.closed(t.read), written: run.closed(t.written) } });
      return opCosts(g, convention, { entry, held, ...(memory && { memory }) })
        .map((op) => ({ ...op, ...step(op), counts: mapCounts(op.counts, run.closed), ...(op.steps && { steps: op.steps.map(step) }) }));
    });
  }

  /** Values of all dims at given sizes, those that masks decide included; polynomials of `ops` are evaluated at them. */
  dims({ dims, images = 1, tiles = images, generate = dims['G'] === undefined ? 0 : Number(dims['G']) }: RunSizes): Dims {
    const all: Dims = { ...dims, G: generate, images, tiles };
    return { ...all, ...Object.fromEntries([...this.open].map(([dim, { pairs, at }]) => [dim, countOpen(pairs, at(all), images)])) };
  }
}

/** The cost of a program under a convention. A fused program gives what its kernels move; one op a kernel, otherwise. */
export const programCost = (program: Program, convention: Convention, options: ProgramCostOptions = {}): ProgramCost =>
  new ProgramCost(program, convention, options);

/** How an entry point runs: once for the prompt, or `G` times with a growing context. */
interface Run {
  /** The amount of all its steps, in dims of the prompt. */
  closed(p: Poly): Poly;
  /** How often it runs for that amount, and so reads its weights. */
  readonly times: Poly;
  /** False if its rows are of a kind that the convention does not count. */
  counted(c: Convention): boolean;
  /** The dim that stands for pairs that a mask decides, summed over the steps. */
  openDim(dim: string): string;
  /** Pairs that have as many elements as those of all steps together. */
  asked(p: OpenPairs): OpenPairs;
  /** Dims of the graph at dims of the prompt, for counting these pairs. */
  at(dims: Dims): Dims;
}

const runOf = (entry: string, g: Graph): Run => {
  const token = generatedDim(g), variables = variablesOf(g.sequences.values());
  return entry === 'decode' && token !== undefined ? steps(token, variables) : once(variables, Poly.of(runsFor[entry] ?? 1));
};

/** The dim of the rows that decode computes one of. */
function generatedDim(g: Graph): string | undefined {
  const rows = [...g.inputs.values(), ...g.nodes].find((n: Node) => n.type.rows?.last)?.type.rows;
  return rows && rows.sequence.kinds.find((k) => k.name === rows.kinds[0])!.count.variables[0];
}
const variablesOf = (sequences: Iterable<Sequence>): string[] =>
  [...new Set([...sequences].flatMap((s) => s.kinds.flatMap((k) => k.count.variables)))];

/** Polynomials repeat from layer to layer; each is worked out once. */
function remembered(f: (p: Poly) => Poly): (p: Poly) => Poly {
  const known = new Map<string, Poly>();
  return (p) => {
    const text = p.toString(), old = known.get(text) ?? f(p);
    known.set(text, old);
    return old;
  };
}

/** The dim that says how often an entry point runs for a prompt; others run once. */
const runsFor: Readonly<Record<string, Poly>> = { tile: Poly.dim('tiles'), vision: Poly.dim('images') };

function once(variables: readonly string[], times: Poly): Run {
  const context = Object.fromEntries(variables.map((v) => [`C${v}`, Poly.dim(v)]));
  return {
    times, closed: remembered((p) => p.substitute(context)), counted: () => true, openDim: (dim) => dim, asked: (p) => p,
    at: (dims) => ({ ...dims, ...Object.fromEntries(variables.map((v) => [`C${v}`, dims[v] ?? 0])) }),
  };
}

/**
 * One new row of `token` a step, no other new row. No query reads a row that is generated after it (mask analysis proves it),
 * so the pairs of all `G` steps are those of one step with `G` new rows.
 */
function steps(token: string, variables: readonly string[]): Run {
  const G = Poly.dim('G'), step = 'step';
  const context = Object.fromEntries(variables.flatMap((v) => (v === token
    ? [[v, Poly.of(1)], [`C${v}`, Poly.dim(v).add(Poly.dim(step))]] : [[v, Poly.zero], [`C${v}`, Poly.dim(v)]])));
  const openDim = (dim: string): string => dim.replace(/\)$/, ':G)');
  return {
    openDim, times: Poly.of(1), counted: (c) => !c.absent?.includes(token),
    closed: remembered((p) => {
      const open = p.variables.filter((v) => v.startsWith('pairs('));
      const rest = p.substitute({ ...context, ...Object.fromEntries(open.map((v) => [v, 0])) });
      const ofEach = open.map((v) => p.sub(p.substitute({ [v]: 0 })).substitute({ [v]: Poly.dim(openDim(v)) }));
      return sumOver(rest, step, G).add(Poly.sum(ofEach));
    }),
    asked: (p) => ({ ...p, query: { ...p.query, last: false } }),
    at: (dims) => ({ ...dims, ...Object.fromEntries(variables.flatMap((v) => (v === token
      ? [[v, dims['G']!], [`C${v}`, BigInt(dims[v] ?? 0) + BigInt(dims['G']!)]] : [[v, 0], [`C${v}`, dims[v] ?? 0]]))) }),
  };
}
