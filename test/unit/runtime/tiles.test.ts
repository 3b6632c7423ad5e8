/** Pictures of any size: tiles, rows and marks are those of Hugging Face's processors, and what cannot be is said. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ImageInput, PromptItem } from '../../../runtime/context.ts';
import { isImage } from '../../../runtime/context.ts';
import { parsePreprocessor, preprocess } from '../../../runtime/image.ts';
import { checkImage } from '../../../runtime/image-check.ts';
import type { Manifest, Tiling } from '../../../runtime/manifest.ts';
import { checkPreprocessor, prepareImage } from '../../../runtime/prepare.ts';
import { promptItems } from '../../../runtime/prompt.ts';
import { anyResolutionTiles, gridTiles, squareOverview } from '../../../runtime/tiles.ts';
import type { TilingRule } from '../../../runtime/tiling/rule.ts';
import type { Tokenizer } from '../../../runtime/tokenizer.ts';
import { getImagePatches, gridOf, imagePromptString, paddedToSquare, splitImage } from '../../support/hf-image-processors.ts';
import { tinyFamilies, tinyPicture } from '../../support/tiny-folders.ts';

const pinpoints: [number, number][] = [[12, 24], [24, 12], [24, 24], [36, 12]];
const anyResolution = { rule: 'any_resolution', alone: true, tile_size: 12, patches_per_side: 3, image_grid_pinpoints: pinpoints, max_tiles: 2, most: 5 } as const satisfies Tiling;
const grid = { rule: 'tile_grid', tile_size: 8, do_resize: true, longest_edge: 24, do_image_splitting: true, fake_image_token: '<fake>', global_image_token: '<all>' } as const satisfies Tiling;
const side = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.constantFrom(1, 2, 12, 23, 24, 25, 300));
const pixels = (width: number, height: number) => ({ ...tinyPicture(width, height, width * 7 + height), channels: 3 });

describe('pixels are those of the library', () => {
  test('an overview and tiles', () => {
    fc.assert(fc.property(side, side, fc.constantFrom(1, 2, 3), (width, height, resample) => {
      const image = pixels(width, height);
      expect(anyResolutionTiles(image, anyResolution, resample).map(gridOf)).toEqual(getImagePatches(gridOf(image), pinpoints, 12, resample));
    }), { numRuns: 60 });
  });
  test('one of several pictures: a square in the mean colour', () => {
    fc.assert(fc.property(side, side, fc.constantFrom(1, 2, 3), (width, height, resample) => {
      const image = pixels(width, height), mean = [0.48145466, 0.4578275, 0.40821073];
      expect(gridOf(squareOverview(image, 12, resample, mean))).toEqual(paddedToSquare(gridOf(image), 12, resample, mean));
    }), { numRuns: 60 });
    const strip = pixels(3, 700), mean = [1, 0, 0.5];
    expect(gridOf(squareOverview(strip, 12, 3, mean))).toEqual(paddedToSquare(gridOf(strip), 12, 3, mean));
  });
  test('a grid of tiles and the whole picture', () => {
    fc.assert(fc.property(side, side, fc.boolean(), (width, height, splitting) => {
      const image = pixels(width, height), want = splitImage(gridOf(image), { longest: 24, tile: 8, splitting, resample: 1 });
      expect(gridTiles(image, { ...grid, do_image_splitting: splitting }, 1).map(gridOf)).toEqual(want.frames);
    }), { numRuns: 60 });
  });
});

/** Each character is a token, but marks and runs in angle brackets are one. */
const tokenizer = { encode: (text: string) => (text.match(/<[^>]*>|\n+|[^]/g) ?? []).map((t) => (t === '<image>' ? 99 : t.startsWith('<') ? 50 + t.length : t.codePointAt(0)! % 40)) } as unknown as Tokenizer;
const media = (tiling: Exclude<Tiling, { rule: 'native_resolution' }>, rowsPerImage?: number): NonNullable<Manifest['media']> => ({ kind: 'visual', lookahead: false, input: { source: 'pixels', shape: [3, tiling.tile_size, tiling.tile_size] }, tiling, imageToken: { text: '<image>', id: 99 }, ...(rowsPerImage === undefined ? {} : { rowsPerImage }) });
const manifest = (tiling: Parameters<typeof media>[0], rowsPerImage?: number): Manifest => ({ model: { name: 'tiny' }, media: media(tiling, rowsPerImage) } as unknown as Manifest);
const idsOf = (items: readonly PromptItem[]): number[] => items.flatMap((x) => (isImage(x) ? Array.from({ length: x.rows }, () => 99) : [x]));
const read = (family: 'llava_next' | 'llava_onevision' | 'smolvlm' | 'idefics2') => parsePreprocessor(tinyFamilies[family].preprocessor);

