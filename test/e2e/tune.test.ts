/** `eemllm tune` on a software adapter, and what becomes of its table: a bundle's program, its choice at load, and the same answers. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Made } from '../../compiler/bundle/families.ts';
import { familiesFor } from '../../compiler/bundle/families.ts';
import { dispatchFlops } from '../../compiler/bundle/flops.ts';
import { Packing } from '../../compiler/bundle/packing.ts';
import { buildTarget, wantWeights } from '../../compiler/bundle/target.ts';
import { main } from '../../compiler/cli/main.ts';
import { stepData } from '../../compiler/cli/tune/prompt.ts';
import { tune } from '../../compiler/cli/tune/tuner.ts';
import type { Work } from '../../compiler/cli/tune/work.ts';
import { collectWork } from '../../compiler/cli/tune/work.ts';
import { parseGraph } from '../../compiler/ir/parse.ts';
import { leastFacts } from '../../compiler/schedule/device-facts.ts';
import { fuse } from '../../passes/fuse.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { ScheduleTable } from '../../compiler/schedule/table.ts';
import { readTable } from '../../compiler/schedule/table.ts';
import { kernelFamilies, scheduleText } from '../../compiler/schedule/wanted.ts';

const run = promisify(execFile), folder = mkdtempSync(join(tmpdir(), 'eemllm-tune-')), table = join(folder, 'table.json'), bundle = join(folder, 'bundle');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const eemllm = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
  try {
    const { stdout, stderr } = await run(process.execPath, ['bin/eemllm.js', ...args], { env: { ...process.env, EEMLLM_ADAPTER: 'swiftshader' }, maxBuffer: 1 << 26 });
    return { code: 0, out: stdout, err: stderr };
  } catch (e) {
    const { code, stdout, stderr } = e as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
};
const read = (): ScheduleTable => readTable(JSON.parse(readFileSync(table, 'utf8')), table);

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('eemllm tune', () => {
  beforeAll(async () => {
    const { code, err } = await eemllm('tune', 'examples/shapes/checkpoint', '--mask', 'composite', '--dtype', 'f32', '--visual', '64', '--text', '8', '--families', 'norm,matvec', '--budget', '6', '-o', table);
    expect(err).not.toContain('error');
    expect(code).toBe(0);
  });

  test('writes what it measured, whom it speaks of, and what it did not reach', () => {
    const t = read();
    expect(t).toMatchObject({ version: 1, class: 'software', adapter: { vendor: 'google', architecture: 'swiftshader' }, subgroups: { min: 4, max: 4 } });
    expect(String(t.measured['command'])).toContain('tune examples/shapes/checkpoint');
    expect(t.entries.length).toBeGreaterThan(0);
    for (const e of t.entries) {
      expect(['norm', 'matvec']).toContain(e.family);
      expect(e.ms).toBeLessThanOrEqual(e.usualMs);
    }
    expect(t.entries.length + (t.notMeasured?.length ?? 0)).toBeGreaterThan(5);
  });

  test('a second run brings the same table up to date', async () => {
    const before = read().entries.length;
    expect((await eemllm('tune', 'examples/shapes/checkpoint', '--dtype', 'f32', '--visual', '0', '--text', '4', '--families', 'norm', '--budget', '2', '-o', table)).code).toBe(0);
    expect(read().entries.length).toBeGreaterThanOrEqual(before);
  });

  test('compile takes the table, and the runtime the program made with it, with the same answers', async () => {
    // Something else than the default, whatever was measured: a schedule of the space that no default is.
    const t = read(), entries = t.entries.map((e) => (e.family === 'norm' ? { ...e, schedule: { family: 'norm', rows: 16, lanes: 1 } } : e));
    expect(kernelFamilies.norm.space({ width: 128 }, { class: 'software', limits: t.limits, features: new Set() }).map(scheduleText)).toContain(scheduleText({ family: 'norm', rows: 16, lanes: 1 }));
    writeFileSync(table, JSON.stringify({ ...t, entries }));
    const compiled = JSON.parse((await eemllm('compile', 'examples/shapes/checkpoint', '--mask', 'composite', '--dtype', 'f32', '--max-visual', '64', '--max-text', '96', '--schedules', table, '-o', bundle, '--json')).out) as { targets: string[]; schedules: Record<string, { exact: number; nearest: number; default: number }> };
    expect(compiled.targets).toContain('software-f32@google-swiftshader');
    expect(compiled.schedules['software-f32@google-swiftshader']!.exact).toBeGreaterThan(0);
    const ask = async (...more: string[]) => JSON.parse((await eemllm('run', bundle, '--image', 'examples/shapes/pictures/000.png', '--prompt', 'describe the image .', '--json', ...more)).out) as { answers: { text: string }[]; adapter: { target: string } };
    const own = await ask(), [line] = readFileSync('examples/shapes/expected.jsonl', 'utf8').split('\n'), expected = JSON.parse(line!) as { question: string; composite: { text: string } };
    expect(own.adapter.target).toBe('software-f32@google-swiftshader');
    expect(expected.question).toBe('describe the image .');
    expect(own.answers[0]!.text.trim()).toBe(expected.composite.text);
    const measured = await ask('--measure');
    expect(compiled.targets).toContain(measured.adapter.target);
    expect(measured.answers[0]!.text).toBe(own.answers[0]!.text);
  });

  test('a bundle can be tuned: it says how it was compiled', async () => {
    const { code, out } = await eemllm('tune', bundle, '--visual', '64', '--text', '8', '--families', 'norm', '--budget', '1', '--json');
    expect(code).toBe(0);
    expect((JSON.parse(out) as ScheduleTable).class).toBe('software');
  });

  test('a kernel that takes the device with it, one that does not compile and one that is wrong are noted, and the rest is measured', async () => {
    const graph = fuse.run(parseGraph('graph prefill {\n  sequence tokens(text: T)\n  input x: f32[text, 24] at prompt\n  weight "w": f32[24, 24]\n  %0 = linear %x, @"w" : f32[text, 24]\n  return out = %0\n}'));
    const adapter = await findAdapter({ prefer: 'swiftshader' }), packing = new Packing(() => ({ kind: 'f32' })), made: Made[] = [], devices: OpenDevice[] = [], sequences = [...graph.sequences.values()];
    wantWeights(packing, [graph]);
    const [options] = familiesFor([{ kind: 'f32' }], sequences, { devices: ['software'], prompt: { visual: 0, text: 40 }, onMade: (m) => made.push(m) });
    const built = buildTarget({ entries: { prefill: graph }, capacities: { text: 40 }, packing, flops: dispatchFlops }, options!), [work] = collectWork(built, made) as [Work];
    const facts = leastFacts('software'), usual = scheduleText(work.made.choice.schedule), bad = kernelFamilies.matmul.space(work.made.wanted.shape as never, facts).filter((s) => scheduleText(s) !== usual).map(scheduleText);
    const again: Made['again'] = (s) => {
      const k = work.made.again(s), at = bad.indexOf(scheduleText(s)) % 4;
      if (at === 0) devices.at(-1)!.device.destroy();
      const text = (from: RegExp, to: string) => ({ ...k, kernels: k.kernels.map((x) => ({ ...x, wgsl: x.wgsl.replace(from, to) })) });
      return at === 1 ? text(/fn main/, 'fn main main') : at === 2 ? text(/\+= dot\(/, '+= 2.0 * dot(') : k;
    };
    const open = async (): Promise<OpenDevice> => { const d = await adapter.open(); devices.push(d); return d; };
    const [tuned] = await tune({ ...adapter, open }, [{ ...work, made: { ...work.made, again } }], { facts, dims: built.target.dims, budget: 20, stepOf: () => stepData({ sequences: [{ name: 'tokens', kinds: [{ name: 'text', media: false, dim: 'T', capacity: 40 }] }] }, 'prefill', { visual: 0, text: 40 }) });
    expect(devices.length).toBeGreaterThan(1);
    const said = tuned!.found ? [...tuned!.found.failed.map((f) => f.why), ...tuned!.found.wrong.map((w) => w.why)].join('\n') : tuned!.why!;
    expect(said).toMatch(tuned!.found ? /off by/ : /The device failed/);
    if (tuned!.found) expect([3, -1]).toContain(bad.indexOf(scheduleText(tuned!.found.schedule)) < 0 ? -1 : bad.indexOf(scheduleText(tuned!.found.schedule)) % 4);
  });

  test.each([
    ['a table of another device', () => { writeFileSync(join(folder, 'other.json'), JSON.stringify({ ...read(), features: ['shader-f16'] })); return ['tune', 'examples/shapes/checkpoint', '--adapter', 'swiftshader', '-o', join(folder, 'other.json')]; }, /holds a table of another device/],
    ['no table', () => { writeFileSync(join(folder, 'no.json'), '{"version": 1}'); return ['compile', 'examples/shapes/checkpoint', '--schedules', join(folder, 'no.json'), '-o', join(folder, 'x')]; }, /no\.json is no schedule table: 'adapter': it is missing/],
    ['a missing file', () => ['compile', 'examples/shapes/checkpoint', '--schedules', join(folder, 'none.json'), '-o', join(folder, 'x')], /cannot be read/],
    ['no such family', () => ['tune', 'examples/shapes/checkpoint', '--families', 'convolution'], /'convolution' is no family of kernels with schedules; there are matmul, matvec, attention, norm/],
    ['the null backend', () => ['tune', 'examples/shapes/checkpoint', '--adapter', 'null'], /computes nothing/],
  ])('%s is refused', async (_name, args, message) => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      expect(await main(args())).toBe(1);
      expect(said.mock.calls.map(([text]) => String(text)).join('')).toMatch(message);
    } finally {
      said.mockRestore();
    }
  });
});
