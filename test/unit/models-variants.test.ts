/** Masks and row rules on any language model, by name and from an author's file; and finding a model by what it is called. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { UserError } from 'eemllm';
import type { Token } from 'eemllm';
import { EeMllm, Llava, applyVariant, causal, composite, eeMllmF, imageIslands, llavaConfig, llavaOfIslands, published, shortV, slidingWindow, splitVariants, variants } from 'eemllm/models';
import type { Tokens } from 'eemllm/models';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadModelFile } from '../../compiler/frontend/load.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { loadModel, openModel } from '../../compiler/load-model.ts';
import { printGraph } from '../../compiler/ir/print.ts';
import type { Graph } from '../../compiler/ir/graph.ts';

const llava = 'test/fixtures/llava-clip-llama-a', llama = 'test/fixtures/llama-gqa-odd-a';
const masksByLayer = (g: Graph): string[] => g.nodes.filter((n) => n.op === 'attention' && n.path.includes('model.layers')).map((n) => String(n.attrs['mask']));
const traced = async (spec: string, variant?: string): Promise<Graph> => trace(await loadModel(spec, { ...(variant && { mask: variant }) })).graph;
const text = (g: Graph): string => printGraph({ ...g, name: 'model' });

describe('masks say', () => {
  /** `<s> [image 0: 3 rows] a b [image 1: 2 rows] c`. */
  const prompt: Token<Tokens>[] = [
    ...['t', 'v0', 'v0', 'v0', 't', 't', 'v1', 'v1', 't'].map((x, pos) => ({ kind: (x === 't' ? 'text' : 'visual') as Tokens, pos, image: x === 't' ? -1 : Number(x[1]), index: 0 })),
  ].map((t, i, all) => ({ ...t, index: i - all.findIndex((_, j) => j <= i && all.slice(j, i + 1).every((w) => w.kind === t.kind && w.image === t.image)) }));
  const picture = (m: (q: Token<Tokens>, k: Token<Tokens>) => boolean): string[] => prompt.map((q) => prompt.map((k) => (m(q, k) ? '#' : '.')).join(''));

  test('composite: a visual row reads itself, text all before it', () => {
    expect(picture(composite)).toEqual(['#........', '.#.......', '..#......', '...#.....', '#####....', '######...', '......#..', '.......#.', '#########']);
  });
  test('causal and a sliding window', () => {
    expect(picture(causal).at(-1)).toBe('#########');
    expect(picture(slidingWindow(3)).slice(3)).toEqual(['.###.....', '..###....', '...###...', '....###..', '.....###.', '......###']);
  });
  test('islands: images read themselves, text a window of text and all images', () => {
    expect(picture(imageIslands(3))).toEqual(['#........', '.###.....', '.###.....', '.###.....', '.####....', '.#####...', '......##.', '......##.', '.###..###']);
  });
});

describe('a few lines over LLaVA', () => {
  const config = llavaConfig(published['llava-1.5-7b']), small = { ...config, text_config: { ...config.text_config, num_hidden_layers: 3 } };
  test('EE-MLLM is another mask', () => {
    expect(new Set(masksByLayer(trace(new EeMllm(small)).graph))).toEqual(new Set(['composite']));
    expect(new Set(masksByLayer(trace(new Llava(small)).graph))).toEqual(new Set(['causal']));
  });
  test('EE-MLLM-F is another mask in some layers', () => {
    expect(masksByLayer(trace(new (eeMllmF([0, 2]))(small)).graph)).toEqual(['composite', 'causal', 'composite']);
  });
  test('ShortV leaves visual rows as they are in some layers', () => {
    const { values } = trace(new (shortV([1]))(small));
    const layer = (i: number) => values.get(`language_model.model.layers.${i}`)!;
    expect(layer(0).op).toBe('add');
    expect(layer(1).op).toBe('merge');
    // Its visual rows are those of layer 0.
    expect(layer(1).inputs[0]).toMatchObject({ op: 'rows', inputs: [layer(0)], attrs: { rows: 'visual' } });
  });
  test('islands of images', () => {
    expect(printGraph(trace(new (llavaOfIslands(64))(small)).graph)).toContain(
      'mask imageIslands(tokens) = q.kind == visual ? k.kind == visual && k.image == q.image : k.pos <= q.pos && (k.kind == visual || q.pos - k.pos < 64)');
  });
});

