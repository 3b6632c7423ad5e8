/**
 * The documentation runs: every snippet that names a file (```ts my-model.ts) is written to that file and imported, and
 * what the text claims of it is asked of the code.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import type { ModelSource } from '../../compiler/load-model.ts';
import { openModel } from '../../compiler/load-model.ts';
import { flops } from '../../passes/flops.ts';

/** The code blocks of a page, by the word after the language. */
const snippets = (page: string): Map<string, string> =>
  new Map([...page.matchAll(/^```ts (\S+)\n([\s\S]*?)^```$/gm)].map((m) => [m[1]!, m[2]!]));
/** The rows of a page's tables whose first cell is `name`. */
const rows = (page: string, name: string): string[][] =>
  page.split('\n').filter((l) => l.startsWith(`| ${name} |`)).map((l) => l.split('|').slice(2, -1).map((c) => c.trim()));

const page = readFileSync('docs/your-first-mask.md', 'utf8');
const folder = path.resolve('.cache/docs');
beforeAll(() => {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of snippets(page)) writeFileSync(path.join(folder, name), text);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('your-first-mask.md', () => {
  const cost = (source: ModelSource, variant: string): string[] => {
    const { parts, total } = flops(trace(source.create(variant)).graph, { visual: 576, text: 64 });
    return [parts.vision, parts.projector, parts.decoder, parts.head, total].map((n) => (Number(n) / 1e12).toFixed(3));
  };

  test('has the snippets that it speaks of', () => { expect([...snippets(page).keys()]).toEqual(['my-model.ts', 'my-layers.ts', 'my-rule.ts', 'my-exit.ts', 'check.ts']); });
  test('states what the mask saves', async () => {
    const mine = await openModel(path.join(folder, 'my-model.ts#Mine'));
    expect(rows(page, 'mine')).toEqual([cost(mine, 'mine')]);
    expect(rows(page, 'self')[0]).toEqual(cost(mine, 'self'));
  });
  test('states what the row rule saves', async () => {
    const lazy = await openModel(path.join(folder, 'my-layers.ts#Lazy'));
    expect(rows(page, 'lazy')).toEqual([cost(lazy, 'lazy')]);
    expect(rows(page, 'self')[1]).toEqual(cost(lazy, 'self'));
  });
  test('states what rows save that leave', async () => {
    const brief = await openModel(path.join(folder, 'my-exit.ts#Brief'));
    expect(rows(page, 'brief')).toEqual([cost(brief, 'brief')]);
    expect(rows(page, 'self')[2]).toEqual(cost(brief, 'self'));
  });
  test('shows the row rule that is built in', async () => {
    const { textRows } = await import('../../models/rules.ts');
    const own = (await import(/* @vite-ignore */ path.join(folder, 'my-rule.ts')) as { textRows: unknown }).textRows;
    expect(String(own)).toBe(String(textRows));
  });
  test('draws the mask', async () => {
    const { picture } = await import(/* @vite-ignore */ path.join(folder, 'check.ts')) as { picture: string[] };
    expect(page).toContain(`\`\`\`text\n${picture.join('\n')}\n\`\`\``);
  });
  test('quotes the error for what a mask cannot say', async () => {
    const file = path.join(folder, 'root.ts');
    writeFileSync(file, snippets(page).get('my-model.ts')!.replace(/mask\(tokens, [\s\S]*?\);/, 'mask(tokens, (q, k) => Math.sqrt(q.pos) < k.pos);'));
    const source = await openModel(file), quoted = /^my-model\.ts:(\d+:\d+): (.*)$/m.exec(page)!;
    expect(() => trace(source.create())).toThrow(`root.ts:${quoted[1]}: ${quoted[2]}`);
  });
});
