import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { RuntimeError } from '../../../runtime/errors.ts';
import { readImageHeader } from '../../../runtime/image-header.ts';
import { parsePreprocessor, preprocess, toPixels, type RawImage } from '../../../runtime/image.ts';
import { fileSource } from '../../../runtime/node-files.ts';
import { decodeImage } from '../../../runtime/node-image.ts';
import { resize } from '../../../runtime/resize.ts';
import { Safetensors } from '../../../runtime/safetensors.ts';

const fixtures = new URL('../../fixtures/', import.meta.url).pathname;
const json = (path: string): unknown => JSON.parse(readFileSync(fixtures + path, 'utf8'));
const clip = { image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 4 }, crop_size: 4, image_mean: [0, 0, 0], image_std: [1, 1, 1], rescale_factor: 1, resample: 0 };

describe('against Pillow and transformers', () => {
  const { cases } = json('resize/pillow.json') as { cases: { from: [number, number]; to: [number, number]; seed: number; filter: number; sha256: string }[] };
  test.each(cases)('resize $from to $to with filter $filter', ({ from, to, seed, filter, sha256 }) => {
    const data = new Uint8Array(from[0] * from[1] * 3);
    for (let i = 0, x = seed; i < data.length; i++) {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      data[i] = Math.floor(i / 24) % 2 ? (x >>> 31) * 255 : x >>> 24; // as make.py draws it
    }
    const picture = { width: from[0], height: from[1], channels: 3, data };
    const whole = resize(picture, to[0], to[1], filter);
    expect(createHash('sha256').update(whole.data).digest('hex')).toBe(sha256);

    // A window is the same part of the whole.
    const window = { left: to[0] >> 2, top: to[1] >> 1, width: Math.max(1, to[0] >> 1), height: Math.max(1, to[1] >> 2) };
    const part = resize(picture, to[0], to[1], filter, window);
    for (let y = 0; y < window.height; y++) {
      const at = ((y + window.top) * to[0] + window.left) * 3;
      expect(part.data.slice(y * window.width * 3, (y + 1) * window.width * 3)).toEqual(whole.data.slice(at, at + window.width * 3));
    }
  });

  test.each(['llava-clip-llama-a', 'llava-siglip-qwen2-a'])('pixel_values of %s', async (folder) => {
    const golden = await Safetensors.open(await fileSource(`${fixtures}${folder}/golden.safetensors`));
    const config = parsePreprocessor(json(`${folder}/preprocessor_config.json`));
    const cases = (json(`${folder}/golden.json`) as { cases: { name: string; images: number[] }[] }).cases.filter((c) => c.images?.length);
    expect(cases.length).toBeGreaterThan(0);
    for (const { name, images } of cases) {
      const want = await golden.f32(`${name}.pixel_values`);
      const got: number[] = [];
      for (const k of images) {
        const [height, width] = golden.entry(`images.${k}.rgb`).shape as [number, number];
        const raw = { width, height, data: await golden.bytes(`images.${k}.rgb`) };
        const decoded = await decodeImage(`${fixtures}${folder}/images/${k}.png`);
        expect(Buffer.compare(Buffer.from(decoded.data), Buffer.from(raw.data))).toBe(0);
        got.push(...preprocess(raw, config).data);
      }
      let worst = 0;
      want.forEach((w, i) => (worst = Math.max(worst, Math.abs(w - got[i]!))));
      expect(got.length).toBe(want.length);
      expect(worst / Math.max(1, Math.max(...want.map(Math.abs)))).toBeLessThanOrEqual(1e-6);
    }
    await golden.close();
  });
});

