/**
 * The whole compiler against PyTorch: every tensor of the golden fixtures within its tolerance, and the greedy tokens.
 * On software adapters each folder is verified in one variant, unless EEMLLM_VERIFY=all; kernels take long to compile there.
 */
import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VerifyReport } from '../../compiler/verify/report.ts';
import { verify } from '../../compiler/verify/verify.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';

const folders = ['llava-clip-llama-a', 'llava-siglip-qwen2-a', 'llama-gqa-odd-a'] as const;
const path = (folder: string): string => `test/fixtures/${folder}`;

/** All that is wrong with a report, for a message that says it. */
const faults = (r: VerifyReport): string[] => [
  ...r.tensors.filter((t) => !t.ok).map((t) => `${t.variant ?? ''} ${t.tensor}: e = ${t.relative}, limit ${t.tolerance}`),
  ...r.tokens.filter((t) => !t.equal).map((t) => `${t.variant} ${t.case}: tokens ${t.given.join(' ')}, expected ${t.expected.join(' ')}`),
];
/** Tensors of the variants that were verified and that nobody compared. */
const missed = (r: VerifyReport): string[] => r.notCompared.filter(({ reason }) => !/is no variant of this compiler|was not asked for|none of the variants|is an input/.test(reason)).map((n) => `${n.tensor}: ${n.reason}`);

test.each(folders)('%s, three variants, interpreter', async (folder) => {
  const report = await verify(path(folder), { dtype: 'f32', backend: 'interpreter' });
  expect(faults(report)).toEqual([]);
  expect(missed(report)).toEqual([]);
  expect(report.variants).toEqual(['baseline', 'ee_mllm', 'ee_mllm_f']);
  expect(report.tokens).toHaveLength(10);
  expect(report.ok).toBe(true);
});

test('f16 weights, interpreter', async () => {
  const report = await verify(path('llava-siglip-qwen2-a'), { dtype: 'f16', backend: 'interpreter', variants: ['ee_mllm'] });
  expect(report.tensors.filter((t) => !t.ok).map((t) => `${t.tensor} ${t.relative}`)).toEqual([]);
});

describe('device', () => {
  const chosen: Record<(typeof folders)[number], readonly string[]> = { 'llava-clip-llama-a': ['ee_mllm'], 'llava-siglip-qwen2-a': ['baseline'], 'llama-gqa-odd-a': ['ee_mllm_f'] };
  test.each(folders)('%s', async (folder) => {
    const all = process.env.EEMLLM_VERIFY === 'all' || !(await findAdapter()).software;
    const report = await verify(path(folder), { dtype: 'f32', backend: 'gpu', ...(all ? {} : { variants: chosen[folder] }) });
    expect(faults(report)).toEqual([]);
    expect(missed(report)).toEqual([]);
    expect(report.ok).toBe(true);
  });
});

describe('command line', () => {
  const eemllm = (...args: string[]) => spawnSync(process.execPath, ['bin/eemllm.js', 'verify', ...args], { encoding: 'utf8' });

  test('--json prints everything; exit code 0 when all holds', () => {
    const { status, stdout, stderr } = eemllm(path('llama-gqa-odd-a'), '--golden', `${path('llama-gqa-odd-a')}/golden.json`, '--variant', 'ee_mllm', '--backend', 'interpreter', '--json');
    expect(stderr).toBe('');
    const report = JSON.parse(stdout) as VerifyReport;
    expect(report).toMatchObject({ ok: true, variants: ['ee_mllm'], backend: 'interpreter', dtype: 'f32' });
    expect(report.tensors.length).toBeGreaterThan(20);
    expect(status).toBe(0);
  });
});

describe('bad input', () => {
  const interpreter = { dtype: 'f32', backend: 'interpreter' } as const;
  let work: string;
  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'eemllm-verify-test-'));
    await cp(path('llama-gqa-odd-a'), work, { recursive: true });
  });
  afterAll(() => rm(work, { recursive: true, force: true }));

  test('a wrong weight fails the verification', async () => {
    const golden = join(work, 'wrong.json'), data = await readFile(join(work, 'golden.safetensors'));
    const header = Number(data.readBigUInt64LE(0)), { data_offsets: [from] } = (JSON.parse(data.subarray(8, 8 + header).toString()) as Record<string, { data_offsets: [number, number] }>)['visual_first.ee_mllm.hidden.2']!;
    data.writeFloatLE(data.readFloatLE(8 + header + from) + 1, 8 + header + from);
    await writeFile(golden, await readFile(join(work, 'golden.json')));
    await writeFile(join(work, 'wrong.safetensors'), data);
    const report = await verify(work, { ...interpreter, golden, variants: ['ee_mllm'], cases: ['visual_first'] });
    expect(report.ok).toBe(false);
    expect(report.tensors.filter((t) => !t.ok).map((t) => t.tensor)).toEqual(['visual_first.ee_mllm.hidden.2']);
  });

  test.each([
    ['no golden file', 'there-is-none.json', /^There is no golden file .*there-is-none\.json\. Name the golden\.json of a reference run with --golden FILE\.$/],
    ['no golden file but JSON', 'config.json', /config\.json is no golden file: at 'cases'/],
    ['a golden file without tensors', 'alone.json', /alone\.safetensors is missing/],
  ])('%s', async (_what, file, message) => {
    await writeFile(join(work, 'alone.json'), await readFile(join(work, 'golden.json')));
    await expect(verify(work, { ...interpreter, golden: join(work, file) })).rejects.toMatchObject({ exitCode: 1, message: expect.stringMatching(message) });
  });

  test('a golden file of another model', async () => {
    await expect(verify(path('llama-gqa-odd-a'), { ...interpreter, golden: `${path('llava-clip-llama-a')}/golden.json` })).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining('The golden file belongs to another model.') });
  });

  test('a tensor that is missing', async () => {
    const golden = join(work, 'missing.json'), description = JSON.parse(await readFile(join(work, 'golden.json'), 'utf8')) as { cases: { tensors: [string, number[]][] }[] };
    description.cases[0]!.tensors.push(['baseline.hidden.9', [37, 90]]);
    await writeFile(golden, JSON.stringify(description));
    await cp(join(work, 'golden.safetensors'), join(work, 'missing.safetensors'));
    await expect(verify(work, { ...interpreter, golden })).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining("has no tensor 'text.baseline.hidden.9'") });
  });

  test('an unknown variant', async () => {
    await expect(verify(work, { ...interpreter, variants: ['ee_mlm'] })).rejects.toMatchObject({ exitCode: 1, message: expect.stringMatching(/^'ee_mlm' is no variant that verify knows\..*ee_mllm/) });
  });
});
