/** `eemllm sweep`: what it evaluates is what the formulas say, at every size, and what it writes is what it evaluated. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { main } from '../../compiler/cli/main.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { atResolution, resolutionOf } from '../../compiler/cli/resolution.ts';
import { openOptions, withOption } from '../../compiler/cli/sweep/options.ts';
import { readOver } from '../../compiler/cli/sweep/over.ts';
import { sweep } from '../../compiler/cli/sweep/points.ts';
import { csvOf } from '../../compiler/cli/sweep/write.ts';
import { conventions } from '../../compiler/cost/conventions.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { costFormula, flops } from '../../passes/flops.ts';

const shapes = await findModel('examples/shapes/checkpoint'), exact = conventions['exact']!, dense = conventions['dense']!;
const folder = mkdtempSync(join(tmpdir(), 'eemllm-sweep-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('what --over says', () => {
  const values = (text: string): readonly string[] => readOver(text, ['layers', 'ratio', 'k']).values;
  test.each([
    ['visual=64..256:64', ['64', '128', '192', '256']], ['visual=64..255:64', ['64', '128', '192']], ['text=0,16, 16 ,8..9', ['0', '16', '8', '9']],
    ['ratio=0.1..0.9:0.2', ['0.1', '0.3', '0.5', '0.7', '0.9']], ['ratio=0..1:0.25', ['0', '0.25', '0.5', '0.75', '1']],
    ['image=336, 980x672 ,672X672', ['336', '980x672', '672']], ['layers=0..4:2', ['0', '2', '4']], ['k=3', ['3']],
  ])('%s', (text, expected) => expect(values(text)).toEqual(expected));

  test.each([
    ['visual', /written NAME=VALUES/], ['visul=3', /Did you mean 'visual'/], ['visual=', /empty value/], ['visual=1,,2', /empty value/], ['visual=9..3', /ends before it begins.*3\.\.9/],
    ['visual=-4', /negative/], ['visual=1.5', /no whole number/], ['visual=a', /no value and no range/], ['visual=1..9:0', /step is larger than 0/], ['visual=1..9:-1', /step is larger than 0/],
    ['pictures=0', /outside 1 to/], ['visual=1..99999999', /at most 10,000/], ['visual=1e5', /no value and no range/], ['visual=9999999999', /larger than 1,000,000,000/], ['image=336x', /no value and no range/],
    ['image=0x3', /outside 1 to/], ['ratio=0.5..1.5', /from 0 to 1/], ['ratio=0.1234567', /more than six digits/], ['resolution=0', /outside 1 to/],
  ])('%s is refused with a sentence', (text, expected) => expect(() => readOver(text, ['ratio'])).toThrow(expected));
});

describe('options of variants', () => {
  test('those that a variant leaves open, of all but the baseline', () => {
    expect([...openOptions(['self', 'fastv:k=2', 'shortv'])].sort()).toEqual(['layers', 'r', 'ratio']);
    expect([...openOptions(['self', 'fastv:k=2,r=0.5'])]).toEqual([]);
    expect([...openOptions(['pdrop'])].sort()).toEqual(['keep', 'layers', 'ratio']);
  });
  test.each([
    ['composite', 'layers', '8', 'composite:layers=0-7'], ['composite', 'layers', '0', 'self'], ['shortv:layers=3', 'layers', '8', 'shortv:layers=3'],
    ['fastv:k=2', 'ratio', '0.3', 'fastv:k=2,r=7/10'], ['pdrop:layers=8,16', 'ratio', '0.5', 'pdrop:layers=8,16,keep=0.5'], ['vtw', 'k', '4', 'vtw:k=4'],
    ['composite+shortv:layers=2-3', 'layers', '2', 'composite:layers=0-1+shortv:layers=2-3'], ['self', 'ratio', '0.5', 'self'],
  ])('%s with %s=%s is %s', (variant, option, value, expected) => expect(withOption(variant, option, value)).toBe(expected));
});

describe('the points of a sweep', () => {
  const variants = ['self', 'composite', 'shortv:layers=1-3', 'fastv:k=2,r=0.5'];

  test('are the formulas of each variant, evaluated at each size', () => {
    const points = sweep({ source: shapes, variants, convention: dense, over: [readOver('visual=1..300:13', []), readOver('text=1,7,40', [])], fixed: { text: 64 } });
    expect(points).toHaveLength(24 * 3);
    const formulas = variants.map((v) => costFormula(trace(shapes.create(v)).graph, dense));
    for (const p of points) expect(p.variants).toEqual(variants.map((name, i) => ({ name, cost: formulas[i]!.at({ dims: { V: p.visual, T: p.text } }) })));
    expect(points.map((p) => p.at).slice(0, 4)).toEqual([{ visual: '1', text: '1' }, { visual: '1', text: '7' }, { visual: '1', text: '40' }, { visual: '14', text: '1' }]);
  });

  test('with layers: the first n of every variant but the baseline', () => {
    const points = sweep({ source: shapes, variants: ['self', 'composite'], convention: exact, over: [{ name: 'layers', values: ['0', '2', '5'] }], fixed: { visual: 64, text: 8 } });
    const total = (variant: string): bigint => flops(trace(shapes.create(variant)).graph, { visual: 64, text: 8 }).total;
    expect(points.map((p) => p.variants.map((v) => v.cost.total))).toEqual([
      [total('self'), total('self')], [total('self'), total('composite:layers=0-1')], [total('self'), total('composite')],
    ]);
  });

  test('with a resolution: the model with a larger tower, and as many visual tokens as it has patches', () => {
    const [small, large] = sweep({ source: shapes, variants: ['self'], convention: exact, over: [{ name: 'resolution', values: ['64', '96'] }], fixed: { text: 8 } }) as [never, never] as ReturnType<typeof sweep>;
    expect([small!.visual, large!.visual]).toEqual([64, 144]);
    expect(small!.variants[0]!.cost).toEqual(flops(trace(shapes.create('self')).graph, { visual: 64, text: 8 }));
    expect(large!.variants[0]!.cost.parts.vision).toBeGreaterThan(2n * small!.variants[0]!.cost.parts.vision);
    expect(large!.variants[0]!.cost.parts.decoder).toBe(flops(trace(shapes.create('self')).graph, { visual: 144, text: 8 }).parts.decoder);
  });

  test('with pictures: by the tiling rule of the model', async () => {
    const next = await findModel('llava-next-7b');
    const [one] = sweep({ source: next, variants: ['self'], convention: exact, over: [{ name: 'image', values: ['672'] }], fixed: { text: 8 } });
    expect(one!.tiles).toBe(5);
    expect(one!.visual).toBeGreaterThan(5 * 400);
  });

  test('what contradicts itself is told', () => {
    const at = (names: readonly string[], fixed = {}): unknown => sweep({ source: shapes, variants: ['self'], convention: exact, over: names.map((name) => ({ name, values: ['1'] })), fixed: { text: 1, ...fixed } });
    expect(() => at(['visual', 'resolution'])).toThrow(/--over visual and --over resolution all say/);
    expect(() => at(['visual'], { visual: 3 })).toThrow(/--over visual and --visual/);
    expect(() => at(['text', 'text'])).toThrow(/given twice/);
  });
});

test('a model without a tower, or with tiles of one size, has no resolution to change', async () => {
  const [vicuna, next] = [await findModel('vicuna-7b'), await findModel('llava-next-7b')];
  expect(resolutionOf(vicuna)).toBeUndefined();
  expect(() => atResolution(vicuna, 336)).toThrow(/names no 'image_size'/);
  expect(() => atResolution(next, 672)).toThrow(/cuts pictures into tiles/);
});

/** Fields of CSV, quotes included. */
function parseCsv(text: string): string[][] {
  return text.trimEnd().split('\n').map((line) => [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].map((m) => m[1]!.replace(/^"|"$/g, '').replace(/""/g, '"')).slice(0, -1));
}

