/** The table of `npm run published`: what claims to be reproduced is, and what is not says why. */
import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { checkRow, sections } from '../../scripts/published/all.ts';
import { flops } from '../../scripts/published/ask.ts';
import type { Row } from '../../scripts/published/row.ts';
import { isReproduced } from '../../scripts/published/row.ts';

describe.each(sections.map((s) => [s.title, s] as const))('%s', (_title, section) => {
  test.each(section.rows.map((r) => [r.check, r] as const))('%s', async (_check, row) => {
    const { outcome, ours } = await checkRow(section, row);
    if (typeof row.ours === 'function') expect(outcome, `${ours} beside ${row.published} ${row.unit}`).toBe('OK');
    else expect(row.ours.why).toMatch(/^[^A-Z].*\.$/s);
  });
});

test('the most of them are reproduced, and no two say the same', () => {
  const rows = sections.flatMap((s) => s.rows), names = sections.flatMap((s) => s.rows.map((r) => `${s.title}: ${r.check}`));
  expect(new Set(names).size).toBe(names.length);
  expect(rows.filter((r) => typeof r.ours === 'function').length).toBeGreaterThan(0.8 * rows.length);
});

test('a tolerance is absolute, in percent, or none', () => {
  const row = (published: number, tolerance: Row['tolerance']): Row => ({ check: '', published, unit: '', kind: 'printed', tolerance, ours: { why: '' } });
  expect([3.75, 3.85, 3.7499, 3.8501].map((x) => isReproduced(row(3.8, { within: 0.05 }), x))).toEqual([true, true, false, false]);
  expect([98, 102, 97.9].map((x) => isReproduced(row(100, { percent: 2 }), x))).toEqual([true, true, false]);
  expect([7, 7.0000001].map((x) => isReproduced(row(7, 'exact'), x))).toEqual([true, false]);
});

test('a mean number of text rows is asked only of what grows evenly with them', async () => {
  const asked = { model: 'vicuna-7b', variant: 'self', visual: 8, text: { tenths: 428 } };
  const [low, mid, high] = await Promise.all([42, asked.text, 43].map(async (text) => (await flops({ ...asked, text, convention: 'calflops-linear' })).value));
  expect((mid! - low!) / (high! - low!)).toBeCloseTo(0.8, 9);
  await expect(flops({ ...asked, convention: 'shortv' })).rejects.toThrow('does not grow evenly');
});

test('the commands that stand beside the numbers print them', async () => {
  const { value, command } = await flops({ model: 'llava-1.5-7b', variant: 'fastv:k=2,r=0.9', visual: 576, text: 36, convention: 'fastv' });
  const printed = JSON.parse(execFileSync(process.execPath, ['bin/eemllm.js', ...command!.split(' ').slice(1), '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as { variants: { total: number }[] };
  expect(printed.variants[0]!.total).toBe(value);
});
