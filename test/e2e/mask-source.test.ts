import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../fixtures/masks/print.ts', import.meta.url));

// With source maps for stack traces (as bin/eemllm.js sets them) and without: tsx writes all code into one line.
test.each([[[]], [['--enable-source-maps']]])('masks are read in a program that tsx translates %j', (flags) => {
  const printed = JSON.parse(execFileSync(process.execPath, [...flags, '--import', 'tsx', program], { encoding: 'utf8' })) as { first: number; texts: string[]; error: string };
  expect(printed.texts).toEqual([
    'q.pos - k.pos < 8',
    'q.pos - k.pos < 9',
    'k.pos <= q.pos && q.pos - k.pos < 5 && q.image == k.image',
    'abs(q.pos - k.pos) < 12 && k.pos < 4',
    'q.pos - k.pos < 11',
    'q.kind == text ? k.pos <= q.pos : k.pos == q.pos',
    'q.kind == visual || k.pos <= q.pos && q.pos - k.pos < 64',
    '(q.kind == text ? k.pos <= q.pos : k.pos == q.pos) && (q.kind == visual || k.pos <= q.pos && q.pos - k.pos < 64)',
    'q.pos - k.pos < 3 && k.pos <= q.pos',
  ]);
  expect(printed.error).toMatch(/print\.ts:\d+:39: A mask cannot contain 'this'; copy what it needs into a const\.\n\n +\d+ \| +both = mask.*\n +\| +\^/);
  expect(printed.first).toBeLessThan(2000);
});
