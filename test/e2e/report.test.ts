/** The report, made by its command and opened from disk in a headless Chromium: at phone and desktop width, light and dark, by keyboard, on paper. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { main } from '../../compiler/cli/main.ts';
import { hasChromium, launchChromium } from '../support/chromium.ts';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
/** Where the screenshots go, for someone to look at. */
const screenshots = path('.cache/screenshots');
const folder = mkdtempSync(join(tmpdir(), 'eemllm-report-')), made = (name: string): string => join(folder, `${name}.html`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The command line, in this process. */
async function run(...args: string[]): Promise<{ code: number; told: string }> {
  let told = '';
  const spy = vi.spyOn(process.stderr, 'write').mockImplementation(((text: string) => { told += text; return true; }) as never);
  try { return { code: await main(args), told }; } finally { spy.mockRestore(); }
}

const figures = ['cost-by-size', 'flops-by-role', 'flops-by-layer', 'attention', 'passes', 'roofline', 'memory'];
const reports: Readonly<Record<string, readonly string[]>> = {
  llava: ['llava-1.5-7b', '--sizes', '336,672,980'],
  shapes: [path('examples/shapes/checkpoint'), '--figures', join(folder, 'figures')],
  many: [path('examples/shapes/checkpoint'), '--compare', 'self,composite,shortv:layers=1-4,ee-mllm-f:layers=0-1,fastv:k=2,r=0.5,vtw:k=3,pdrop:layers=1,3,keep=0.5,image-islands:window=4,composite+shortv:layers=2-3'],
};

beforeAll(async () => {
  for (const [name, args] of Object.entries(reports)) expect(await run('report', ...args, '-o', made(name))).toMatchObject({ code: 0 });
});

describe.runIf(hasChromium)('a report in the browser', () => {
  let browser: Browser;
  beforeAll(async () => { browser = await launchChromium(); });
  afterAll(() => browser?.close());

  /** Opens a report without a network; what it complains about, and what it asks for besides itself, ends up in `complaints`. */
  async function open(name: string, options: BrowserContextOptions = {}): Promise<{ page: Page; complaints: string[] }> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, offline: true, ...options });
    const page = await context.newPage(), complaints: string[] = [], url = pathToFileURL(made(name)).href;
    page.on('console', (m) => complaints.push(m.text()));
    page.on('pageerror', (e) => complaints.push(String(e)));
    page.on('request', (r) => { if (r.url() !== url && !r.url().startsWith('data:') && !r.url().startsWith('blob:')) complaints.push(`asks for ${r.url()}`); });
    await page.goto(url);
    return { page, complaints };
  }
  /** Elements that reach beyond the page, those inside a box that scrolls left out. */
  const overflowing = (page: Page): Promise<string[]> => page.evaluate(() => [
    ...(document.documentElement.scrollWidth > innerWidth ? [`page of ${document.documentElement.scrollWidth} in ${innerWidth}`] : []),
    ...[...document.querySelectorAll('main *, header *')].filter((e) => !e.closest('.scroll, pre, .formulas dd, .skip') && e.getClientRects().length > 0 && !(e instanceof SVGElement && !(e instanceof SVGTextElement)) && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).map((e) => `${e.tagName} ${e.textContent?.slice(0, 40)}`),
  ]);
  /** The page section by section, one under the other: as a whole it is taller than the browser can paint at once. */
  async function screenshot(page: Page, file: string): Promise<void> {
    const parts = await Promise.all((await Promise.all([page.locator('header').screenshot(), ...(await page.locator('section').all()).map((s) => s.screenshot())])).map(async (input) => ({ input, ...(await sharp(input).metadata()) })));
    let top = 0;
    const placed = parts.map(({ input, height }) => { const at = { input, left: 0, top }; top += height + 12; return at; });
    await mkdir(screenshots, { recursive: true });
    await sharp({ create: { width: Math.max(...parts.map((p) => p.width)), height: top, channels: 3, background: '#888888' } }).composite(placed).png().toFile(join(screenshots, file));
  }
  /** Texts of one drawing that lie on each other. */
  const collisions = (page: Page): Promise<string[]> => page.evaluate(() => [...document.querySelectorAll('.drawing > svg')].filter((s) => s.getClientRects().length > 0).flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].map((t) => ({ text: t.textContent!, box: t.getBoundingClientRect() })).filter((t) => t.text.trim());
    return texts.flatMap((a, i) => texts.slice(i + 1).filter((b) => Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left) > 1 && Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top) > 4).map((b) => `${svg.closest('section')!.id}: '${a.text}' on '${b.text}'`));
  }));

  test.each(Object.keys(reports).flatMap((name) => ([['desktop', 1280], ['phone', 390]] as const).map(([device, width]) => [name, device, width] as const)))('%s fits on a %s, light and dark', async (name, device, width) => {
    const { page, complaints } = await open(name, { viewport: { width, height: 900 } });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await overflowing(page)).toEqual([]);
      if (name !== 'many') await screenshot(page, `report-${name}-${device}-${colorScheme}.png`);
    }
    expect(await collisions(page)).toEqual([]);
    for (const id of figures) {
      const drawings = page.locator(`#${id} .drawing > svg:visible`);
      expect(await drawings.count()).toBe(1);
      expect((await drawings.boundingBox())!.width).toBeGreaterThan(width > 600 ? 700 : 280);
    }
    // Every table opens, and scrolls by itself where it is wide.
    for (const details of await page.locator('details').all()) await details.locator('summary').click();
    expect(await overflowing(page)).toEqual([]);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the keyboard reaches everything, and every drawing has words', async () => {
    const { page, complaints } = await open('shapes');
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Skip to the figures');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => !!document.activeElement?.closest('main'))).toBe(true);
    for (const id of figures) {
      const details = page.locator(`#${id} > details`);
      await details.locator('summary').focus();
      await page.keyboard.press('Enter');
      expect(await details.getByRole('table').isVisible()).toBe(true);
      const image = page.locator(`#${id}`).getByRole('img');
      expect(await image.count()).toBe(1);
      expect(await page.getByRole('img', { name: /\w+ .*\d/ }).count()).toBe(figures.length);
    }
    expect(await page.getByRole('heading', { level: 1 }).count()).toBe(1);
    expect(await page.getByRole('heading', { level: 2 }).count()).toBe(figures.length + 2);
    expect(await page.getByRole('navigation').getByRole('link').count()).toBe(figures.length + 2);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('each figure can be saved as SVG and PNG, in the colours that are shown', async () => {
    const { page, complaints } = await open('shapes', { colorScheme: 'dark' });
    for (const id of ['cost-by-size', 'attention'])
      for (const kind of ['SVG', 'PNG'] as const) {
        const [download] = await Promise.all([page.waitForEvent('download'), page.locator(`#${id}`).getByRole('button', { name: `as ${kind}` }).click()]);
        expect(download.suggestedFilename()).toBe(`${id}.${kind.toLowerCase()}`);
        const file = readFileSync(await download.path());
        if (kind === 'SVG') expect(file.toString()).not.toContain('var(');
        const { channels, width } = { ...(await sharp(file).metadata()), ...(await sharp(file).stats()) };
        expect(width).toBeGreaterThan(600);
        // Dark paper, and not that alone.
        expect(channels[0]!.mean).toBeLessThan(110);
        expect(channels[0]!.stdev).toBeGreaterThan(5);
      }
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('on paper it is light, and wide enough', async () => {
    const { page } = await open('llava', { colorScheme: 'dark', viewport: { width: 740, height: 1000 } });
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate(() => getComputedStyle(document.querySelector('h1')!).color)).toBe('rgb(31, 30, 27)');
    expect(await page.getByRole('button').first().isVisible()).toBe(false);
    expect((await page.pdf({ format: 'A4' })).subarray(0, 5).toString()).toBe('%PDF-');
    await page.context().close();
  });
});