describe('settings', () => {
  const levels = (image: RawImage, config: object) => {
    const { data, width, height } = preprocess(image, parsePreprocessor(config));
    return { width, height, red: [...data.slice(0, width * height)] };
  };
  const ramp = (width: number, height: number): RawImage => ({ width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => Math.floor(i / 3)) });

  test('integers and objects as sizes, crops inside and outside, as transformers has them', () => {
    expect(levels(ramp(4, 6), clip).red.slice(0, 4)).toEqual([4, 5, 6, 7]);
    expect(levels(ramp(4, 5), clip).red.slice(0, 4)).toEqual([0, 1, 2, 3]);
    const plain = { ...clip, do_resize: false };
    // 3 × 3 in a 4 × 4 crop: the odd row and column of padding come first.
    expect(levels(ramp(3, 3), plain).red).toEqual([0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8]);
    // Wide but low: cropped along x, padded along y.
    expect(levels(ramp(6, 2), plain).red).toEqual([0, 0, 0, 0, 1, 2, 3, 4, 7, 8, 9, 10, 0, 0, 0, 0]);
    expect(levels(ramp(6, 2), { ...plain, do_center_crop: false })).toMatchObject({ width: 6, height: 2 });
    expect(levels(ramp(9, 5), { ...clip, size: 4, crop_size: { height: 2, width: 3 } })).toMatchObject({ width: 3, height: 2 });
    expect(levels(ramp(9, 5), { ...clip, image_processor_type: 'SiglipImageProcessor', size: 7 })).toMatchObject({ width: 7, height: 7 });
  });

  test('a very thin picture costs only its crop', () => {
    const start = performance.now();
    expect(levels({ width: 1, height: 16384, data: new Uint8Array(16384 * 3).fill(9) }, { ...clip, size: 336, crop_size: 336, resample: 3 }).red.every((v) => v === 9)).toBe(true);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  test('alpha is dropped, not blended', () => {
    const data = Uint8Array.from({ length: 64 }, (_, i) => (i % 4 === 3 ? 0 : 200));
    expect(levels({ width: 4, height: 4, data }, clip).red).toEqual(new Array(16).fill(200));
  });

  test.each<[object, RegExp]>([
    [{ image_processor_type: 'Qwen2VLImageProcessor' }, /Qwen2VLImageProcessor, and this runtime follows/],
    [{ ...clip, do_pad: true }, /do_pad is set/],
    [{ ...clip, size: { shortest_edge: 4, longest_edge: 9 } }, /longest_edge/],
    [{ ...clip, size: { shortest_edge: 0 } }, /size\.shortest_edge is 0/],
    [{ ...clip, size: { height: 4 } }, /size\.width is undefined/],
    [{ ...clip, resample: 9 }, /resample is 9/],
    [{ ...clip, image_mean: [1, 2] }, /image_mean is \[1,2\]/],
    [{ ...clip, image_std: [1, 0, 1] }, /image_std holds a 0/],
    [{ ...clip, rescale_factor: 'x' }, /rescale_factor/],
  ])('%j is refused', (config, message) => {
    expect(() => parsePreprocessor(config)).toThrow(expect.objectContaining({ code: 'image', message: expect.stringMatching(message) }));
  });
});

describe('pictures that cannot be used', () => {
  const config = parsePreprocessor(clip);
  test.each<[RawImage, RegExp]>([
    [{ width: 0, height: 5, data: new Uint8Array(0) }, /0 × 5: it has no pixels/],
    [{ width: 20000, height: 1, data: new Uint8Array(60000) }, /20000 × 1 pixels, and no edge may be longer than 16384/],
    [{ width: 16000, height: 16000, data: new Uint8Array(0) }, /256 million pixels/],
    [{ width: 2, height: 2, data: new Uint8Array(5) }, /takes 12 samples as RGB or 16 as RGBA, but 5/],
  ])('$width × $height', (image, message) => {
    expect(() => preprocess(image, config)).toThrow(expect.objectContaining({ code: 'image', message: expect.stringMatching(message) }));
  });

  test('files', async () => {
    const png = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } }).png().toBuffer();
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * 7919) >> 3);
    const jpeg = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } }).jpeg().toBuffer();
    const wide = await sharp({ create: { width: 20000, height: 2, channels: 3, background: 'red' } }).png().toBuffer();
    await expect(decodeImage(new Uint8Array(0))).rejects.toThrow(/is empty \(0 bytes\)/);
    await expect(decodeImage(new TextEncoder().encode('no picture at all'), 'a.png')).rejects.toThrow(/^a\.png cannot be decoded as a picture/);
    await expect(decodeImage(png.subarray(0, 60))).rejects.toMatchObject({ name: 'RuntimeError', code: 'image' });
    await expect(decodeImage(jpeg.subarray(0, jpeg.length >> 1))).rejects.toMatchObject({ name: 'RuntimeError', code: 'image' });
    await expect(decodeImage(wide)).rejects.toThrow(/20000 × 2 pixels/);
    await expect(decodeImage('/no/such.png')).rejects.toMatchObject({ code: 'file', message: '/no/such.png does not exist. Check the path.' });
  });
});