describe('variants', () => {
  test('of a list, with options and lists of layers', () => {
    expect(splitVariants('self,composite,ee-mllm-f:layers=0-1,3,shortv:layers=2,image-islands:window=4,layers=1')).toEqual(
      ['self', 'composite', 'ee-mllm-f:layers=0-1,3', 'shortv:layers=2', 'image-islands:window=4,layers=1']);
  });
  test.each([llava, llama])('every one works on %s', async (spec) => {
    const { layerCount } = (await loadModel(spec)) as Llava;
    for (const { example } of Object.values(variants)) {
      const fits = example.replace(/layers=[\d,-]+\d/, 'layers=0,2-3').replace(/k=\d+/, `k=${layerCount}`);
      expect((await traced(spec, fits)).outputs.has('logits')).toBe(true);
    }
  });
  test('are the classes of the same name', async () => {
    const { config } = await openModel(llava), typed = llavaConfig(config);
    expect(text(await traced(llava, 'composite'))).toBe(text(trace(new EeMllm(typed)).graph));
    expect(text(await traced(llava, 'ee-mllm-f:layers=1,3'))).toBe(text(trace(new (eeMllmF([1, 3]))(typed)).graph));
    expect(text(await traced(llava, 'shortv:layers=1'))).toBe(text(trace(new (shortV([1]))(typed)).graph));
    expect(text(await traced(llava, 'image-islands:window=9'))).toBe(text(trace(new (llavaOfIslands(9))(typed)).graph));
  });
  test('in some layers, any of them', async () => {
    expect(masksByLayer(await traced(llava, 'composite:layers=0,3'))).toEqual(['composite', 'causal', 'causal', 'composite']);
  });
  test('several together, whatever the model says itself', async () => {
    const model = await loadModel(llava, { mask: 'composite:layers=0-1+shortv:layers=1+shortv:layers=2' });
    const { graph, values } = trace(model);
    expect(masksByLayer(graph)).toEqual(['composite', 'composite', 'causal', 'causal']);
    expect([0, 1, 2, 3].map((i) => values.get(`language_model.model.layers.${i}`)!.op)).toEqual(['add', 'merge', 'merge', 'add']);
    const lazy = class extends (shortV([0])) { override mask = composite; }, { config } = await openModel(llava), own = new lazy(llavaConfig(config));
    applyVariant(own, 'self');
    expect(text(trace(own).graph)).toBe(text(await traced(llava)));
  });
  test("keep a model's sliding window", async () => {
    const { Llama, llamaConfig } = await import('eemllm/models');
    const config = llamaConfig({ model_type: 'qwen2', hidden_size: 16, num_attention_heads: 2, num_key_value_heads: 2, intermediate_size: 8, vocab_size: 9, num_hidden_layers: 2, use_sliding_window: true, sliding_window: 5, max_window_layers: 1 });
    expect(masksByLayer(trace(new Llama(config)).graph)).toEqual(['causal', 'causal_and_slidingWindow']);
    expect(masksByLayer(trace(Object.assign(new Llama(config), { mask: composite })).graph)).toEqual(['composite', 'composite_and_slidingWindow']);
  });
  test.each([
    ['compsite', "'compsite' is no variant. Did you mean 'composite'? Known are: self, composite, ee-mllm-f, shortv, image-islands, vtw, fastv, pdrop."],
    ['shortv', "The variant 'shortv' needs the option 'layers', for example shortv:layers=0-3,8."],
    ['shortv:layers=2-9', 'Layer 9 lies outside the model: its 4 layers are 0 to 3.'],
    ['shortv:layers=x', "'x' is no layer and no range of layers; layers are written like 0-3,8."],
    ['shortv:layer=1', "The variant 'shortv' has no option 'layer'. Did you mean 'layers'? Its options are: layers."],
    ['composite:3', "'3' is no option of the variant 'composite'; options are written option=value."],
    ['image-islands', "The variant 'image-islands' needs the option 'window', for example image-islands:window=256."],
    ['vtw', "The variant 'vtw' needs the option 'k', for example vtw:k=16."],
    ['vtw:k=5', "The option 'k' of the variant 'vtw' is '5'; expected a number of layers from 0 to 4."],
    ['vtw:k=2.5', "The option 'k' of the variant 'vtw' is '2.5'; expected a number of layers from 0 to 4."],
    ['vtw:layers=1', "The variant 'vtw' has no option 'layers'. Its options are: k."],
    ['fastv:k=2', "The variant 'fastv' needs the option 'r', for example fastv:k=2,r=0.5."],
    ['fastv:k=2,r=1.5', "The option 'r' of the variant 'fastv' is '1.5'; expected a share from 0 to 1, such as 0.5 or 1/3."],
    ['fastv:k=2,r=-0.5', "The option 'r' of the variant 'fastv' is '-0.5'; expected a share from 0 to 1, such as 0.5 or 1/3."],
    ['fastv:k=2,ratio=0.5', "The variant 'fastv' has no option 'ratio'. Its options are: k, r."],
    ['pdrop:keep=0.5', "The variant 'pdrop' needs the option 'layers', for example pdrop:layers=8,16,24,keep=0.5."],
    ['pdrop:layers=1,4,keep=0.5', 'Layer 4 lies outside the model: its 4 layers are 0 to 3.'],
    ['pdrop:layers=1,kep=0.5', "The variant 'pdrop' has no option 'kep'. Did you mean 'keep'? Its options are: keep, layers."],
    ['image-islands:window=0', "The option 'window' of the variant 'image-islands' is '0'; expected a whole number of at least 1."],
  ])('%s is a clear error', async (variant, message) => { await expect(loadModel(llava, { mask: variant })).rejects.toThrow(new UserError(message)); });
  test('a tower takes none', async () => { await expect(loadModel('clip-vit-l-14', { mask: 'self' })).rejects.toThrow(/ClipVisionModel takes no variants/); });
});

