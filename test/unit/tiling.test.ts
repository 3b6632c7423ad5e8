/** How a picture becomes tiles and visual rows: token counts of the published processors, and sizes at the edges. */
import fc from 'fast-check';
import type { PictureSize } from 'eemllm';
import { createModel } from 'eemllm';
import { LlavaNext, LlavaOneVision, bestResolution, builtinConfig, familyOf, layoutOf, llavaNextConfig, llavaOneVisionConfig, published, tilePicture, uncut, unpad, visualRows } from 'eemllm/models';
import type { AnyResolutionConfig } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { imageLayout, rowsPerPicture } from '../../compiler/dsl/image-layout.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { packImageFeatures, selectBestResolution, unpadImage } from '../support/pack-image-features.ts';

const next = llavaNextConfig(published['llava-next-7b']), one = llavaOneVisionConfig(published['llava-onevision-7b']);
const size = (text: string): PictureSize => { const [width, height] = text.split('x').map(Number) as [number, number]; return { width, height }; };
const packing = ({ image_grid_pinpoints, vision_config: { image_size }, patches_per_side, max_tiles }: AnyResolutionConfig) =>
  ({ image_grid_pinpoints, image_size, side: patches_per_side, ...(max_tiles !== undefined && { max: max_tiles }) });
/** Numbers of the rows of a picture's tiles, as vectors of one entry: what is packed can be told apart. */
const numbered = (tiles: number, rows: number): Float32Array[][] => Array.from({ length: tiles }, (_, t) => Array.from({ length: rows }, (_, i) => Float32Array.of(t * rows + i)));

describe('LLaVA-NeXT: 24 × 24 rows a tile, the overview first, a newline after each line', () => {
  test.each([
    // The most there is: "2880 visual rows" (5 · 576) and 48 newlines.
    ['672x672', 5, 5 * 576 + 48],
    ['980x980', 5, 5 * 576 + 48],
    ['336x336', 3, 576 + 24 * 24 + 24],
    ['1008x336', 4, 576 + 24 * 72 + 24],
    ['336x1008', 4, 576 + 72 * 24 + 72],
    // 1024 × 899, the picture of the library's own tests: 42 of 48 lines are no padding.
    ['1024x899', 5, 576 + 42 * 49],
    ['640x480', 5, 576 + 36 * 49],
    ['2560x1669', 5, 2144],
    ['1669x2560', 5, 576 + 48 * 32 + 48],
    ['488x183', 3, 576 + 18 * 49],
    // Nothing is left of a line of pixels but the overview; of a column, 72 newlines.
    ['1000x1', 4, 576],
    ['1x1000', 4, 576 + 72],
    // No size shows any of it, and the first of the smallest wastes least.
    ['100000x1', 3, 576],
    ['1x100000', 3, 576 + 24],
    ['1x1', 3, 576 + 24 * 24 + 24],
  ])('%s', (text, tiles, visual) => { expect(LlavaNext.imageLayout(next, size(text))).toEqual({ tiles, visual, text: 0 }); });
});

describe('LLaVA-OneVision: 27 × 27 rows a tile, at most about those of 9 tiles', () => {
  test.each([
    ['384x384', 2, 729 + 27 * 28],
    ['768x768', 5, 729 + 54 * 55],
    ['1152x1152', 10, 729 + 81 * 82],
    // 108 × 108 rows are 16 tiles' and become 81 × 81.
    ['1536x1536', 17, 729 + 81 * 82],
    // 135 // (5 / 3) is 80, as that quotient of floats lies below 81.
    ['1920x1920', 26, 729 + 80 * 81],
    ['2304x2304', 37, 729 + 81 * 82],
    ['1920x1080', 16, 7269],
    // Of 27 lines of padding 13 go at either end.
    ['100000x1', 2, 729 + 28],
    ['1x100000', 2, 729 + 27 * 2],
  ])('%s', (text, tiles, visual) => { expect(LlavaOneVision.imageLayout(one, size(text), 1)).toEqual({ tiles, visual, text: 0 }); });
  test('one of several images is not cut: its overview and one newline', () => {
    expect(LlavaOneVision.imageLayout(one, size('1920x1080'), 2)).toEqual({ tiles: 1, visual: 730, text: 0 });
    expect(visualRows(one, uncut).sources.slice(-8)).toEqual(Int32Array.of(728, 728, 728, 728, -1, -1, -1, -1));
  });
});

