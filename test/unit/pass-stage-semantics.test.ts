/** A staged program, step by step, gives what the definition gives over everything said so far. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Graph, Segment } from '../../compiler/ir/index.ts';
import { parseProgram, printProgram, verify, verifyProgram } from '../../compiler/ir/index.ts';
import { constants } from '../../passes/constants.ts';
import { cse } from '../../passes/cse.ts';
import { demand } from '../../passes/demand.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { pruneByMask } from '../../passes/prune-by-mask.ts';
import { relativeRope } from '../../passes/relative-rope.ts';
import { splitKept } from '../../passes/split-kept.ts';
import { stage, stageFirst } from '../../passes/stage.ts';
import { zeroRows } from '../../passes/zero-rows.ts';
import type { Case } from '../support/random-graphs.ts';
import { knownMask, randomCase } from '../support/random-graphs.ts';
import { runnable } from '../support/run-case.ts';
import { StagedRun, looksAhead, promptSequence } from '../support/run-program.ts';

const runs = { numRuns: Number(process.env['PASS_RUNS'] ?? 60) };
/** Staging alone must be right, whatever ran before it. */
const pipelines: Record<string, readonly ((g: Graph) => Graph)[]> = {
  'mask analysis alone': [maskAnalysis.run],
  'mask analysis and relative rope': [maskAnalysis.run, relativeRope.run],
  'all passes': [splitKept.run, maskAnalysis.run, constants.run, cse.run, pruneByMask.run, zeroRows.run, demand.run, relativeRope.run, constants.run, cse.run],
};

/** Tokens after which a turn may end: after text, and with no image to come that somebody looks ahead for. */
function turnEnds(c: Case, ahead: boolean): number[] {
  const ends: number[] = [];
  let n = 0;
  c.layout[promptSequence]!.forEach((s, i, all) => {
    const rest = all.slice(i + 1);
    if (s.kind === 'text' && !(ahead && rest.some((x) => x.image !== undefined))) for (let k = 1; k <= s.length; k++) ends.push(n + k);
    n += s.length;
  });
  return ends;
}
/** From here on only text comes. */
function lastImageEnd(segments: readonly Segment[]): number {
  let n = 0, last = 0;
  for (const s of segments) { n += s.length; if (s.image !== undefined) last = n; }
  return last;
}

for (const [name, passes] of Object.entries(pipelines)) {
  test(`with ${name}: turns of a chat, decoding, and a second question about the same images`, () => {
    const cases = fc.oneof(randomCase(), randomCase({ masks: knownMask })).chain((c) => {
      const ends = turnEnds(c, looksAhead(c.graph));
      const final = ends.filter((e) => e > lastImageEnd(c.layout[promptSequence]!));
      return fc.record({ c: fc.constant(c), turns: fc.subarray(ends), last: fc.constantFrom(...final), before: fc.nat(3), after: fc.integer({ min: 1, max: 3 }) });
    });
    fc.assert(fc.property(cases, ({ c, turns, last, before, after }) => {
      fc.pre(runnable(c));
      try { maskAnalysis.run(c.graph); } catch { return; } // A mask that looks ahead cannot be decoded.
      const whole = passes.reduce((x, run) => run(x), c.graph), program = stage.run(whole);
      verifyProgram(program, { pass: 'stage' });
      expect(printProgram(parseProgram(printProgram(program)))).toBe(printProgram(program));
      const run = new StagedRun(c.graph, program, c);
      run.say(c, [...turns.filter((t) => t < last), last]);
      expect(run.worst).toBeLessThan(1e-4);
      const first = stageFirst(whole, program);
      if (first) {
        verify(first, { pass: 'stage' });
        const joint = new StagedRun(c.graph, program, c, first);
        joint.say(c, [...turns.filter((t) => t < last), last]);
        expect(joint.worst).toBeLessThan(1e-4);
      }

      const images = c.layout[promptSequence]!.filter((s) => s.image !== undefined);
      const prompt: Segment[] = [{ kind: 'text', length: before }, ...images, { kind: 'text', length: after + 2 }];
      const ids = Int32Array.from({ length: before + after + 2 }, (_, i) => (i * 7 + before) % 2);
      const again: Case = { ...c, layout: { ...c.layout, [promptSequence]: prompt }, inputs: { ...c.inputs, ids } };
      run.begin();
      run.say(again, [prompt.reduce((n, s) => n + s.length, 0) - 2]);
      expect(run.worst).toBeLessThan(1e-4);
    }), runs);
  });
}
