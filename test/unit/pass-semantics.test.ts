/** Passes that change nothing of what is computed are held to the interpreter, on random graphs, masks and layouts. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import { constants } from '../../passes/constants.ts';
import { cse } from '../../passes/cse.ts';
import { deadCode } from '../../passes/dead-code.ts';
import { demand } from '../../passes/demand.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import type { Pass } from '../../passes/pass.ts';
import { pruneByMask } from '../../passes/prune-by-mask.ts';
import { relativeRope } from '../../passes/relative-rope.ts';
import { splitKept } from '../../passes/split-kept.ts';
import { zeroRows } from '../../passes/zero-rows.ts';
import { randomCase } from '../support/random-graphs.ts';
import { farthest, outputsOf, runnable } from '../support/run-case.ts';

const runs = { numRuns: Number(process.env['PASS_RUNS'] ?? 60) };
const before: Record<string, readonly Pass[]> = {
  'prune-by-mask': [maskAnalysis], 'zero-rows': [maskAnalysis, pruneByMask], 'relative-rope': [maskAnalysis, pruneByMask, zeroRows, demand],
};

describe('on random graphs, the result stays the same after', () => {
  for (const pass of [constants, cse, deadCode, demand, splitKept, pruneByMask, zeroRows, relativeRope]) {
    test(pass.name, () => {
      fc.assert(fc.property(randomCase(), (c) => {
        fc.pre(runnable(c));
        let g = c.graph;
        try { g = maskAnalysis.run(g); } catch { return; }
        for (const p of before[pass.name] ?? []) g = p.run(g);
        const after = pass.run(g);
        verify(after, { pass: pass.name });
        expect(farthest(outputsOf(c.graph, c), outputsOf(after, c))).toBeLessThan(1e-4);
        expect(printGraph(parseGraph(printGraph(after)))).toBe(printGraph(after));
      }), runs);
    });
  }
});
