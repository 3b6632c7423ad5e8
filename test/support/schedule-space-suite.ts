import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { factsOf } from '../../compiler/schedule/device-facts.ts';
import { familyNames } from '../../compiler/schedule/wanted.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { drawn, trialsOf } from './schedule-spaces.ts';

/**
 * Schedules of every family's space on one adapter, against plain references on odd sizes: as many of a few drawn ones as begin
 * within some seconds; with EEMLLM_SPACE=n so many of each family, with EEMLLM_SPACE=all all of them. `EEMLLM_SPACE_FROM=n` goes on behind the n-th of a family,
 * `EEMLLM_SPACE_ONLY=TEXT` leaves out schedules without that text (`"form":"exchange"`).
 */
export function scheduleSpaceSuite(kind: 'swiftshader' | 'lavapipe', seconds: number): void {
  let found: FoundAdapter | undefined, open: OpenDevice, facts: DeviceFacts; // the device works as long as somebody holds the adapter
  beforeAll(async () => {
    found = await findAdapter({ prefer: kind });
    open = await found.open();
    facts = factsOf(open, found.adapter.info, true);
  });
  afterAll(() => { open.close(); found = undefined; });

  const draw = drawn(40), patience = process.env['EEMLLM_SPACE'] ? Infinity : (seconds * 1000) / familyNames.length, from = Number(process.env['EEMLLM_SPACE_FROM'] ?? 0), only = process.env['EEMLLM_SPACE_ONLY'] ?? '';
  for (const family of familyNames) {
    test(`${family}: schedules of its space, seed ${draw.seed}`, { timeout: 24 * 3_600_000 }, async () => {
      const start = performance.now(), trials = trialsOf(family, facts, draw).filter((t) => t.name.includes(only)), wrong: string[] = [];
      let done = 0;
      for (const [i, t] of trials.entries()) {
        if (i < from) continue;
        if (performance.now() - start > patience) break;
        const error = await t.error(open.device).catch((e: unknown) => `${e instanceof Error ? e.message : String(e)}`);
        if (typeof error === 'string' || !(error < t.tolerance)) wrong.push(`${t.name}: ${error}, at most ${t.tolerance} expected`);
        done++;
        if (patience === Infinity && done % 50 === 0) process.stderr.write(`${kind}, ${family}: ${i + 1} of ${trials.length}, ${wrong.length} wrong, ${((performance.now() - start) / 1000).toFixed(0)} s\n`);
      }
      expect(wrong).toEqual([]);
      if (!only) expect(done).toBeGreaterThan(0);
    });
  }
}
