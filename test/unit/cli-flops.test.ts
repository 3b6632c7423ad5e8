/** `eemllm flops`: the tables and the JSON say one thing, every number says how it is counted, bad input is a sentence. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { main } from '../../compiler/cli/main.ts';
import { Poly } from '../../compiler/ir/index.ts';

const shapes = ['examples/shapes/checkpoint', '--visual', '64', '--text', '9'], folder = mkdtempSync(join(tmpdir(), 'eemllm-flops-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; output: string; error: string }> {
  const written = { error: '', output: '' };
  const capture = (to: 'error' | 'output') => ((text: string | Uint8Array) => { written[to] += String(text); return true; }) as never;
  const spies = [vi.spyOn(process.stderr, 'write').mockImplementation(capture('error')), vi.spyOn(process.stdout, 'write').mockImplementation(capture('output'))];
  try {
    return { code: await main(['flops', ...args]), ...written };
  } finally {
    spies.forEach((s) => s.mockRestore());
  }
}
interface Bytes { weights: number; read: number; written: number }
interface Json {
  convention: string; visual: number; text: number; generate: number;
  variants: {
    name: string; parts: Record<string, number>; decoder: Record<string, number>; total: number; bytes: Bytes; groups: { name: string; flops: number; bytes?: Bytes }[];
    time: { ms: number; entries: Record<string, number>; groups: Record<string, number> }; memory: Record<string, number>; formula: Record<string, string>;
  }[];
}
async function json(...args: string[]): Promise<Json> {
  const { code, output, error } = await run(...args, '--json');
  expect(error).toBe('');
  expect(code).toBe(0);
  return JSON.parse(output) as Json;
}
const sum = (xs: Iterable<number>): number => [...xs].reduce((a, b) => a + b, 0);

describe('JSON', () => {
  test('has FLOPs by part as exact integers, one entry a variant', async () => {
    const { output } = await run('llava-1.5-7b', '--visual', '4900', '--text', '0', '--compare', 'self,composite', '--convention', 'dense', '--json');
    expect(output).toContain('"decoder": 76053007564800');
    expect(output).toContain('"decoder": 58203517747200');
    const { convention, visual, text, variants } = JSON.parse(output) as Json;
    expect([convention, visual, text, variants.map((v) => v.name)]).toEqual(['dense', 4900, 0, ['self', 'composite']]);
    for (const v of variants) {
      expect(Object.keys(v.parts)).toEqual(['vision', 'projector', 'decoder', 'head']);
      expect(sum(Object.values(v.parts))).toBe(v.total);
      expect(sum(Object.values(v.decoder))).toBe(v.parts['decoder']);
    }
  });
  test.each(['op', 'layer', 'class', 'entry'])('groups by %s add up to the total, and their bytes to all bytes', async (by) => {
    for (const v of (await json(...shapes, '--by', by, '--generate', '5', '--compare', 'self,composite')).variants) {
      expect(sum(v.groups.map((g) => g.flops))).toBe(v.total);
      if (by !== 'class') for (const kind of ['weights', 'read', 'written'] as const) expect(sum(v.groups.map((g) => g.bytes![kind]))).toBe(v.bytes[kind]);
    }
  });
  test('generated tokens are added, token by token', async () => {
    const after = async (n: number) => (await json(...shapes, '--generate', String(n), '--by', 'entry')).variants[0]!;
    const none = await after(0), two = await after(2), five = await after(5);
    expect(none.groups.map((g) => g.name)).toEqual(['vision', 'prefill']);
    expect(five.groups.map((g) => g.name)).toEqual(['vision', 'prefill', 'decode']);
    // Each further token costs a little more than the one before.
    expect((five.total - two.total) / 3).toBeGreaterThan((two.total - none.total) / 2);
    expect(five.parts['vision']).toBe(none.parts['vision']);
  });
  test('time and memory of a device', async () => {
    const { variants } = await json(...shapes, '--device', 'rtx-3060', '--generate', '4');
    for (const { time, memory } of variants) {
      expect(sum(Object.values(time.entries))).toBeCloseTo(time.ms, 9);
      expect(sum(Object.values(time.groups))).toBeCloseTo(time.ms, 9);
      expect(memory['peak']).toBe(memory['weights']! + memory['kvCache']! + memory['visualMemory']! + memory['arena']!);
    }
  });
  test('formulas are polynomials whose values are the FLOPs', async () => {
    const { variants: [v] } = await json(...shapes, '--formula', '--generate', '6'), at = { V: 64, T: 9, G: 6, tiles: 1 };
    expect(Number(Poly.parse(v!.formula['total (vision + projector + decoder + head)']!).evaluate(at))).toBe(v!.total);
    expect(Number(Poly.parse(v!.formula['vision']!).evaluate(at))).toBe(v!.parts['vision']);
  });
});
describe('tables', () => {
  test('state the convention, and what bytes and time are of', async () => {
    const { output } = await run(...shapes, '--compare', 'self,composite', '--convention', 'dense', '--device', 'h100-sxm', '--formula');
    expect(output).toMatch(/^shapes, 64 visual and 9 text tokens; FLOPs, convention dense: 2 per multiply-add/);
    for (const title of ['bytes moved by the kernels as they are compiled (matrices f16, all else f32; scores of attention never go to memory):', 'time at best on NVIDIA H100 SXM5 80 GB (roofline: f16 989 TFLOP/s, 3.35 TB/s; NVIDIA', 'memory needed for this conversation (matrices f16, all else f32):', 'composite, FLOPs, convention dense (V: visual tokens; T: text tokens; tiles: pictures that the vision tower sees):'])
      expect(output).toContain(title);
  });
  test('say so where a device is too small', async () => {
    const file = join(folder, 'tiny.json');
    writeFileSync(file, '{"name": "tiny", "peak": {"f32": 1e9}, "bandwidth": 1e9, "memory": 1e6}');
    expect((await run(...shapes, '--device', file)).output).toMatch(/self does not fit: it needs \S+ MB, and tiny has 1\.00 MB\./);
  });
  test('a tower by itself has its pictures', async () => {
    expect((await run('clip-vit-l-14-336', '--convention', 'flopcounter')).output).toMatch(/^clip-vit-l-14-336, 1 picture; FLOPs, convention flopcounter: [\s\S]*vision tower +382 G/);
  });
  test('LaTeX is a block with comments, and nothing else', async () => {
    const { output } = await run(...shapes, '--latex', '--by', 'op');
    expect(output).toMatch(/^% shapes, variant self; FLOPs, convention exact: .*\n% V: visual tokens; .*\n\\begin\{align\*\}\n( {2}F_\{\\text\{.*\}\} &= .*\n)+\\end\{align\*\}\n$/);
  });
});

describe('bad input', () => {
  test.each<[RegExp, string[]]>([
    [/--visual must be a whole number from 0 to 1,000,000,000, not '-5'\./, ['--visual', '-5']],
    [/--text must be a whole number .*not '1\.5'\./, ['--text', '1.5']],
    [/--generate must be a whole number .*not '3000000000'\./, ['--generate', '3000000000']],
    [/--images must be a whole number from 1 /, ['--images', '0']],
    [/A prompt of no visual and no text tokens costs nothing/, ['--visual', '0', '--text', '0']],
    [/There is no counting convention 'exat'\. Did you mean 'exact'\?/, ['--convention', 'exat']],
    [/There is no device profile 'h100-smx'\..*h100-sxm/, ['--device', 'h100-smx']],
    [/The device profile .*nowhere\.json cannot be read: /, ['--device', '/nowhere.json']],
    [/--math chooses among the peaks of a device; give one with --device\./, ['--math', 'f16']],
    [/The profile of Apple M2 Max.* has no peak for int8/, ['--device', 'm2-max', '--math', 'int8']],
    [/Allowed choices are part, op, layer, entry, class\./, ['--by', 'module']],
  ])('%s', async (message, args) => {
    const { code, output, error } = await run('examples/shapes/checkpoint', ...args);
    expect(error).toMatch(message);
    expect([code, output]).toEqual([1, '']);
  });
  test('a profile that is no JSON', async () => {
    const file = join(folder, 'bad.json');
    writeFileSync(file, '{');
    expect((await run(...shapes, '--device', file)).error).toMatch(/^error: The device profile .*bad\.json is not JSON: /);
  });
});
