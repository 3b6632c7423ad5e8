/** Criterion 9: equal inputs give equal bytes, and a 7B definition compiles small and fast. */
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { BundleFolder, cli, runProcess, shapesCheckpoint } from '../support/shapes.ts';

const bundles = new BundleFolder();
afterAll(() => bundles.remove());

const files = (folder: string): Map<string, Buffer> => new Map((readdirSync(folder, { recursive: true, withFileTypes: true }))
  .filter((f) => f.isFile()).map((f) => [relative(folder, join(f.parentPath, f.name)), readFileSync(join(f.parentPath, f.name))] as const).sort());

test.each(['f32', 'f16'] as const)('two compilations in %s are byte-identical, in one process and in two', async (dtype) => {
  const here = bundles.fresh('a'), again = bundles.fresh('b'), there = bundles.fresh('c');
  const options = { mask: 'composite', dtype, maxVisual: 128, maxText: 128 };
  await compileModel(await findModel(shapesCheckpoint), { ...options, output: here });
  await compileModel(await findModel(shapesCheckpoint), { ...options, output: again });
  expect((await cli(['compile', shapesCheckpoint, '--mask', 'composite', '--dtype', dtype, '--max-visual', '128', '--max-text', '128', '-o', there])).code).toBe(0);
  const wanted = files(here);
  expect(wanted.size).toBeGreaterThan(20);
  for (const other of [files(again), files(there)]) {
    expect([...other.keys()]).toEqual([...wanted.keys()]);
    for (const [name, bytes] of wanted) expect(other.get(name)!.equals(bytes), name).toBe(true);
  }
});

test('a 7B definition compiles without weights, in little memory', async () => {
  const output = bundles.fresh('7b'), report = "process.on('exit', () => process.stderr.write(`peak ${process.resourceUsage().maxRSS}\\n`))";
  const start = performance.now();
  const told = await runProcess(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(report)}`, 'bin/eemllm.js', 'compile', 'llava-1.5-7b', '--mask', 'composite', '-o', output, '--json']);
  const seconds = (performance.now() - start) / 1000, kilobytes = Number(/peak (\d+)/.exec(told.stderr)?.[1]);
  expect(told.code, told.stderr).toBe(0);
  const summary = JSON.parse(told.stdout) as { weights: number; milliseconds: number; dispatches: Record<string, number> };
  console.log(`llava-1.5-7b: ${seconds.toFixed(1)} s in all (${summary.milliseconds} ms within), ${(kilobytes / 1024).toFixed(0)} MiB at most`);
  expect(kilobytes).toBeLessThan(1_000_000);
  expect(summary.weights).toBe(0);
  expect(readdirSync(output).sort()).toEqual(['bundle.d.ts', 'bundle.json', 'kernels']);
  // Every layer has its kernels; the layers share their texts.
  expect(summary.dispatches['prefill']).toBeGreaterThan(32 * 4);
  expect(readdirSync(join(output, 'kernels')).length).toBeLessThan(400);
});
