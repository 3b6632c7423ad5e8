/** `eemllm profile`: every dispatch of a prompt with its time and work, as numbers, as a table and as a trace. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { executedWork } from '../../compiler/bundle/executed.ts';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { profile } from '../../compiler/cli/profile/profile.ts';
import { groupsOf, profileText } from '../../compiler/cli/profile/report.ts';
import type { TraceEvent } from '../../compiler/cli/profile/trace.ts';
import { traceOf } from '../../compiler/cli/profile/trace.ts';
import { profileNamed } from '../../compiler/cost/device-profiles.ts';
import { findAdapter, openBundleFolder } from '../../runtime/node.ts';
import { BundleFolder, cli, shapesCheckpoint } from '../support/shapes.ts';

const bundles = new BundleFolder();
afterAll(() => bundles.remove());
const size = { visual: 128, text: 20, generate: 3 }, options = { ...size, repeat: 2, software: true }, device = { profile: profileNamed('h200-sxm'), math: 'f16' as const };

/** Events of a trace as a reader sees them: complete, and inside one another or apart. */
function checkTrace(events: readonly TraceEvent[], steps: number, dispatches: number): void {
  const spans = events.filter((e) => e.ph === 'X');
  expect(events.filter((e) => e.ph === 'M').map((e) => e.name)).toEqual(['process_name', 'thread_name']);
  expect(spans).toHaveLength(steps + dispatches);
  for (const e of spans) {
    expect(e.name).not.toBe('');
    expect(e.ts).toBeGreaterThanOrEqual(0);
    expect(e.dur).toBeGreaterThanOrEqual(0);
  }
  const outer = spans.filter((e) => e.cat === 'step'), end = (e: TraceEvent): number => e.ts! + e.dur!, tick = 1e-3;
  outer.forEach((e, i) => { if (i) expect(e.ts).toBeGreaterThanOrEqual(end(outer[i - 1]!) - tick); });
  for (const e of spans) expect(outer.some((o) => e.ts! >= o.ts! - tick && end(e) <= end(o) + tick), e.name).toBe(true);
}

describe.each([['timestamps', undefined], ["the host's clock", []]] as const)('by %s', (_name, features) => {
  test('each dispatch of each step has a time, and its work adds up to the program’s', async () => {
    const adapter = await findAdapter({ prefer: 'swiftshader' }), opened = await adapter.open(features ? { features } : {}), bundle = await openBundleFolder(await bundles.shapes('self'));
    try {
      const p = await profile(bundle, opened, options), target = bundle.manifest.targets.find((t) => t.name === p.target)!;
      expect(p).toMatchObject({ exact: features === undefined, weights: true, size });
      const work = executedWork(bundle.manifest, target, size).entries;
      for (const e of p.entries) {
        const { graph } = work.find((w) => w.name === e.name)!, times = e.name === 'decode' ? 1 : e.times;
        expect(e.dispatches.reduce((s, d) => s + d.flops, 0) * times, e.name).toBeCloseTo(graph, -1);
        expect(e.dispatches.length).toBeGreaterThan(10);
        expect(e.seconds).toBeGreaterThan(0);
        expect(e.together).toBeGreaterThan(0);
        for (const by of ['kernel', 'part', 'layer'] as const) {
          const groups = groupsOf(e, by, device);
          expect(groups.reduce((s, g) => s + g.dispatches, 0)).toBe(e.dispatches.length);
          expect(groups.reduce((s, g) => s + g.seconds, 0)).toBeCloseTo(e.seconds, 9);
        }
        // Every product reads its weights.
        for (const d of e.dispatches) if (d.family.startsWith('mat') && d.flops > 0) expect(d.bytes, d.label).toBeGreaterThan(0);
      }
      expect(p.entries.at(-1)).toMatchObject({ name: 'decode', times: 3 });
      checkTrace((JSON.parse(JSON.stringify(traceOf(p, adapter.name))) as ReturnType<typeof traceOf>).traceEvents, p.entries.length, p.entries.reduce((s, e) => s + e.dispatches.length, 0));
      const text = profileText(p, device, 'kernel', adapter.name);
      expect(text).toMatch(features ? /has no timestamps \(timestamp-query\): times are the host's/ : /Times are timestamps of the device/);
      expect(text).toMatch(/decode, by kernel[^]*gate_proj·up_proj \(matvec\) +\d/);
    } finally {
      opened.close();
    }
  });
});

test('a bundle that was compiled without a checkpoint is measured with made-up weights; the command writes table, JSON and trace', async () => {
  const bundle = bundles.fresh('definition'), trace = bundles.fresh('trace.json'), best = ['--device', 'iris-xe', '--math', 'f32'];
  await compileModel(await findModel(join(shapesCheckpoint, 'config.json')), { mask: 'composite', dtype: 'f16', maxVisual: 128, maxText: 64, output: bundle });
  const env = { EEMLLM_ADAPTER: 'swiftshader' }, run = (...args: string[]) => cli(['profile', bundle, '--repeat', '1', '--generate', '2', ...best, ...args], env);
  const { code, stdout, stderr } = await run('--visual', '64', '--text', '8', '--json', '--trace', trace);
  expect(code, stderr).toBe(0);
  const json = JSON.parse(stdout) as { weights: boolean; clock: string; entries: { name: string; dispatches: unknown[]; by_layer: unknown[] }[]; best: { name: string } };
  expect(json).toMatchObject({ weights: false, clock: 'device', best: { name: expect.stringMatching(/Iris/) } });
  checkTrace((JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: TraceEvent[] }).traceEvents, json.entries.length, json.entries.reduce((s, e) => s + e.dispatches.length, 0));

  const [odd, long] = await Promise.all([run('--visual', '65', '--text', '8'), run('--visual', '64', '--text', '63')]);
  expect([odd.code, odd.stderr]).toEqual([1, expect.stringMatching(/^error: --visual 65 is no whole number of pictures: each is 64 rows to .*\. Give a multiple of 64, or 0\.\n$/)]);
  expect([long.code, long.stderr]).toEqual([1, expect.stringMatching(/^error: The conversation needs 65 text tokens, but this bundle was compiled for at most 64\..*--max-text 65 or more\.\n$/)]);
});