describe('heads of files', () => {
  const noise = sharp(Uint8Array.from({ length: 24 * 16 * 3 }, (_, i) => (i * i * 7919) >> 3), { raw: { width: 24, height: 16, channels: 3 } });
  const files = { png: () => noise.clone().png(), jpeg: () => noise.clone().jpeg(), 'progressive jpeg': () => noise.clone().jpeg({ progressive: true }), webp: () => noise.clone().webp(), 'lossless webp': () => noise.clone().webp({ lossless: true }) } as const;
  const named = Object.keys(files) as (keyof typeof files)[];

  test.each(named)('%s: its size, and a file cut short anywhere is told so', async (name) => {
    const bytes = await files[name]().toBuffer();
    expect(readImageHeader(bytes)).toMatchObject({ width: 24, height: 16, orientation: 1 });
    for (let length = 1; length < bytes.length - 1; length++) expect(() => readImageHeader(bytes.subarray(0, length)), `${length} bytes`).toThrow(/cut short|is no PNG|size|marker|holds no picture/);
  });
  test('damaged files end in a sentence, never in something else', async () => {
    const whole = await Promise.all(named.map((name) => files[name]().withMetadata({ orientation: 5 }).toBuffer()));
    fc.assert(fc.property(fc.constantFrom(...whole), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }), (bytes, changes) => {
      const damaged = Uint8Array.from(bytes);
      for (const [at, value] of changes) damaged[at % damaged.length] = value;
      try { readImageHeader(damaged); } catch (e) { expect(e).toBeInstanceOf(RuntimeError); }
    }), { numRuns: 300 });
  });
  test('a bomb is refused by its head, before anything is decoded', async () => {
    const bomb = Buffer.from(await files.png().toBuffer());
    bomb.writeUInt32BE(60_000, 16);
    bomb.writeUInt32BE(60_000, 20);
    await expect(decodeImage(bomb)).rejects.toThrow(/60000 × 60000 pixels, and no edge may be longer/);
    bomb.writeUInt32BE(12_000, 16);
    bomb.writeUInt32BE(12_000, 20);
    await expect(decodeImage(bomb)).rejects.toThrow(/144 million pixels, and 100 million is the limit/);
  });
  test('what moves, and what is another kind of file', async () => {
    const frames = [await files.png().toBuffer(), await noise.clone().negate().png().toBuffer()], moving = sharp(frames, { join: { animated: true } });
    await expect(decodeImage(await moving.clone().webp().toBuffer())).rejects.toThrow(/is an animation of several frames/);
    for (const other of [await moving.clone().gif().toBuffer(), await noise.clone().tiff().toBuffer(), Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')])
      await expect(decodeImage(other, 'a file')).rejects.toThrow(/^a file cannot be decoded as a picture \(it is no PNG, JPEG or WebP file\)/);
    const apng = Buffer.from(await files.png().toBuffer()), chunk = Buffer.alloc(20);
    chunk.writeUInt32BE(8, 0);
    chunk.write('acTL', 4);
    chunk.writeUInt32BE(3, 8);
    await expect(decodeImage(Buffer.concat([apng.subarray(0, 33), chunk, apng.subarray(33)]))).rejects.toThrow(/is an animation of 3 frames/);
  });
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('orientation %i, in every format', async (orientation) => {
    for (const name of named) {
      const bytes = await files[name]().withMetadata({ orientation }).toBuffer(), { data, info } = await sharp(bytes).autoOrient().raw().toBuffer({ resolveWithObject: true });
      expect(await decodeImage(bytes), name).toEqual({ width: info.width, height: info.height, data: new Uint8Array(data) });
    }
  });
});

