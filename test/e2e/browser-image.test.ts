import { build } from 'esbuild';
import type { Page } from 'playwright-core';
import sharp, { type Sharp } from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type * as BrowserImage from '../../runtime/browser-image.ts';
import { decodeImage } from '../../runtime/node-image.ts';
import { hasChromium, launchChromium } from '../support/chromium.ts';

const noise = Uint8Array.from({ length: 40 * 30 * 4 }, (_, i) => (i * i * 7919 + i * 31) >> 4);
const rgba = () => sharp(noise, { raw: { width: 40, height: 30, channels: 4 } });
const rgb = () => rgba().removeAlpha();
const pictures: Record<string, () => Sharp> = {
  'PNG': () => rgb().png(),
  'PNG with alpha': () => rgba().png(),
  'grey PNG': () => rgb().greyscale().png(),
  'PNG with a colour profile': () => rgb().withIccProfile('p3').png(),
  'JPEG': () => rgb().jpeg({ quality: 90 }),
  ...Object.fromEntries([2, 3, 4, 5, 6, 7, 8].map((orientation) => [`JPEG of orientation ${orientation}`, () => rgb().withMetadata({ orientation }).jpeg()])),
  'PNG on its side': () => rgb().withMetadata({ orientation: 6 }).png(),
  'WebP on its side': () => rgba().withMetadata({ orientation: 8 }).webp({ lossless: true, exact: true }),
  'PNG of 16 bits': () => rgb().toColourspace('rgb16').png(),
  'grey PNG with alpha': () => rgba().greyscale().png(),
  'palette PNG': () => rgb().png({ palette: true }),
  'progressive JPEG': () => rgb().jpeg({ progressive: true }),
  'WebP with alpha': () => rgba().webp({ lossless: true, exact: true }),
};

describe.runIf(hasChromium)('pictures in a browser', () => {
  let page: Page;
  beforeAll(async () => {
    const bundle = await build({ entryPoints: [new URL('../../runtime/browser-image.ts', import.meta.url).pathname], bundle: true, write: false, format: 'iife', globalName: 'BrowserImage' });
    const browser = await launchChromium();
    page = await browser.newPage();
    await page.addScriptTag({ content: bundle.outputFiles[0]!.text });
  });
  afterAll(() => page?.context().browser()?.close());

  const decodeThere = (bytes: Uint8Array) =>
    page.evaluate(async (list) => {
      const { decodeImage } = (globalThis as unknown as { BrowserImage: typeof BrowserImage }).BrowserImage;
      try {
        const { width, height, data } = await decodeImage(new Blob([new Uint8Array(list)]));
        return { width, height, data: [...data] };
      } catch (error) {
        return String(error);
      }
    }, [...bytes]);

  test.each(Object.keys(pictures))('%s has the samples that Node reads', async (name) => {
    const bytes = await pictures[name]!().toBuffer();
    const { width, height, data } = await decodeImage(bytes);
    // Browsers give an alpha to every picture.
    const rgba = data.length === 4 * width * height ? [...data] : [...data].flatMap((x, i) => (i % 3 === 2 ? [x, 255] : [x]));
    expect(await decodeThere(bytes)).toEqual({ width, height, data: rgba });
  });

  test('what is no picture is told', async () => {
    expect(await decodeThere(new TextEncoder().encode('nothing'))).toMatch(/^RuntimeError: The image cannot be decoded as a picture/);
    const wide = await sharp({ create: { width: 20000, height: 2, channels: 3, background: 'red' } }).png().toBuffer();
    expect(await decodeThere(wide)).toMatch(/20000 × 2 pixels, and no edge may be longer than 16384/);
    for (const name of ['PNG', 'progressive JPEG', 'WebP with alpha']) {
      const bytes = await pictures[name]!().toBuffer();
      expect(await decodeThere(bytes.subarray(0, bytes.length * 0.8)), name).toMatch(/cut short/);
    }
    const moving = await sharp([await rgb().png().toBuffer(), await rgb().negate().png().toBuffer()], { join: { animated: true } }).webp().toBuffer();
    expect(await decodeThere(moving)).toMatch(/is an animation/);
  });
});
