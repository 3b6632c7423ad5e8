/** The cases that benchmarks compare peers by: their reference in float64 is what the interpreter says of our models of them. */
import { describe, expect, test } from 'vitest';
import { casesFor, checkedRows } from '../../bench/compare/cases.ts';
import { ownCase } from '../../bench/compare/own-models.ts';
import { withRows } from '../../bench/compare/own-program.ts';
import { errorOf, projected, reference } from '../../bench/compare/reference.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { interpret } from '../../compiler/ir/index.ts';

// One row is a decode step, which the interpreter would need a session for.
const cases = casesFor({ software: true, sizes: 'tiny', half: false }).filter((c) => !(c.kind === 'product' && c.rows === 1) && !(c.kind === 'layer' && c.step === 'decode'));

describe('references of benchmarks', () => {
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_name, c) => {
    const own = ownCase(c), traced = trace(own.model), result = traced.arguments.get('read')![0]!, width = result.type.dims[0]!;
    const ids = Array.from({ length: own.text }, (_, i) => i), layout = { tokens: [...(own.visual ? [{ kind: 'visual', image: 0, length: own.visual }] : []), { kind: 'text', length: own.text }] };
    const weights = new Map([...own.weights].map(([name, w]) => [name, w.data] as const));
    const { outputs } = interpret(withRows(traced.graph, result), { layout, inputs: { ids, ...(own.visual ? { visual_embeds: own.image } : {}) }, weights });
    const all = outputs.get('result:text')!.data, got = checkedRows(c).flatMap((r) => Array.from(all.slice(r * width, (r + 1) * width)));
    expect(errorOf(got, reference(c))).toBeLessThan(1e-5);
  });

  test('a row that is off, or missing, or no number, is seen', () => {
    const c = cases.find((x) => x.kind === 'layer')!, rows = reference(c), off = rows.slice();
    off[3] = off[3]! + 0.1;
    expect(errorOf(off, rows)).toBeGreaterThan(1e-3);
    expect(errorOf(projected(c, off), projected(c, rows))).toBeGreaterThan(1e-4);
    expect(errorOf(off.fill(NaN), rows)).toBe(Infinity);
    expect(errorOf(rows.subarray(1), rows)).toBe(Infinity);
  });
});
