/** `--image WxH`: how sizes of pictures are read, and what they come to. */
import { UserError, createModel } from 'eemllm';
import { builtinConfig, familyOf } from 'eemllm/models';
import { Poly } from '../../compiler/ir/poly.ts';
import type { Sequence } from '../../compiler/ir/rows.ts';
import { describe, expect, test } from 'vitest';
import { pictureSize, pictureSizes, promptSizes } from '../../compiler/cli/image-size.ts';
import type { PromptFlags } from '../../compiler/cli/image-size.ts';
import { trace } from '../../compiler/frontend/trace.ts';

describe('reads', () => {
  test.each([['980x672', 980, 672], ['980X672', 980, 672], ['980×672', 980, 672], [' 980 x 672 ', 980, 672], ['336', 336, 336], ['1x100000', 1, 100_000]])('%s', (text, width, height) => {
    expect(pictureSize(text)).toEqual({ width, height });
  });
  test.each([
    ['-3x5', 'has a negative width'], ['3x-5', 'has a negative height'], ['0x5', 'has no width'], ['5x0', 'has no height'], ['3.5x5', 'has a width that is no whole number'], ['5x1e3', 'is no size of a picture'],
    ['100001x5', 'has a width that no picture has'], ['5x99999999999999999999', 'has a height that no picture has'], ['', 'is no size of a picture'], ['x', 'is no size of a picture'], ['5x', 'is no size of a picture'], ['5x5x5', 'is no size of a picture'], ['wide', 'is no size of a picture'],
  ])("'%s' is a clear error", (text, why) => {
    const message = `--image '${text}' ${why}. A picture's size is its width and height in whole pixels, 1 to 100,000 each, as in --image 980x672.`;
    expect(() => pictureSize(text)).toThrow(new UserError(message));
  });
});

describe('comes to', () => {
  const of = (name: string) => { const json = builtinConfig(name)!, model = createModel(familyOf(json), json, name); return { model, graph: trace(model).graph }; };
  const images = (...sizes: string[]): PromptFlags => ({ text: 64, image: sizes.reduce<ReturnType<typeof pictureSizes>>((all, s) => pictureSizes(s, all), []) });
  test('tiles and rows of all pictures, by the model', () => {
    const next = of('llava-next-7b'), one = of('llava-onevision-0.5b');
    expect(promptSizes(next, images('672x672'), 576)).toEqual({ images: 1, tiles: 5, visual: 2928, text: 64 });
    expect(promptSizes(next, images('672x672', '336x336'), 576)).toEqual({ images: 2, tiles: 8, visual: 2928 + 1176, text: 64 });
    expect(promptSizes(one, images('768x768'), 576)).toEqual({ images: 1, tiles: 5, visual: 729 + 54 * 55, text: 64 });
    expect(promptSizes(one, images('768x768', '768x768', '1x1'), 576)).toEqual({ images: 3, tiles: 3, visual: 3 * 730, text: 64 });
  });
  test('so many tokens as are said', () => {
    const llava = of('llava-1.5-7b');
    expect(promptSizes(llava, { text: 64 }, 576)).toEqual({ images: 1, tiles: 1, visual: 576, text: 64 });
    expect(promptSizes(llava, { text: 0, visual: 100, images: 4 }, 576)).toEqual({ images: 4, tiles: 4, visual: 100, text: 0 });
    expect(promptSizes(llava, images('980x980', '3x4'), 576)).toEqual({ images: 2, tiles: 2, visual: 1152, text: 64 });
    expect(() => promptSizes(llava, { ...images('3x4'), visual: 576 }, 576)).toThrow('--image and --visual both say how many visual tokens there are.');
    expect(() => promptSizes(llava, { ...images('3x4'), images: 2 }, 576)).toThrow('--image and --images both say');
    expect(() => promptSizes(of('qwen2-0.5b'), images('3x4'), 576)).toThrow('The model Llama reads no pictures');
  });
  test('rows that no flag counts', () => {
    const tokens: Sequence = { name: 'tokens', kinds: [{ name: 'clip', count: Poly.dim('C'), media: true }, { name: 'text', count: Poly.dim('T'), media: false }] };
    const llava = of('llava-1.5-7b'), graph = { ...llava.graph, sequences: new Map([['tokens', tokens]]) };
    expect(() => promptSizes({ ...llava, graph }, { text: 64 }, 576)).toThrow("The sequence 'tokens' has rows of the kind 'clip', 'C' of them");
  });
});