test('a picture of one size: one tile, with the rows that the graph takes from the tower', () => {
  const of = (name: string, text: string) => {
    const json = builtinConfig(name)!, model = createModel(familyOf(json), json, name);
    return imageLayout(model, trace(model).graph, size(text));
  };
  expect(of('llava-1.5-7b', '980x980')).toEqual({ tiles: 1, visual: 576, text: 0 });
  expect(of('clip-vit-l-14-336', '10x2000')).toEqual({ tiles: 1, visual: 577, text: 0 });
  expect(() => of('qwen2-0.5b', '10x10')).toThrow('The model Llama reads no pictures, so the size of one says nothing about its tokens. Give the number of visual tokens (--visual N).');
  expect(rowsPerPicture(trace(new LlavaNext({ ...next, text_config: { ...next.text_config, num_hidden_layers: 1 } })).graph)).toBeUndefined();
});

/** Sides of all orders of size, and those of whole tiles and near them. */
const side = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 100_000 }), fc.tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(336, 384, 112), fc.integer({ min: -1, max: 1 })).map(([n, s, d]) => n * s + d));
const rules: readonly AnyResolutionConfig[] = [next, one, { ...one, max_tiles: 2 }, { ...next, patches_per_side: 4, tile_size: 56, vision_config: { ...next.vision_config, image_size: 56 }, image_grid_pinpoints: [[56, 112], [112, 112], [168, 56], [56, 56]] }];

test('best size and unpadding are those of the library, whatever the picture', () => {
  fc.assert(fc.property(side, side, fc.constantFrom(...rules), (width, height, rule) => {
    expect(bestResolution({ width, height }, rule.image_grid_pinpoints)).toEqual(selectBestResolution([height, width], rule.image_grid_pinpoints));
    const { columns, rows, kept } = tilePicture(rule, { width, height }), n = rule.patches_per_side;
    const grid = Array.from({ length: rows * n }, (_, y) => Array.from({ length: columns * n }, (_, x) => Float32Array.of(y, x)));
    const left = unpadImage(grid, [height, width]);
    expect([left.length, left[0]?.length ?? kept.width]).toEqual([kept.height, kept.width]);
    if (kept.height && kept.width) expect([...left[0]![0]!]).toEqual([kept.top, kept.left]);
  }), { numRuns: 300 });
});

test('the map of visual rows says what the library packs, row by row', () => {
  fc.assert(fc.property(side, side, fc.constantFrom(...rules.slice(2)), (width, height, rule) => {
    const tiled = tilePicture(rule, { width, height }), { tiles, visual } = layoutOf(rule, tiled), { sources, weights } = visualRows(rule, tiled), per = weights ? 4 : 1;
    expect(sources.length).toBe(visual * per);
    const packed = packImageFeatures(numbered(tiles, rule.patches_per_side ** 2), { width, height }, Float32Array.of(-1), packing(rule));
    expect(packed.length).toBe(visual);
    const mixed = packed.map((_, r) => Array.from({ length: per }, (_, s) => (weights?.[r * per + s] ?? 1) * sources[r * per + s]!).reduce((a, b) => a + b, 0));
    mixed.forEach((x, r) => { expect(Math.abs(x - packed[r]![0]!)).toBeLessThan(0.01); });
  }), { numRuns: 60 });
});

test('rows of several images in one step count on', () => {
  const tiled = tilePicture(rules[3]!, { width: 100, height: 100 });
  expect([...visualRows(rules[3]!, tiled, 32).sources]).toEqual([...visualRows(rules[3]!, tiled).sources].map((i) => (i < 0 ? i : i + 32)));
});

test('half the padding rounds down, so an odd row of it stays', () => {
  expect(unpad(5, 5, { width: 100, height: 40 })).toEqual({ top: 1, left: 0, height: 3, width: 5 });
  expect(unpad(5, 5, { width: 1, height: 1000 })).toEqual({ top: 0, left: 2, height: 5, width: 1 });
});
