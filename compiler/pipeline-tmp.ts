import type { Graph } from './ir/graph.ts';
import type { Program } from './ir/program.ts';
import { verify } from './ir/verify.ts';
import { maskAnalysis } from '../passes/mask-analysis.ts';
import { pruneByMask } from '../passes/prune-by-mask.ts';
import { demand } from '../passes/demand.ts';
import { relativeRope } from '../passes/relative-rope.ts';
import { stage } from '../passes/stage.ts';
export function optimise(g: Graph, onPass?: (name: string, g: Graph) => void): Graph {
  for (const p of [maskAnalysis, pruneByMask, demand, relativeRope]) { g = p.run(g); verify(g); onPass?.(p.name, g); }
  return g;
}
export const stageProgram = (g: Graph, _on?: unknown): Program => stage.run(g);