test('a file that lies anywhere, with nothing installed around it, is loaded by the command line', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'eemllm-')), file = path.join(folder, 'mine.ts');
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "commonjs" }');
  writeFileSync(file, `import { Llava, composite } from 'eemllm/models';\nexport class Mine extends Llava { override mask = composite; }`);
  const script = `
    import { register } from 'tsx/esm/api';
    register();
    const { openModel } = await import('./compiler/load-model.ts');
    const { trace } = await import('./compiler/frontend/trace.ts');
    console.log([...trace((await openModel(${JSON.stringify(file)})).create()).graph.masks.keys()].join());`;
  try {
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })).toBe('wholePicture,composite\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('a model is found', () => {
  const folder = path.resolve('.cache/test-models');
  const write = (name: string, source: string): string => { const file = path.join(folder, name); writeFileSync(file, source); return file; };
  beforeAll(() => mkdirSync(folder, { recursive: true }));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const mine = `
import { mask } from 'eemllm';
import { Llava, tokens } from 'eemllm/models';
export const near = mask(tokens, (q, k) => k.pos <= q.pos && q.pos - k.pos < 7);
export class Mine extends Llava { override mask = near; }
export const seven = 7;
export class Plain {}
`;

  test('by its built-in name, folder, config and file', async () => {
    expect((await openModel('llava-1.5-7b')).name).toBe('llava-1.5-7b');
    expect(await openModel(llava)).toMatchObject({ name: 'llava-clip-llama-a', checkpoint: llava });
    const byConfig = await openModel(`${llava}/config.json`);
    expect(byConfig.name).toBe('llava-clip-llama-a');
    expect(byConfig.checkpoint).toBeUndefined();
    const own = await openModel(`${write('mine.ts', mine)}#Mine`);
    expect([own.name, own.config['model_type']]).toEqual(['Mine', 'llava']);
  });
  test("in an author's file, with a checkpoint's config, the file's own masks and its own name as variants", async () => {
    const source = await openModel(write('own.ts', mine), { checkpoint: llava });
    expect(masksByLayer(trace(source.create()).graph)).toEqual(['near', 'near', 'near', 'near']);
    expect(masksByLayer(trace(source.create('mine')).graph)).toEqual(['near', 'near', 'near', 'near']);
    expect(masksByLayer(trace(source.create('self')).graph)).toEqual(['causal', 'causal', 'causal', 'causal']);
    expect(masksByLayer(trace(source.create('near:layers=1')).graph)).toEqual(['causal', 'near', 'causal', 'causal']);
  });

  test.each<[string, string, RegExp]>([
    ['an unknown name', 'llava-1.5-8b', /^'llava-1\.5-8b' is no built-in model, and there is no file or folder of this name\. Did you mean 'llava-1\.5-7b'\? Built in are: .* A model of your own is named file\.ts#Export\.$/],
    ['a folder without config', 'test/unit', /^test\/unit holds no config\.json, so it is no checkpoint folder\.$/],
    ['a missing file', 'nowhere.ts#Mine', /^There is no file .*nowhere\.ts\./],
  ])('%s is a clear error', async (_what, spec, message) => { await expect(openModel(spec)).rejects.toThrow(message); });
  test('an export that is not there, or is no model', async () => {
    const file = write('errors.ts', mine);
    await expect(loadModelFile(`${file}#Mein`)).rejects.toThrow(/exports nothing named 'Mein'\. It exports: near, Mine, seven, Plain\./);
    await expect(loadModelFile(`${file}#seven`)).rejects.toThrow(/'seven' of .* is no model but a value of type number/);
    await expect(loadModelFile(`${file}#Plain`)).rejects.toThrow(/is no model but a class that does not extend Model/);
    await expect(loadModelFile(`${file}#near`)).rejects.toThrow(/is no model but a function/);
  });
  test('a file with no model, several, or a fault of its own', async () => {
    await expect(loadModelFile(write('none.ts', 'export const a = 1;'))).rejects.toThrow(/exports no model\. .* its exports are: a\./);
    await expect(loadModelFile(write('two.ts', `import { Llava } from 'eemllm/models';\nexport class A extends Llava {}\nexport class B extends Llava {}`))).rejects.toThrow(/exports several models: A, B\. Say which one: .*two\.ts#A\./);
    await expect(loadModelFile(write('throws.ts', 'export const a = 1;\nthrow new Error("boom");'))).rejects.toThrow(/throws\.ts:2:7: Error: boom/);
    await expect(loadModelFile(write('syntax.ts', 'export const = 1;'))).rejects.toThrow(/syntax\.ts cannot be loaded/);
  });
  test('a model without config, and a broken config', async () => {
    const file = write('bare.ts', `import { Model, ids } from 'eemllm';\nimport { tokens } from 'eemllm/models';\nexport class Bare extends Model { inputs = { ids: ids(tokens, 'text') }; forward() { return undefined; } }`);
    await expect(openModel(file)).rejects.toThrow('The model Bare has no config. Give a checkpoint\'s folder (--checkpoint DIR), or declare one: static config = { … }.');
    await expect(openModel(write('broken.json', '{'))).rejects.toThrow(/broken\.json cannot be read as JSON/);
    await expect(openModel(write('list.json', '[]'))).rejects.toThrow(/holds no object/);
    expect((await openModel(write('good.json', JSON.stringify(published['vicuna-7b'])))).name).toBe('good');
  });
});
