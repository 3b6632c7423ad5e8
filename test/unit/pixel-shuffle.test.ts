/** The pixel shuffle of Idefics3's connector: what it computes, its shape rule, and which rows it reads. */
import { describe, expect, test } from 'vitest';
import { Poly, interpret, parseGraph, printGraph } from '../../compiler/ir/index.ts';
import { shuffleSource } from '../../compiler/ir/ops/pixel-shuffle.ts';
import { copyKernel } from '../../compiler/wgsl/copy.ts';
import { demand } from '../../passes/demand.ts';
import { hfPixelShuffle } from '../support/hf-pixel-shuffle.ts';

const graph = (patches: number, width: number, blocks: number, factor: number): string => `graph g {
  sequence patches(media patch: ${patches})
  sequence blocks(media block: ${blocks})
  input x: f32[patch, ${width}] at image

  %0 = pixel_shuffle %x {factor = ${factor}, rows = "block"}
  return y = %0
}`;

describe('is the library\'s chain of reshapes and permutes', () => {
  test.each([[1, 1, 1], [2, 2, 1], [4, 2, 3], [6, 3, 2], [6, 2, 5], [6, 6, 1], [9, 3, 4], [8, 4, 3], [5, 1, 2]])('a grid of side %i, factor %i, rows of %i', (side, factor, width) => {
    const tiles = 3, rows = side ** 2, blocks = (side / factor) ** 2;
    const x = Float32Array.from({ length: tiles * rows * width }, (_, i) => i), images = [4, 0, 7];
    const layout = { patches: images.map((image) => ({ kind: 'patch', image, length: rows })), blocks: images.map((image) => ({ kind: 'block', image, length: blocks })) };
    const { data } = interpret(parseGraph(graph(rows, width, blocks, factor)), { layout, inputs: { x }, weights: new Map() }).outputs.get('y')!;
    const want = images.flatMap((_, t) => hfPixelShuffle([...x.subarray(t * rows * width, (t + 1) * rows * width)], rows, width, factor));
    expect([...data]).toEqual(want);
  });
});

describe('shapes', () => {
  test('are inferred and print back', () => {
    const g = parseGraph(graph(36, 5, 4, 3));
    expect(printGraph(g)).toContain('%0 = pixel_shuffle %x {factor = 3, rows = "block"} : f32[block, 45]');
    expect(printGraph(parseGraph(printGraph(g)))).toBe(printGraph(g));
  });
  test.each<[string, string, string]>([
    ['rows that are no square', graph(12, 5, 4, 2), 'needs a square grid of rows, but a picture has 12 (f32[patch, 5]).'],
    ['a factor that does not divide', graph(36, 5, 4, 4), 'a grid of 6 × 6 rows cannot be divided into blocks of 4 × 4.'],
    ['another number of rows', graph(36, 5, 9, 3), "gives 4 rows a picture, but 'block' are 9."],
    ['rows of unknown number', graph(36, 5, 4, 3).replace('patch: 36', 'patch: P'), 'needs the rows of a picture, vectors of one kind and of a known number, not f32[patch, 5].'],
    ['no factor', graph(36, 5, 4, 3).replace('factor = 3', 'factor = 0'), "the attribute 'factor' must be an integer of at least 1, not 0."],
  ])('%s', (_name, text, message) => { expect(() => parseGraph(text)).toThrow(message); });
  test('every row of a block reads the picture, and nobody reads more than is there', () => {
    expect(printGraph(demand.run(parseGraph(graph(36, 5, 4, 3))))).toBe(printGraph(parseGraph(graph(36, 5, 4, 3))));
  });
});

test('where an entry comes from', () => {
  // Row 3 is block (1, 1) of 2 × 2; its columns 25 to 29 are neighbour (1, 2) of the 3 × 3: row (4, 5) of the grid of 6 × 6.
  expect(shuffleSource({ side: 6, factor: 3, width: 5 }, 3, 27)).toEqual({ row: 4 * 6 + 5, column: 2 });
});

test('a copy of another width is refused', () => {
  const view = (binding: string, stride: number) => ({ binding, storage: 'f32' as const, stride, offset: Poly.zero });
  expect(() => copyKernel({ rows: Poly.of(4), width: 44, from: view('x', 5), to: view('y', 44), shuffle: { side: 6, factor: 3, width: 5 } }, { dims: [], features: new Set() }))
    .toThrow('Blocks of 3 × 3 rows of 5 are 45 columns, not 44.');
});