describe('prompts', () => {
  test('marks stand around tiles as the processor writes them, each tile an image of its own', async () => {
    for (const [width, height] of [[24, 24], [50, 20], [9, 40], [1, 1]] as const) {
      const image = await prepareImage(tinyPicture(width, height), read('smolvlm'), media(grid, 4)), { rows, columns, frames } = splitImage(gridOf(tinyPicture(width, height)), { longest: 24, tile: 8, splitting: true, resample: 1 });
      const items = promptItems(manifest(grid, 4), tokenizer, 'a<image>b<image>', [image, image], true), marked = imagePromptString(rows, columns, 4, '<image>', '<fake>', '<all>');
      expect(idsOf(items)).toEqual(tokenizer.encode(`a${marked}b${marked}`));
      const tiles = items.filter(isImage);
      expect([tiles.length, new Set(tiles.map((t) => t.key)).size, image.rows, image.tiles]).toEqual([2 * frames.length, frames.length, 4 * frames.length, frames.length]);
      tiles.forEach((t) => { checkImage(manifest(grid, 4), t); });
      expect(tiles[0]!.data).toEqual(preprocess({ width: 8, height: 8, data: Uint8Array.from(frames[0]!.flat(2)) }, read('smolvlm')).data);
      expect(() => { checkImage(manifest(grid, 4), image); }).toThrow(/An image of \d+ rows has \d+ values; this model reads 4 rows/);
    }
  });
  test('a picture that is not to be split enters whole, between marks', async () => {
    const whole = { ...grid, do_image_splitting: false }, image = await prepareImage(tinyPicture(50, 20), read('smolvlm'), media(whole, 4));
    expect(idsOf(promptItems(manifest(whole, 4), tokenizer, 'a<image>b', [image], true))).toEqual(tokenizer.encode(`a${imagePromptString(0, 0, 4, '<image>', '<fake>', '<all>')}b`));
    expect([image.tiles, image.rows]).toEqual([1, 4]);
  });
  test('a picture is cut where it is alone, and enters whole among several', async () => {
    const [one, two] = await Promise.all([[40, 20], [20, 45]].map(([w, h]) => prepareImage(tinyPicture(w!, h!), read('llava_onevision'), media(anyResolution)))) as [ImageInput, ImageInput];
    const alone = promptItems(manifest(anyResolution), tokenizer, 'x<image>y', [one], true).filter(isImage)[0]!;
    expect(alone).toMatchObject({ key: one.key, rows: one.rows, tiles: one.tiles });
    expect(one.tiles).toBeGreaterThan(1);
    const both = promptItems(manifest(anyResolution), tokenizer, 'x<image>y<image>', [one, two], true).filter(isImage);
    expect(both.map(({ tiles, rows }) => [tiles, rows])).toEqual([[1, 10], [1, 10]]);
    expect(new Set([...both, one, two].map((i) => i.key)).size).toBe(4);
    [...both, one, two].forEach((i) => { checkImage(manifest(anyResolution), i); });
    const always = { ...anyResolution, alone: false }, next = await prepareImage(tinyPicture(40, 20), read('llava_next'), media(always));
    expect(promptItems(manifest(always), tokenizer, '<image><image>', [next, next], true).map((i) => (i as ImageInput).tiles)).toEqual([next.tiles, next.tiles]);
  });
  test('pictures in their own shape stand between marks, and neighbours share one', async () => {
    const native: Tiling = { rule: 'native_resolution', patch_size: 4, patches_per_side: 5, do_resize: true, shortest_edge: 9, longest_edge: 30, do_image_splitting: true, fake_image_token: '<fake>', most: 49 };
    const of = (splitting: boolean) => ({ kind: 'visual', lookahead: false, input: { source: 'patches' as const, shape: [48] }, rowsPerImage: 2, tiling: { ...native, do_image_splitting: splitting }, imageToken: { text: '<image>', id: 99 } });
    for (const splitting of [true, false]) {
      const images = await Promise.all([[40, 21], [9, 9]].map(([width, height]) => prepareImage(tinyPicture(width!, height!), read('idefics2'), of(splitting)))), model = { model: { name: 'tiny' }, media: of(splitting) } as unknown as Manifest;
      // As Idefics2Processor replaces: every mark by its pictures, then two marks in a row by one.
      const one = '<fake><image><image><fake>'.repeat(splitting ? 5 : 1), text = `a${one}${one}b${one}`.replaceAll('<fake><fake>', '<fake>');
      const items = promptItems(model, tokenizer, 'a<image><image>b<image>', [...images, images[0]!], true), pictures = items.filter(isImage);
      expect(idsOf(items)).toEqual(tokenizer.encode(text));
      expect(pictures.map((p) => p.positions!.length)).toEqual(splitting ? [...Array(4).fill(5 * 2), 7 * 3, ...Array(4).fill(4), 4, ...Array(4).fill(5 * 2), 7 * 3] : [7 * 3, 4, 7 * 3]);
      pictures.forEach((p) => { checkImage(model, p); });
      expect(() => { checkImage(model, { ...pictures[0]!, positions: pictures[0]!.positions!.map(() => 25) }); }).toThrow(/in places 0 to 24/);
      await expect(prepareImage(tinyPicture(40, 21), read('idefics2'), { ...of(splitting), tiling: { ...native, most: 4 } }, 'cat.png')).rejects.toThrow(/cat\.png has \d+ patches, and this bundle has room for 4/);
    }
  });
  test('pictures of equal tiles and other sizes are two', async () => {
    const of = async (n: number): Promise<string> => (await prepareImage({ width: n, height: n, data: new Uint8Array(n * n * 3).fill(7) }, read('llava_next'), media({ ...anyResolution, alone: false }))).key;
    expect(await of(24)).not.toBe(await of(48));
  });
});

