/** The page of examples/web, built, in a headless Chromium on SwiftShader, used as a person would use it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { build, preview, type PreviewServer } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeImage, loadModel } from '../../runtime/node.ts';
import { prepareWeb, publicFolder } from '../../scripts/web-data.ts';
import { hasChromium, launchChromium, WEBGPU_FLAGS } from '../support/chromium.ts';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
interface Line { image: string; question: string; self: { text: string }; composite: { text: string } }
const lines = readFileSync(path('examples/shapes/expected.jsonl'), 'utf8').split('\n').filter(Boolean).map((l) => JSON.parse(l) as Line);
/** The pictures in the order of the page. */
const pictures = [...new Set(lines.map((l) => l.image))];
const shipped = (image: string): string => path(`examples/shapes/pictures/${basename(image)}`);
/** Where the screenshots go, for someone to look at. */
const screenshots = path('.cache/screenshots');

describe.runIf(hasChromium)('the page of examples/web', () => {
  const root = path('examples/web'), outDir = mkdtempSync(join(tmpdir(), 'eemllm-web-'));
  let server: PreviewServer, browser: Browser, url: string;

  beforeAll(async () => {
    await prepareWeb();
    await build({ root, logLevel: 'error', build: { outDir, emptyOutDir: true } });
    server = await preview({ root, logLevel: 'error', build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
    url = server.resolvedUrls!.local[0]!;
    browser = await launchChromium(WEBGPU_FLAGS);
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
    rmSync(outDir, { recursive: true, force: true });
  });

  /** Opens the page; whatever it complains about on the console ends up in `complaints`. */
  async function open(options: BrowserContextOptions = {}, before?: (page: Page) => Promise<unknown>): Promise<{ page: Page; complaints: string[] }> {
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
    const page = await context.newPage(), complaints: string[] = [];
    page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') complaints.push(m.text()); });
    page.on('pageerror', (e) => complaints.push(String(e)));
    await before?.(page);
    await page.goto(url);
    return { page, complaints };
  }
  const ready = (page: Page): Promise<void> => page.locator('#loading').waitFor({ state: 'hidden', timeout: 200_000 });
  const newest = (page: Page): Locator => page.getByRole('log').getByRole('listitem').filter({ has: page.locator('.q') }).first();
  const pick = (page: Page, image: string): Promise<void> => page.getByRole('radio', { name: `Picture ${pictures.indexOf(image) + 1}`, exact: true }).check({ force: true });
  const measuredRow = (page: Page, name: string): Promise<string[]> => page.locator('#measured tr', { hasText: name }).locator('td').allInnerTexts();

  /** Types a question, and waits until both programs have answered it. */
  async function ask(page: Page, question: string): Promise<{ answer: string; facts: string }> {
    await page.getByRole('textbox', { name: 'Your question' }).fill(question);
    await page.getByRole('button', { name: 'Ask', exact: true }).click();
    const entry = newest(page);
    await entry.getByText(/agrees|says|Error|error/).waitFor();
    expect(await entry.locator('.q').innerText()).toBe(question);
    return { answer: await entry.locator('.a').innerText(), facts: await entry.locator('.facts').innerText() };
  }

  test('every question of expected.jsonl gets the expected answers, and a second question computes no visual row', async () => {
    const { page, complaints } = await open();
    await ready(page);
    let before = '';
    for (const { image, question, composite, self } of lines) {
      await pick(page, image);
      const { answer, facts } = await ask(page, question);
      expect({ image, question, answer }).toEqual({ image, question, answer: composite.text });
      expect(facts).toContain(composite.text === self.text ? 'self agrees' : `self says “${self.text}”`);
      if (image === before) expect(facts).toContain('visual rows computed: 0');
      else expect(facts).toMatch(/visual rows computed: [1-9]/);
      before = image;
    }
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('composite attention remembers a picture over others; what was saved comes from what ran', async () => {
    const { page, complaints } = await open();
    await ready(page);
    const [first, second] = pictures as [string, string];
    await pick(page, first);
    await ask(page, 'how many objects are there ?');
    const fresh = await measuredRow(page, 'visual rows computed');
    await pick(page, second);
    await ask(page, 'how many objects are there ?');
    await pick(page, first);
    await ask(page, 'describe the image .');
    const again = await measuredRow(page, 'visual rows computed');
    expect(Number(fresh[0]!.replace(/\D/g, ''))).toBeGreaterThan(Number(fresh[1]!.replace(/\D/g, '')));
    expect(again[0]).not.toBe('0');
    expect(again[1]).toBe('0');

    await page.getByRole('button', { name: 'Measure side by side' }).click();
    await page.locator('#measured caption', { hasText: 'medians' }).waitFor();
    for (const row of ['time', 'FLOPs', 'dispatches']) expect((await measuredRow(page, row)).slice(0, 2)).toEqual([expect.stringMatching(/^[1-9]/), expect.stringMatching(/^[1-9]/)]);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the attention map says for every pair of kinds what is computed, copied and skipped', async () => {
    const { page } = await open();
    await ready(page);
    // 64 visual tokens after 3 of text, 8 of text after them.
    await ask(page, 'how many objects are there ?');
    const rows = async (map: number): Promise<string[]> => (await page.locator('#maps figure').nth(map).locator('tbody tr').allInnerTexts()).map((t) => t.replace(/\s+/g, ' '));
    const triangle = (n: number): number => (n * (n + 1)) / 2, number = (n: number): string => n.toLocaleString('en');
    expect(await rows(0)).toEqual([
      `visual → visual causal ${number(triangle(64))} 0 ${number(64 * 64 - triangle(64))}`, `visual → text causal ${64 * 3} 0 ${64 * 8}`,
      `text → visual causal ${64 * 8} 0 ${64 * 3}`, `text → text causal ${triangle(11)} 0 ${121 - triangle(11)}`,
    ]);
    expect(await rows(1)).toEqual([
      `visual → visual diagonal 0 64 ${number(64 * 64 - 64)}`, `visual → text empty 0 0 ${number(64 * 11)}`,
      `text → visual causal ${64 * 8} 0 ${64 * 3}`, `text → text causal ${triangle(11)} 0 ${121 - triangle(11)}`,
    ]);
    const slider = page.getByRole('slider', { name: 'Asking token' });
    await slider.focus();
    await slider.press('Home');
    for (let i = 0; i < 10; i++) await slider.press('ArrowRight');
    await expect.poll(() => slider.getAttribute('aria-valuetext')).toBe('11 of 75: visual 8');
    expect(await page.locator('#maps .reads').allInnerTexts()).toEqual(['Reads 3 text tokens and 8 visual tokens.', 'Copies its own V; no Q, no scores.']);
    await page.context().close();
  });

  test("one's own picture: chosen, pasted or dropped, it gets the answers that Node gives; what is no picture is told", async () => {
    const { page, complaints } = await open();
    await ready(page);
    const jpeg = await sharp(shipped(pictures[1]!)).resize(300, 200, { fit: 'fill' }).jpeg({ quality: 92 }).toBuffer();
    const question = 'describe the image .';
    const inNode = await loadModel(join(publicFolder, 'bundles/composite'), { adapter: { prefer: 'swiftshader' } });
    let expected = '';
    try {
      const image = await inNode.model.image(await decodeImage(jpeg));
      for await (const piece of inNode.model.generate({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: question }] }], images: [image] })) expected += piece.text;
    } finally {
      inNode.close();
    }
    await page.getByLabel('Use your own').setInputFiles({ name: 'mine.jpg', mimeType: 'image/jpeg', buffer: jpeg });
    await page.getByRole('radio', { name: 'mine.jpg' }).waitFor({ state: 'attached' });
    expect((await ask(page, question)).answer).toBe(expected);

    await page.getByLabel('Use your own').setInputFiles({ name: 'notes.png', mimeType: 'image/png', buffer: Buffer.from('no picture at all') });
    await expect.poll(() => page.locator('#picture-problem').innerText()).toMatch(/^notes\.png cannot be decoded as a picture .*Choose a PNG, JPEG or WebP picture that an image viewer opens\.$/);
    expect(await page.getByRole('img', { name: 'mine.jpg' }).first().isVisible()).toBe(true);

    for (const way of ['paste', 'drop'] as const) {
      await page.evaluate(([way, bytes, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
        document.body.dispatchEvent(way === 'paste' ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true }) : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
      }, [way, [...readFileSync(shipped(pictures[2]!))], `${way}.png`] as const);
      await page.getByRole('radio', { name: `${way}.png` }).waitFor({ state: 'attached' });
      await expect.poll(() => page.locator('#picture').getAttribute('alt')).toBe(`${way}.png`);
      expect(await page.locator('#picture-problem').isHidden()).toBe(true);
    }
    const line = lines.find((l) => l.image === pictures[2])!;
    expect((await ask(page, line.question)).answer).toBe(line.composite.text);

    await ask(page, 'is there a purple giraffe ?');
    await page.getByText('This small model does not know “giraffe”.').waitFor();
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('a question that is too long gets a sentence, and the next one an answer', async () => {
    const { page } = await open();
    await ready(page);
    await page.getByRole('textbox', { name: 'Your question' }).fill('is there a red circle ? '.repeat(2000));
    await page.getByRole('button', { name: 'Ask', exact: true }).click();
    await expect.poll(() => newest(page).getByRole('alert').innerText()).toMatch(/needs \d+ text tokens, but this bundle was compiled for at most \d+\. Shorten the prompt/);
    const line = lines[0]!;
    expect((await ask(page, line.question)).answer).toBe(line.composite.text);
    await page.context().close();
  });

  test('the keyboard alone suffices', async () => {
    const { page, complaints } = await open();
    await ready(page);
    await page.keyboard.press('Tab');
    await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe('Skip to the question');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => page.locator('#picture').getAttribute('alt')).toBe('Picture 2');
    await page.keyboard.press('Tab'); // the file button
    await page.keyboard.press('Tab');
    const line = lines.find((l) => l.image === pictures[1])!;
    await page.keyboard.type(line.question);
    await page.keyboard.press('Enter');
    const entry = newest(page);
    await entry.getByText(/agrees|says/).waitFor();
    expect(await entry.locator('.a').innerText()).toBe(line.composite.text);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test.each([
    ['no WebGPU', 'This browser has no WebGPU.', (): void => { Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }); }],
    ['no adapter', 'found no adapter that it may use', (): void => { GPU.prototype.requestAdapter = async () => null; }],
  ])('with %s the page says what to do', async (_what, sentence, spoil) => {
    const { page, complaints } = await open({}, (p) => p.addInitScript(spoil));
    await expect.poll(() => page.locator('#problem').innerText()).toContain(sentence);
    expect(await page.getByRole('button', { name: 'Ask', exact: true }).isDisabled()).toBe(true);
    expect(await page.getByRole('heading', { name: 'What composite attention saves' }).isVisible()).toBe(true);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test.each([['desktop', 1360, 900], ['tablet', 900, 1100], ['phone', 390, 844]] as const)('fits on a %s, light and dark', async (name, width, height) => {
    const { page } = await open({ viewport: { width, height }, colorScheme: 'light' });
    await ready(page);
    for (const line of lines.slice(0, 3)) {
      await pick(page, line.image);
      await ask(page, line.question);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(screenshots, `web-${name}-${colorScheme}.png`), fullPage: true });
    }
    await page.context().close();
  });
});