describe('decoding', () => {
  const grey = Uint8Array.of(10, 20, 30, 40, 50, 60);
  test('greyscale, 16 bits and palette become 8-bit RGB; alpha is kept, and dropped or laid over white as the processor says', async () => {
    const base = sharp(grey, { raw: { width: 3, height: 2, channels: 1 } });
    const want = [...grey].flatMap((v) => [v, v, v]);
    expect([...(await decodeImage(await base.clone().png().toBuffer())).data]).toEqual(want);
    expect([...(await decodeImage(await base.clone().toColourspace('rgb16').png().toBuffer())).data]).toEqual(want);
    expect([...(await decodeImage(await base.clone().webp({ lossless: true }).toBuffer())).data]).toEqual(want);
    const rgba = await sharp(Uint8Array.of(9, 8, 7, 0, 6, 5, 4, 255), { raw: { width: 2, height: 1, channels: 4 } }).png().toBuffer();
    const decoded = await decodeImage(rgba);
    expect([...decoded.data]).toEqual([9, 8, 7, 0, 6, 5, 4, 255]);
    expect([...toPixels(decoded, {}).data]).toEqual([9, 8, 7, 6, 5, 4]);
    expect([...toPixels(decoded, { overWhite: true }).data]).toEqual([255, 255, 255, 6, 5, 4]);
    expect(['Idefics2', 'Idefics3', 'SmolVLM', 'CLIP', 'LlavaNext', 'LlavaOnevision'].map((name) => parsePreprocessor({ image_processor_type: `${name}ImageProcessor` }).overWhite ?? false)).toEqual([true, true, true, false, false, false]);
    // Image.alpha_composite of Pillow 12.3; its integers were compared for all alphas.
    const shades = [[0, 1], [15, 2], [120, 63], [135, 127], [200, 128], [240, 200], [30, 254]].map(([sample, alpha]) => [sample!, sample!, sample!, alpha!]);
    expect([...toPixels({ width: 7, height: 1, data: Uint8Array.from(shades.flat()) }, { overWhite: true }).data].filter((_, i) => i % 3 === 0)).toEqual([254, 253, 222, 195, 227, 243, 31]);
    const palette = await sharp({ create: { width: 2, height: 1, channels: 3, background: { r: 255, g: 0, b: 0 } } }).png({ palette: true }).toBuffer();
    expect([...(await decodeImage(palette)).data]).toEqual([255, 0, 0, 255, 0, 0]);
  });

  test('EXIF orientation turns the picture upright', async () => {
    const turned = await sharp(grey, { raw: { width: 3, height: 2, channels: 1 } }).withMetadata({ orientation: 6 }).png().toBuffer();
    const { width, height, data } = await decodeImage(turned);
    expect([width, height]).toEqual([2, 3]);
    expect([...data].filter((_, i) => i % 3 === 0)).toEqual([40, 10, 50, 20, 60, 30]);
  });

  test('a colour profile is ignored, as Pillow ignores it', async () => {
    const p3 = await sharp(Uint8Array.of(200, 30, 40), { raw: { width: 1, height: 1, channels: 3 } }).withIccProfile('p3', { attach: true }).png().toBuffer();
    const { data: stored } = await sharp(p3, { ignoreIcc: true }).raw().toBuffer({ resolveWithObject: true });
    expect([...(await decodeImage(p3)).data]).toEqual([...stored.subarray(0, 3)]);
  });
});
