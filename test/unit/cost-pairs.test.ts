/** Numbers of query-key pairs as formulas. */
import { describe, expect, test } from 'vitest';
import { admittedPairs, allPairs } from '../../compiler/cost/pairs.ts';
import { resolvePairs } from '../../compiler/cost/resolve.ts';
import { traffic } from '../../compiler/cost/traffic.ts';
import { Poly, parseGraph, printGraph } from '../../compiler/ir/index.ts';
import { countPairs, parseMaskExpr } from '../../compiler/ir/mask/index.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';

const attend = (mask: string, q = 'visual+text', k = 'visual+text') => maskAnalysis.run(parseGraph(`graph g {
  sequence tokens(media visual: V, text: T)
  mask m(tokens) = ${mask}
  input q: f32[${q}, 4] at prompt
  ${k.includes('context') ? `state "k": f32[${k}, 4]` : `input k: f32[${k}, 4] at prompt`}
  %0 = attention %q, ${k.includes('context') ? '&k' : '%k'}, ${k.includes('context') ? '&k' : '%k'} {heads = 1, kv_heads = 1, scale = 0.5, mask = "m"}
  return out = %0
}`.replaceAll('&k', '&"k"')));
const pairs = (...args: Parameters<typeof attend>): string => { const g = attend(...args); return admittedPairs(g.nodes[0]!, g).toString(); };

describe('proven pairs are polynomials', () => {
  test('causal over both kinds is the triangle of all rows', () => {
    const g = attend('k.pos <= q.pos'), p = admittedPairs(g.nodes[0]!, g);
    for (const [V, T] of [[0, 1], [5, 0], [576, 40]] as const) expect(p.evaluate({ V, T })).toBe(BigInt((V + T) * (V + T + 1)) / 2n);
  });
  test.each([
    ['q.kind == text ? k.pos <= q.pos : k.pos == q.pos', '1/2*T^2 + T*V + 1/2*T + V'],
    ['q.kind == text && k.pos <= q.pos', '1/2*T^2 + T*V + 1/2*T'],
    ['k.kind == visual || k.pos <= q.pos', '1/2*T^2 + T*V + V^2 + 1/2*T'],
  ])('%s: %s', (mask, want) => expect(pairs(mask)).toBe(Poly.parse(want).toString()));
  test('the last row reads all that is before it', () => expect(pairs('k.pos <= q.pos', 'text.last')).toBe('T + V'));
  test('over the rows of all steps: the queries are the last of them', () => {
    expect(pairs('k.pos <= q.pos', 'text', 'visual+text.context')).toBe('CT*T + CV*T - 1/2*T^2 + 1/2*T');
    expect(pairs('k.pos <= q.pos', 'text.last', 'visual+text.context')).toBe('CT + CV');
    // New image rows read the past: of text only what was there before.
    expect(pairs('k.pos <= q.pos', 'visual', 'visual+text.context')).toBe('CT*V + CV*V - T*V - 1/2*V^2 + 1/2*V');
  });
});

describe('what the predicate decides is a dim of its own, counted at given sizes', () => {
  const window = 'k.pos <= q.pos && q.pos - k.pos < 3';
  test('its name says mask and kinds', () => {
    expect(pairs(window, 'text', 'text')).toBe('pairs(m:text>text)');
    expect(pairs(window, 'text.last', 'text.context')).toBe('pairs(m:text.last>text.context)');
  });
  test('its value is the number of pairs in the standing layout', () => {
    const g = attend(window, 'text', 'visual+text.context'), p = admittedPairs(g.nodes[0]!, g);
    // Two images of 2 rows, 5 text rows of which the last 3 are new: each reads itself and two before.
    expect(p.evaluate(resolvePairs(g, { V: 4, T: 3, CV: 4, CT: 5 }, 2))).toBe(9n);
    expect(p.evaluate(resolvePairs(g, { V: 4, T: 2, CV: 4, CT: 2 }, 2))).toBe(6n);
  });
  test('images are apart', () => {
    const g = attend('k.kind == visual && k.image == q.image', 'visual', 'visual'), at = (images: number): bigint => admittedPairs(g.nodes[0]!, g).evaluate(resolvePairs(g, { V: 7, T: 0 }, images));
    expect([at(1), at(2), at(7)]).toEqual([49n, 25n, 7n]);
  });
});

test('every query with every key, whatever the mask', () => {
  const g = attend('k.pos == q.pos', 'text');
  expect(allPairs(g.nodes[0]!).toString()).toBe('T*V + T^2');
});

test('traffic: views and row data move nothing, a store its new rows, a table the rows that are picked', () => {
  const g = parseGraph(`graph g {
  sequence tokens(media visual: V, text: T)
  input ids: i32[text] at prompt
  weight "table": f32[1000, 8]
  weight "w": f16[8, 8]
  state "s": f32[text.context, 8]
  %0 = embed %ids, @"table"
  %1 = linear %0, @"w"
  %2 = rows %1 {rows = "text.last"}
  %3 = store &"s", %1 {state = "s"}
  return last = %2, s = %3
}`);
  const { weights, read, written } = traffic(g);
  expect([weights, read, written].map(String)).toEqual(['32*T + 128', '68*T', '96*T']);
  expect(printGraph(g)).toContain('store');
});

test('segments may be too long for a list of their tokens: what is settled in blocks is exact, what is not is a sentence', () => {
  const kinds = [{ name: 'text', hasImages: false }], segment = { kind: 'text', image: -1, start: 0, length: 1e9 };
  const far = parseMaskExpr('k.pos <= q.pos && q.pos - k.pos < 2147483647', kinds), near = parseMaskExpr('k.pos <= q.pos && q.pos - k.pos < 3', kinds);
  const half = { ...segment, start: 1e9, index: 1e9 };
  expect(countPairs(far, [half], [segment], kinds)).toBe(10n ** 18n);
  expect(() => countPairs(near, [segment], [segment], kinds, 10_000)).toThrow(/cannot be counted: more than 10000 of them have to be evaluated one by one\. Count a shorter sequence\./);
});