test('figures in files of their own: SVG and PNG, on white paper', async () => {
  const names = readdirSync(join(folder, 'figures')).sort();
  expect(names).toEqual(figures.flatMap((f) => [`${f}.png`, `${f}.svg`]).sort());
  for (const f of figures) {
    const { width, format } = await sharp(join(folder, 'figures', `${f}.png`)).metadata();
    expect({ width, format }).toEqual({ width: 2400, format: 'png' });
    expect(readFileSync(join(folder, 'figures', `${f}.svg`), 'utf8')).toContain('#ffffff');
  }
});

describe('what cannot be is refused in a sentence, and nothing is written', () => {
  test.each([
    [['-o', '/nowhere/at/all.html'], /folder \/nowhere\/at is not there/], [['-o', folder], /is a folder/], [['-o', '-'], /to be opened in a browser/],
    [['--sizes', '9..3', '-o', 'x.html'], /ends before it begins/], [['--sizes', '0', '-o', 'x.html'], /outside 1 to/], [['--sizes', '7', '-o', 'x.html'], /patches of 14 px .* do not fit/],
    [['--device', 'h100', '-o', 'x.html'], /no device profile 'h100'/], [['--convention', 'exakt', '-o', 'x.html'], /Did you mean 'exact'/], [['--compare', 'self,compsite', '-o', 'x.html'], /Did you mean 'composite'/],
    [['--image', '336x0', '-o', 'x.html'], /has no height/], [['--visual', '0', '--text', '0', '-o', 'x.html'], /costs nothing/], [['--image', '336', '--visual', '5', '-o', 'x.html'], /both say how many visual tokens/],
    [['--figures', join(folder, 'file', 'figures'), '-o', join(folder, 'unwritten.html')], /folder .* cannot be made/],
  ])('%j', async (args, expected) => {
    writeFileSync(join(folder, 'file'), '');
    const before = readdirSync(folder), { code, told } = await run('report', 'llava-1.5-7b', ...args);
    expect(code).toBe(1);
    expect(told).toMatch(expected);
    expect(told).toMatch(/^error: \S.*\.\n$/s);
    expect(readdirSync(folder)).toEqual(before);
  });
});