describe('the files', () => {
  const variants = ['self', 'shortv:layers=0,2'];
  const over = [readOver('visual=10,20', [])], points = sweep({ source: shapes, variants, convention: exact, over, fixed: { text: 5 } });

  test('CSV: a row for each size and variant, with every digit', () => {
    const [head, ...rows] = parseCsv(csvOf({ model: 'shapes', convention: 'exact', over }, points));
    expect(head).toEqual(['model', 'convention', 'visual', 'text', 'images', 'tiles', 'variant', 'vision', 'projector', 'decoder', 'decoder_visual', 'decoder_text', 'decoder_scores', 'head', 'total', 'percent_of_baseline']);
    expect(rows.map((r) => r[6])).toEqual(['self', 'shortv:layers=0,2', 'self', 'shortv:layers=0,2']);
    expect(rows.map((r) => BigInt(r[14]!))).toEqual(points.flatMap((p) => p.variants.map((v) => v.cost.total)));
    expect(rows.map((r) => Number(r[15]!)).filter((x) => x === 100)).toHaveLength(2);
  });

  async function run(...args: string[]): Promise<{ code: number; error: string; output: string }> {
    const written = { error: '', output: '' };
    const spies = (['stderr', 'stdout'] as const).map((to) => vi.spyOn(process[to], 'write').mockImplementation(((text: string) => { written[to === 'stderr' ? 'error' : 'output'] += text; return true; }) as never));
    try { return { code: await main(args), ...written }; } finally { spies.forEach((s) => s.mockRestore()); }
  }

  test('JSON: in the shape of flops --json for every size, FLOPs as bare digits', async () => {
    const file = join(folder, 'cost.json');
    expect(await run('sweep', 'llava-1.5-7b', '--over', 'visual=4900', '--text', '0', '--compare', 'self,composite', '--convention', 'dense', '-o', file)).toMatchObject({ code: 0 });
    const text = readFileSync(file, 'utf8'), json = JSON.parse(text) as { points: { variants: unknown[] }[] };
    expect(json).toMatchObject({ model: 'llava-1.5-7b', convention: 'dense', over: { visual: [4900] }, points: [{ visual: 4900, text: 0, images: 1, tiles: 1, variants: [{ name: 'self', percent: 100 }, { name: 'composite' }] }] });
    expect(text).toContain('"decoder": 76053007564800');
    expect(text).toContain('"decoder": 58203517747200');
    expect(readdirSync(folder)).toEqual(['cost.json']);
  });

  test.each([
    [['--over', 'visual=1', '-o', 'x.txt'], /neither CSV nor JSON/], [['--over', 'visual=1', '-o', '/nowhere/at/all.csv'], /folder \/nowhere\/at is not there/], [['--over', 'visual=1', '-o', '/tmp', '--json'], /is a folder/],
    [['--over', 'visual=1', '--over', 'text=1', '--over', 'pictures=1', '-o', '-'], /one or two/], [['--over', 'visual=0', '--text', '0', '-o', '-'], /costs nothing/], [['--over', 'visual=1', '--convention', 'denze', '-o', '-'], /Did you mean 'dense'/],
    [['--over', 'visual=1', '--compare', 'self,composit', '-o', '-'], /Did you mean 'composite'/], [['--over', 'layers=33', '--compare', 'self,composite', '-o', '-'], /Layer 32 lies outside/],
  ])('%j is refused with a sentence, and nothing is written', async (args, expected) => {
    const { code, error, output } = await run('sweep', 'llava-1.5-7b', ...args);
    expect({ code, output }).toEqual({ code: 1, output: '' });
    expect(error).toMatch(expected);
  });
});