describe('says what is wrong', () => {
  const rule = anyResolution as TilingRule & Parameters<typeof media>[0], size = 3 * 12 * 12;
  test('of a picture with too many tiles', async () => {
    await expect(prepareImage(tinyPicture(24, 24), read('llava_next'), media({ ...anyResolution, most: 4 }), 'cat.png')).rejects.toThrow('cat.png is cut into 5 tiles, but this bundle was compiled for at most 4. Shrink the picture, or compile with --max-tiles 5 or more.');
  });
  test.each<[Partial<ImageInput>, RegExp]>([
    [{ tiles: 6 }, /An image is cut into 6 tiles, but this bundle was compiled for at most 5/],
    [{ data: new Float32Array(5) }, /An image of 1 tiles and 2 rows has 5 values and 8 sources of rows; this model reads 432 values and 4 a row\. Prepare pictures with Model\.image/],
    [{ sources: { sources: Int32Array.of(0, 0, 0, 0, 9, 0, 0, 0), weights: new Float32Array(8) } }, /takes a row from source 9, but its 1 tiles have rows 0 to 8/],
    [{ sources: { sources: new Int32Array(8) } }, /has 432 values and 8 sources/],
  ])('of an image made by hand (%#)', (change, message) => {
    const image: ImageInput = { key: 'x', data: new Float32Array(size), rows: 2, tiles: 1, sources: { sources: new Int32Array(8), weights: new Float32Array(8) } };
    checkImage(manifest(rule), image);
    expect(() => { checkImage(manifest(rule), { ...image, ...change }); }).toThrow(message);
  });
  test.each<[object, Tiling | undefined, RegExp]>([
    [tinyFamilies.smolvlm.preprocessor, anyResolution, /x\.bundle: preprocessor_config\.json cuts pictures into a grid of tiles, and the model reads an overview and tiles of one of several sizes\. It belongs to another checkpoint/],
    [{ image_processor_type: 'CLIPImageProcessor' }, grid, /cuts pictures into no tiles, and the model reads a grid of tiles/],
    [tinyFamilies.llava_next.preprocessor, undefined, /and the model reads no tiles/],
    [{ ...tinyFamilies.llava_next.preprocessor, size: { shortest_edge: 14 } }, anyResolution, /makes tiles of 14 \(cut to 12 × 12\) px, and the model reads tiles of 12 px/],
    [{ ...tinyFamilies.llava_onevision.preprocessor, size: { height: 12, width: 24 } }, anyResolution, /makes tiles of no one size px/],
  ])('of a preprocessor of another model (%#)', (config, tiling, message) => {
    expect(() => { checkPreprocessor(parsePreprocessor(config), tiling ? { tiling } : {}, 'x.bundle'); }).toThrow(message);
  });
  test('of settings that no tiles have', () => {
    expect(() => parsePreprocessor({ ...tinyFamilies.llava_next.preprocessor, do_image_splitting: true })).toThrow(/do_image_splitting is set, and this runtime does not follow it/);
    expect(() => parsePreprocessor({ image_processor_type: 'PixtralImageProcessor' })).toThrow(/image_processor_type is PixtralImageProcessor, and this runtime follows CLIPImageProcessor, SiglipImageProcessor, LlavaNextImageProcessor, LlavaOnevisionImageProcessor, Idefics2ImageProcessor, Idefics3ImageProcessor, SmolVLMImageProcessor\. Choose/);
  });
});
