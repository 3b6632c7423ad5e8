/** Random models with a prompt in the standing layout that cost formulas speak of: each medium in one image, then text. */
import fc from 'fast-check';
import type { Segment } from '../../compiler/ir/index.ts';
import { printGraph } from '../../compiler/ir/index.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { caseOf } from './golden.ts';
import type { Case } from './random-graphs.ts';
import { randomCase } from './random-graphs.ts';

/** A case, and how many rows of each kind its prompt has: `V` visual, `A` audio, `T` text. */
export const standing = fc.record({ c: randomCase(), V: fc.integer({ min: 0, max: 5 }), A: fc.integer({ min: 0, max: 3 }), T: fc.integer({ min: 1, max: 5 }) }).map(({ c, V, A, T }) => {
  const g = c.graph, patches = g.sequences.get('patches'), has = (kind: string): boolean => g.sequences.get('tokens')!.kinds.some((k) => k.name === kind);
  const rows = patches ? patches.kinds.reduce((n, k) => n + k.count.at({}), 0) : V, sounds = has('audio') && !patches ? A : 0;
  const prompt: Segment[] = [...(rows ? [{ kind: 'visual', image: 0, length: rows }] : []), ...(sounds ? [{ kind: 'audio', image: 1, length: sounds }] : []), { kind: 'text', length: T }];
  const towers: Parameters<typeof caseOf>[2] = patches ? { pictures: [{ kind: 'tile', length: 1 }], patches: patches.kinds.map((k) => ({ kind: k.name, length: k.count.at({}) })) } : {};
  const made = { c: caseOf(g, prompt, towers), V: rows, A: sounds, T };
  Object.defineProperty(made, fc.toStringMethod, { value: () => `\n${printGraph(g)}\nV = ${rows}, A = ${sounds}, T = ${T}\n`, enumerable: false });
  return made;
});

/** False for a model with a mask that cannot be decoded: no program is made of it. */
export const decodable = (c: Case): boolean => { try { maskAnalysis.run(c.graph); return true; } catch { return false; } };
