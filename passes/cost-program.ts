/** A traced model as the programs whose cost is asked for: cut into entry points, and as it is compiled, fused into kernels. */
import { conventions } from '../compiler/cost/conventions.ts';
import type { Convention } from '../compiler/cost/conventions.ts';
import type { ProgramCostOptions } from '../compiler/cost/program-cost.ts';
import { ProgramCost } from '../compiler/cost/program-cost.ts';
import { settled } from '../compiler/cost/settle.ts';
import type { Graph } from '../compiler/ir/graph.ts';
import type { Program } from '../compiler/ir/program.ts';
import { program } from '../compiler/ir/program.ts';
import type { StateFormatKind } from '../compiler/ir/state-format.ts';
import { byTile } from './by-tile.ts';
import { counted } from './flops.ts';
import { fuse } from './fuse.ts';
import { holdStates } from './hold-states.ts';
import { firstStep, stageProgram } from './pipeline.ts';
import type { QuantiseRules } from './quantise.ts';
import { checkRules, quantise } from './quantise.ts';

/** The entry points of a traced model, with the work that a convention counts. Throws a UserError for a model that cannot be staged. */
export const countedProgram = (model: Graph, convention: Convention): Program => stageProgram(counted(model, convention, { staged: true }));
/** Every entry point with its ops fused, as its kernels run. */
export const fuseProgram = (p: Program): Program => program([...p.graphs.values()].map((g) => fuse.run(g)));

/** What a model is stored in besides its dtype. */
export interface StoredIn { readonly quantise?: QuantiseRules; readonly kv?: StateFormatKind }

/**
 * What `eemllm compile` makes of a traced model, as a new image and the question about it run through it: what somebody
 * reads, towers tile by tile where an image is several, and `first` for `vision` and `prefill` where there is such a step.
 * @param options.apart the steps of an image and of a question apart, as they run for an image that was seen ahead
 */
export function compiledProgram(model: Graph, { quantise: rules, kv = 'f32' }: StoredIn = {}, { apart = false } = {}): Program {
  if (rules) checkRules(model, rules);
  const counts = counted(model, exact, { staged: true }), whole = rules ? quantise(rules).run(counts) : counts;
  const steps = stageProgram(whole), first = apart ? undefined : firstStep(whole, steps), all = byTile(program([...steps.graphs.values(), ...(first ? [first] : [])]));
  const order = first ? ['tile', 'first', 'decode'] : [...all.graphs.keys()];
  return fuseProgram(holdStates(program(order.flatMap((name) => all.graphs.get(name) ?? [])), kv));
}
const exact = conventions['exact']!;

export interface ModelCosts {
  /** Each op by itself, with the work that the convention counts. */
  readonly ops: ProgramCost;
  /** Kernels as they are compiled, with the work that they do whatever the convention: for bytes, time and memory. */
  readonly kernels: ProgramCost;
}

/** What a traced model costs, entry point by entry point. Either is worked out when it is asked for. */
export function modelCosts(model: Graph, convention: Convention, options: ProgramCostOptions = {}): ModelCosts {
  let ops: ProgramCost | undefined, kernels: ProgramCost | undefined;
  return {
    get ops() { return (ops ??= new ProgramCost(countedProgram(model, convention), settled(convention, model), options)); },
    get kernels() { return (kernels ??= new ProgramCost(compiledProgram(model), exact, options)); },
  };
}
