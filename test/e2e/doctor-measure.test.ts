/** `eemllm doctor --measure`: a profile of this machine that rooflines can use. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { readProfile } from '../../compiler/cost/device-profiles.ts';
import { findAdapter } from '../../runtime/node.ts';
import { BundleFolder, cli } from '../support/shapes.ts';

const folder = new BundleFolder();
afterAll(() => folder.remove());

test('writes a profile, says what it is worth, and flops takes it', async () => {
  const file = folder.fresh('device.json'), told = await cli(['doctor', '--measure', '-o', file]);
  expect(told.code).toBe(0);
  expect(told.stdout).toMatch(/matmul .*weights f32 .*FLOP\/s\n.*weights f16 .*FLOP\/s\ncopy of .*B\/s/);
  if ((await findAdapter()).software) expect(told.stdout).toContain('This is a software adapter: only ratios mean something');
  const profile = readProfile(JSON.parse(readFileSync(file, 'utf8')), file);
  for (const rate of [profile.peak.f32!, profile.peak.f16!, profile.bandwidth]) expect(rate).toBeGreaterThan(1e7);
  expect(profile.source).toContain('measured by eemllm doctor --measure');
  const used = await cli(['flops', 'examples/shapes/checkpoint', '--visual', '64', '--text', '9', '--device', file]);
  expect(used.stdout).toContain(`time at best on ${profile.name}`);
});

test('where nothing can be written, nothing is measured', async () => {
  const told = await cli(['doctor', '--measure', '-o', '/nowhere/device.json']);
  expect(told).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('error: /nowhere/device.json cannot be written. The folder /nowhere is not there.') });
  expect(existsSync('/nowhere')).toBe(false);
  expect(await cli(['doctor', '-o', 'device.json'])).toMatchObject({ code: 1, stderr: expect.stringContaining('it goes with --measure') });
  expect(await cli(['doctor', '--measure', '-o', folder.fresh('device.txt')])).toMatchObject({ code: 1, stderr: expect.stringContaining('a device profile is a .json file') });
});
