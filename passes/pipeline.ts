/** The passes in order, and the pass manager: it verifies the graph after each, and tells what each changed. */
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph } from '../compiler/ir/graph.ts';
import type { Program } from '../compiler/ir/program.ts';
import { program } from '../compiler/ir/program.ts';
import { verify, verifyProgram } from '../compiler/ir/verify.ts';
import { constants } from './constants.ts';
import { cse } from './cse.ts';
import { deadCode } from './dead-code.ts';
import { demand } from './demand.ts';
import { fuse } from './fuse.ts';
import { joinRows } from './join-rows.ts';
import { maskAnalysis } from './mask-analysis.ts';
import type { Pass } from './pass.ts';
import { pruneByMask } from './prune-by-mask.ts';
import { relativeRope } from './relative-rope.ts';
import type { Change } from './report.ts';
import { changeOf } from './report.ts';
import { splitKept } from './split-kept.ts';
import type { StagePass } from './stage.ts';
import { stage, stageFirst } from './stage.ts';
import { zeroRows } from './zero-rows.ts';

/** From the author's definition to the graph that is staged. */
export const definitionPasses: readonly Pass[] = [deadCode, splitKept, maskAnalysis, constants, cse, pruneByMask, zeroRows, relativeRope, demand, constants, cse, deadCode];
/** What follows staging, on each entry point; then it is fused. */
export const entryPasses: readonly Pass[] = [constants, cse, deadCode];

/** Every pass once, in the order of its first use. */
export const allPasses: readonly (Pass | StagePass)[] = [...new Set([...definitionPasses, stage, ...entryPasses, joinRows, fuse])];

/** Called after every pass with the graph that it made; `change` is worked out only if it is looked at. */
export type OnPass = (pass: string, graph: Graph, change: Change) => void;

function runOne(pass: Pass, g: Graph, onPass?: OnPass, label = pass.name): Graph {
  const made = pass.run(g), after = isSame(g, made) ? g : made;
  if (after !== g) verify(after, { pass: pass.name });
  onPass?.(label, after, changeOf(g, after));
  return after;
}

/** True if a pass found nothing to do: every node is the very one it was. */
const isSame = (a: Graph, b: Graph): boolean =>
  a.nodes.length === b.nodes.length && a.nodes.every((n, i) => n === b.nodes[i]) && sameMasks(a, b) && sameEntries(a.outputs, b.outputs)
  && sameEntries(a.inputs, b.inputs) && sameEntries(a.weights, b.weights) && sameEntries(a.states, b.states);
const sameMasks = (a: Graph, b: Graph): boolean => a.masks.size === b.masks.size && [...a.masks].every(([name, m]) => b.masks.get(name) === m);
const sameEntries = (a: Graph['outputs'], b: Graph['outputs']): boolean => a.size === b.size && [...a].every(([name, n]) => b.get(name) === n);

/** Runs the passes that come before staging, and after them those that a user asked for (quantisation). */
export const optimise = (g: Graph, onPass?: OnPass, asked: readonly Pass[] = []): Graph => [...definitionPasses, ...asked].reduce((x, p) => runOne(p, x, onPass), g);

/** Cuts an optimised graph into its entry points and cleans each of them up. */
export function stageProgram(g: Graph, onPass?: OnPass): Program {
  const staged = stage.run(g);
  verifyProgram(staged, { pass: stage.name });
  return program([...staged.graphs].map(([name, entry]) => {
    onPass?.(`${name}: ${stage.name}`, entry, changeOf(g, entry));
    return entryPasses.reduce((x, p) => runOne(p, x, onPass, `${name}: ${p.name}`), entry);
  }));
}

/**
 * The step that answers the first question about an image: `vision` and `prefill` at once; undefined where nothing is gained.
 * @param staged what `stageProgram` made of the same optimised graph
 */
export function firstStep(g: Graph, staged: Program, onPass?: OnPass): Graph | undefined {
  const first = stageFirst(g, staged);
  if (!first) return undefined;
  verify(first, { pass: stage.name });
  onPass?.(`${first.name}: ${stage.name}`, first, changeOf(g, first));
  return [joinRows, ...entryPasses].reduce((x, p) => runOne(p, x, onPass, `${first.name}: ${p.name}`), first);
}

/** Runs one pass on a graph, or on every graph of a program. */
export function runPass(pass: Pass | StagePass, x: Graph | Program): Graph | Program {
  if (pass === stage) {
    if ('graphs' in x) throw new UserError(`The pass '${stage.name}' makes a program out of one graph, and this is a program already. Run it once.`);
    const staged = stage.run(x);
    verifyProgram(staged, { pass: stage.name });
    return staged;
  }
  const one = pass as Pass;
  return 'graphs' in x ? program([...x.graphs.values()].map((g) => runOne(one, g))) : runOne(one, x);
}
