/** The op that picks, or mixes, rows by a map that is data. */
import { describe, expect, test } from 'vitest';
import { trafficOf } from '../../compiler/cost/traffic.ts';
import { work } from '../../compiler/cost/work.ts';
import { interpret, parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import { demand } from '../../passes/demand.ts';
import { stageProgram } from '../../passes/pipeline.ts';

const head = `graph g {
  sequence tokens(media visual: V, text: T)
  sequence patches(media patch: 2)
  mask causal(tokens) = k.pos <= q.pos
  input map: i32[visual, 1] at image
  input wide: i32[visual, 3] at image
  input mix: f32[visual, 3] at image
  input x: f32[patch, 2] at image
  input words: f32[text, 2] at prompt
  weight "newline": f32[2]
  weight "rows": f32[2, 2]
  weight "odd": f32[3]
`;
const graph = (lines: string) => parseGraph(`${head}${lines}\n}`);
const pick = graph('%0 = gather_rows %map, %x, @"newline" : f32[visual, 2]\nreturn y = %0');
const mixed = graph('%0 = gather_rows %wide, %x, %mix, @"rows" : f32[visual, 2]\nreturn y = %0');
/** Two tiles of two rows of one image, and five visual rows. */
const layout = { patches: [{ kind: 'patch', image: 10, length: 2 }, { kind: 'patch', image: 11, length: 2 }], tokens: [{ kind: 'visual', image: 0, length: 5 }] };
const x = [1, 2, 3, 4, 5, 6, 7, 8], weights = new Map([['newline', Float32Array.of(-1, -2)], ['rows', Float32Array.of(10, 20, 30, 40)]]);

describe('says', () => {
  test('a copy of rows of all pictures of the step, and of the learned row', () => {
    const { outputs } = interpret(pick, { layout, weights, inputs: { map: [3, 0, -1, 0, 2], x } });
    expect([...outputs.get('y')!.data]).toEqual([7, 8, 1, 2, -1, -2, 1, 2, 5, 6]);
  });
  test('a mixture with weights, of learned rows too', () => {
    const { outputs } = interpret(mixed, { layout, weights, inputs: { wide: [0, 1, 2, -1, -2, 0, 3, 3, 3, 0, 0, 0, -2, 1, 1], mix: [1, 1, 1, 0.5, 0.25, 0, 0.5, 0.25, 0.25, 0, 0, 0, 2, -1, 0], x } });
    expect([...outputs.get('y')!.data]).toEqual([9, 12, 12.5, 20, 7, 8, 0, 0, 57, 76]);
  });
  test.each([[4, /row 1 is to come from source 4, but there are rows 0 to 3 to gather from and learned rows -1 to -1/], [-2, /source -2/]])('an error for source %i', (i, message) => {
    expect(() => interpret(pick, { layout, weights, inputs: { map: [0, i, 0, 0, 0], x } })).toThrow(message);
  });
});

test('prints and parses back, and verifies', () => {
  for (const g of [pick, mixed]) { expect(printGraph(parseGraph(printGraph(g)))).toBe(printGraph(g)); verify(g); }
});

test.each([
  ['gather_rows %x, %x', /the map must be i32\[rows, sources\], not f32\[patch, 2\]/],
  ['gather_rows %wide, %x', /a row with 3 sources needs their weights/],
  ['gather_rows %map, %words', /the rows of another sequence than its own/],
  ['gather_rows %map, %x, @"odd"', /learned rows beside f32\[patch, 2\] must be \[2\] or \[rows, 2\], not f32\[3\]/],
  ['gather_rows %map, %x, %mix', /the weights of i32\[visual, 1\] must be f32\[the same\], not f32\[visual, 3\]/],
  ['gather_rows %map, %x, @"newline", @"rows"', /weights and learned rows once each, not f32\[2\] and f32\[2, 2\]/],
])('%s is an error', (op, message) => { expect(() => graph(`%0 = ${op} : f32[visual, 2]\nreturn y = %0`)).toThrow(message); });

test('whole pictures are read, and of map and weights the rows that are wanted', () => {
  const last = graph('%0 = gather_rows %wide, %x, %mix, @"rows" : f32[visual, 2]\n%1 = rows %0 {rows = "visual.last"} : f32[visual.last, 2]\nreturn y = %1');
  const g = demand.run(last), gather = g.nodes.find((n) => n.op === 'gather_rows')!;
  expect(gather.inputs.map((n) => n.type.rows && n.type.rows.kinds.join() + (n.type.rows.last ? '.last' : ''))).toEqual(['visual.last', 'patch', 'visual.last', undefined]);
  const inputs = { wide: [0, 1, 2, -1, -2, 0, 3, 3, 3, 0, 0, 0, -2, 1, 1], mix: [1, 1, 1, 0.5, 0.25, 0, 0.5, 0.25, 0.25, 0, 0, 0, 2, -1, 0], x };
  expect(interpret(g, { layout, weights, inputs }).outputs).toEqual(interpret(last, { layout, weights, inputs }).outputs);
});

test('is known with the image', () => {
  const g = graph('%0 = gather_rows %map, %x, @"newline" : f32[visual, 2]\n%1 = merge %0, %words : f32[visual+text, 2]\n%2 = attention %1, %1, %1 {heads = 1, kv_heads = 1, scale = 1, mask = "causal"} : f32[visual+text, 2]\n%3 = rows %2 {rows = "text.last"} : f32[text.last, 2]\nreturn logits = %3');
  const { graphs } = stageProgram(g);
  expect([...graphs].map(([name, entry]) => [name, entry.nodes.some((n) => n.op === 'gather_rows')])).toEqual([['vision', true], ['prefill', false], ['decode', false]]);
});

test('what it costs: an element copied, or one multiply-add for each source; every row of every tile is read', () => {
  const costs = (g: typeof pick) => { const n = g.nodes[0]!, { weights, read, written } = trafficOf(n); return [...Object.entries(work(g)[0]!.counts).map(([cls, p]) => `${cls} ${String(p)}`), ...[weights, read, written].map(String)]; };
  expect(costs(pick)).toEqual(['embed 2*V', '8', '4*V + 16*tiles', '8*V']);
  expect(costs(mixed)).toEqual(['other 6*V', '16', '24*V + 16*tiles', '8*V']);
});
