/** The search for the quickest schedule, on made-up spaces whose times are known. */
import { describe, expect, test } from 'vitest';
import type { Bench } from '../../compiler/cli/tune/search.ts';
import { search } from '../../compiler/cli/tune/search.ts';
import { stepsApart } from '../../compiler/schedule/apart.ts';

interface Made { readonly form?: string; readonly x: number; readonly y: number }
const space: Made[] = Array.from({ length: 64 }, (_, i) => ({ x: i % 8, y: i >> 3 }));
/** A valley whose floor is at (6, 2); the default stands at (0, 0). */
const valley = ({ x, y }: Made): number => 10 + (x - 6) ** 2 + (y - 2) ** 2;

/** Times on a machine whose pace drifts by half, and that jitters by some percent. */
function machine(time: (s: Made) => number, { most = Infinity, jitter = 0.005, out = () => undefined as { failed: string } | { wrong: string } | undefined }: { most?: number; jitter?: number; out?: (s: Made) => { failed: string } | { wrong: string } | undefined } = {}) {
  let calls = 0;
  const tried: Made[] = [];
  const bench: Bench<Made, Made> = {
    trial: (s) => ({ prepare: () => { tried.push(s); return Promise.resolve(out(s) ?? { ready: s }); } }),
    time: (s) => { calls++; return Promise.resolve(time(s) * (1 + 0.5 * (calls / 400)) * (1 + jitter * Math.sin(calls * 7))); },
    spent: (trying) => tried.length > most * (trying ? 1 : 2),
  };
  return { bench, tried };
}

describe('search', () => {
  test('finds the best of a space, and says what it was beside the default', async () => {
    const { bench } = machine(valley), found = await search({ x: 0, y: 0 }, space, bench);
    expect(found.schedule).toEqual({ x: 6, y: 2 });
    expect(found.usualMs / found.ms).toBeGreaterThan(4.5);
    expect(found).toMatchObject({ tried: 63, space: 64, failed: [], wrong: [] });
  });
  test('walks towards what is quicker when there is no time for all', async () => {
    const { bench, tried } = machine(valley, { most: 30 }), found = await search({ x: 0, y: 0 }, space, bench);
    expect(tried.length).toBeLessThan(35);
    expect(valley(found.schedule)).toBeLessThan(16);
  });
  test('tries one of each form before it walks', async () => {
    // Another form is far away in all fields, and the best of all.
    const other = space.map((s) => ({ ...s, form: 'other' })), { bench, tried } = machine((s) => valley(s) - (s.form ? 5 : 0), { most: 12 });
    const found = await search({ x: 0, y: 0 }, [...space, ...other], bench);
    expect(tried[1]!.form).toBe('other');
    expect(found.schedule.form).toBe('other');
  });
  test('tries first what an earlier table knows, so that no budget is too small to keep it', async () => {
    const { bench, tried } = machine(valley, { most: 6 }), found = await search({ x: 0, y: 0 }, space, bench, [{ x: 6, y: 2 }]);
    expect(tried[1]).toEqual({ x: 6, y: 2 });
    expect(found.schedule).toEqual({ x: 6, y: 2 });
  });
  test('keeps the default where nothing beats it by the margin', async () => {
    const { bench } = machine(({ x }) => 10 - x * 0.02, { jitter: 0.02 });
    expect((await search({ x: 0, y: 0 }, space, bench)).schedule).toEqual({ x: 0, y: 0 });
  });
  test('what fails or is wrong is noted and never chosen', async () => {
    const { bench } = machine(valley, { out: ({ x, y }) => (x === 6 ? { failed: 'does not compile' } : x === 5 && y === 2 ? { wrong: 'off by 3' } : undefined) });
    const found = await search({ x: 0, y: 0 }, space, bench);
    expect(found.failed).toHaveLength(8);
    expect(found.wrong).toEqual([{ schedule: { x: 5, y: 2 }, why: 'off by 3' }]);
    expect([5, 7]).toContain(found.schedule.x);
    expect(found.schedule).not.toEqual({ x: 5, y: 2 });
  });
  test('a default that cannot run is an error', async () => {
    const { bench } = machine(valley, { out: () => ({ failed: 'no memory' }) });
    await expect(search({ x: 0, y: 0 }, space, bench)).rejects.toThrow('no memory');
  });
});

test('steps are doublings of single numbers, through lists; forms are worlds apart', () => {
  expect(stepsApart({ a: [2, 8], b: true }, { a: [2, 16], b: true })).toBe(1);
  expect(stepsApart({ a: [1, 8], b: true }, { a: [2, 2], b: false })).toBe(4);
  expect(stepsApart({ form: 'tile', a: 1 }, { form: 'rows', a: 1 })).toBe(Infinity);
});
