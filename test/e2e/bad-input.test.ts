/** Whatever is wrong with what a user gives: one clear sentence, exit code 1, nothing half-written, no stack trace. */
import { copyFileSync, cpSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { schemaVersion } from '../../runtime/manifest.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { Checkpoint } from '../../compiler/bundle/checkpoint.ts';
import { weightsOf } from '../../compiler/bundle/packed-weights.ts';
import { writeBundle } from '../../compiler/bundle/write.ts';
import type { LoadedModel } from '../../runtime/node.ts';
import { decodeImage, findAdapter, loadModel } from '../../runtime/node.ts';
import { BundleFolder, cli, runProcess, shapesCheckpoint } from '../support/shapes.ts';
import { shapesFolder } from '../support/shapes-lines.ts';
import { expectSentence, run } from '../support/told.ts';

const bundles = new BundleFolder(), picture = join(shapesFolder, 'pictures/000.png');
let kind: 'auto';
beforeAll(async () => { kind = (await findAdapter()).kind as 'auto'; });
afterAll(() => bundles.remove());

/** Compiles into a fresh place, expects a refusal, and finds the place and its neighbourhood untouched. */
async function refused(message: RegExp, ...args: string[]): Promise<void> {
  const output = bundles.fresh('out.bundle');
  const told = await run('compile', ...args, '-o', output);
  expect(told.error).toMatch(message);
  expect(told.code).toBe(1);
  expectSentence(told.error);
  expect(readdirSync(dirname(output))).toEqual([]);
}

/** A copy of the shapes checkpoint whose files may be changed. */
function checkpoint(change: (folder: string) => void): string {
  const folder = bundles.fresh('checkpoint');
  cpSync(shapesCheckpoint, folder, { recursive: true });
  change(folder);
  return folder;
}
type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
const original = readFileSync(join(shapesCheckpoint, 'model.safetensors')), headerBytes = Number(original.readBigUInt64LE(0));
const header = (): Header => JSON.parse(original.subarray(8, 8 + headerBytes).toString()) as Header;
const weights = (bytes: Uint8Array) => checkpoint((f) => writeFileSync(join(f, 'model.safetensors'), bytes));
function withHeader(change: (h: Header) => void, data: Uint8Array = original.subarray(8 + headerBytes)): string {
  const h = header();
  change(h);
  const text = Buffer.from(JSON.stringify(h)), size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return weights(Buffer.concat([size, text, data]));
}
const configured = (change: (config: Record<string, Record<string, number> | string>) => void, file = 'config.json') => checkpoint((f) => {
  const json = JSON.parse(readFileSync(join(f, file), 'utf8')) as Parameters<typeof change>[0];
  change(json);
  writeFileSync(join(f, file), JSON.stringify(json));
});
const someTensor = 'language_model.model.layers.0.self_attn.q_proj.weight';
const named = (h: Header): string => Object.keys(h).find((n) => n.endsWith('layers.0.self_attn.q_proj.weight') && n.includes('language'))!;

describe('a checkpoint that is damaged or of another model', () => {
  test('truncated', () => refused(/model\.safetensors/, weights(original.subarray(0, original.length - 1000))));
  test('cut within its header', () => refused(/model\.safetensors/, weights(original.subarray(0, 100))));
  test('empty', () => refused(/model\.safetensors/, weights(new Uint8Array(0))));
  test('a header length beyond the file', () => refused(/model\.safetensors/, weights(Buffer.concat([Buffer.from([255, 255, 255, 255, 255, 0, 0, 0]), original.subarray(8)]))));
  test('a header that is no JSON', () => refused(/model\.safetensors.*JSON/, weights(Buffer.concat([original.subarray(0, 8), Buffer.from('{]'), original.subarray(10)]))));
  test('offsets that overlap', () => refused(/model\.safetensors/, withHeader((h) => { h[named(h)]!.data_offsets = [0, h[named(h)]!.data_offsets[1] - h[named(h)]!.data_offsets[0]]; })));
  test('offsets beyond the end', () => refused(/model\.safetensors/, withHeader((h) => { h[named(h)]!.data_offsets = h[named(h)]!.data_offsets.map((x) => x + 1e9) as [number, number]; })));
  test('a size that is not the shape\'s', () => refused(/model\.safetensors/, withHeader((h) => { h[named(h)]!.shape = [1, 2]; })));
  test('a dtype that nobody knows', () => refused(/model\.safetensors/, withHeader((h) => { h[named(h)]!.dtype = 'F17'; })));
  test('a tensor is missing', () => refused(/has no tensor '.*q_proj\.weight' of \[128, 128\]/, withHeader((h) => { h['something.else'] = h[named(h)]!; delete h[named(h)]; })));
  test('a tensor too many', () => refused(/holds 1 tensor\(s\) that the model has no place for, such as 'extra\.weight'/, withHeader((h) => {
    const end = Math.max(...Object.values(h).map((t) => t.data_offsets?.[1] ?? 0));
    h['extra.weight'] = { dtype: 'F32', shape: [1], data_offsets: [end, end + 4] };
  }, Buffer.concat([original.subarray(8 + headerBytes), Buffer.alloc(4)]))));
  test('a tensor of another shape', () => refused(/is \[64, 256\], and the model's config asks for \[128, 128\]/, withHeader((h) => { h[named(h)]!.shape = [64, 256]; })));
  test('NaN among the weights', () => {
    const h = header(), t = h[named(h)]!, bytes = Buffer.from(original);
    bytes.writeUInt16LE(t.dtype === 'BF16' ? 0x7fc0 : 0x7e00, 8 + headerBytes + t.data_offsets[0] + 6);
    return refused(/holds NaN at \[0, \d\]; every weight must be a finite number/, weights(bytes));
  });
  test('a config that is no JSON', () => refused(/config\.json (is not|cannot be read as) JSON/, checkpoint((f) => writeFileSync(join(f, 'config.json'), '{'))));
  test('dims that disagree with the weights', () => refused(/and the model's config asks for/, configured((c) => { (c['text_config'] as Record<string, number>)['intermediate_size'] = 96; })));
  test('heads that do not divide the width', () => refused(/\bheads?\b|num_attention_heads/, configured((c) => { (c['text_config'] as Record<string, number>)['num_attention_heads'] = 3; })));
  test('a model type that nobody knows', () => refused(/model_type|no model/, configured((c) => { c['model_type'] = 'lllama'; })));
  test('no weights in the folder', () => refused(/has neither model\.safetensors nor/, (() => {
    const folder = bundles.folder('empty');
    copyFileSync(join(shapesCheckpoint, 'config.json'), join(folder, 'config.json'));
    return folder;
  })()));
  test('a name that is no model', () => refused(/'llava-1\.5-7c'.*llava-1\.5-7b/s, 'llava-1.5-7c'));
  test('a variant that does not exist', () => refused(/'compsite' is no variant.*composite/, shapesCheckpoint, '--mask', 'compsite'));
  test('a folder that holds something else', async () => {
    const folder = bundles.folder('mine');
    writeFileSync(join(folder, 'thesis.txt'), 'words');
    const told = await run('compile', shapesCheckpoint, '-o', folder);
    expect(told).toMatchObject({ code: 1, error: expect.stringMatching(/holds 1 file\(s\) and is no bundle, so it is not replaced/) });
    expect(readdirSync(folder)).toEqual(['thesis.txt']);
  });
  test(`the tensor names of this test exist`, () => expect(someTensor.endsWith(named(header()).split('layers').at(-1)!)).toBe(true));
});

describe('a model definition', () => {
  const model = (text: string): string => {
    const file = bundles.fresh('model.ts');
    writeFileSync(file, text);
    return `${file}#Mine`;
  };
  const masked = (predicate: string, head = '') => model(`import { mask } from 'eemllm';\nimport { Llava, tokens } from 'eemllm/models';\n${head}\nexport class Mine extends Llava {\n  mask = mask(tokens, ${predicate});\n}\n`);
  /** In a process of its own: a definition is loaded by the command's own hooks. */
  const compiled = async (message: RegExp, spec: string): Promise<void> => {
    const output = bundles.fresh('out.bundle'), { code, stderr } = await cli(['compile', spec, '--checkpoint', shapesCheckpoint, '-o', output]);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
    expectSentence(stderr);
    expect(readdirSync(dirname(output))).toEqual([]);
  };

  test('with a mask that uses what the language lacks', () => compiled(/model\.ts:5:\d+: .*Math\.random/, masked('(q, k) => Math.random() < 0.5 && k.pos <= q.pos')));
  test('with a mask that lets decode look ahead', () => compiled(/model\.ts:5:\d+: The mask '.*' may let a '(visual|text)' token read a 'text' token at a later position/, masked('(q, k) => k.pos <= q.pos + 1')));
  test('with a misspelt field', () => compiled(/model\.ts:5:\d+: .*'position'/, masked('(q, k) => k.position <= q.pos')));
  test('whose dims disagree', () => compiled(/\.ts:\d+:\d+: .*intermediate_size = 352, but was given rows of vision_hidden_size = 128/, model(`import { Linear } from 'eemllm';
import { Llava } from 'eemllm/models';
export class Mine extends Llava {
  multi_modal_projector = new Linear(this.cfg.text_config, 'intermediate_size', 'hidden_size') as never;
}
`)));
  test('that throws: its own words, at their place', async () => {
    const told = await cli(['compile', model(`throw new Error('broken');\nexport class Mine {}\n`), '--checkpoint', shapesCheckpoint, '-o', bundles.fresh('out.bundle')]);
    expect(told).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error: .*model\.ts:1:\d+: Error: broken\n$/) });
  });
  test('that is not there', () => compiled(/nowhere\.ts/, '/nowhere.ts#Mine'));
  test('that the file does not export', async () => {
    const spec = masked('(q, k) => k.pos <= q.pos');
    await compiled(/'?Yours'?/, spec.replace('#Mine', '#Yours'));
  });
});

describe('a picture', () => {
  const file = (name: string, bytes: Uint8Array | string): string => { const f = bundles.fresh(name); writeFileSync(f, bytes); return f; };
  const png = readFileSync(picture);
  test.each<[string, () => string, RegExp]>([
    ['that is text', () => file('a.png', 'not a picture at all'), /a\.png cannot be decoded as a picture/],
    ['of no bytes', () => file('b.png', ''), /b\.png is empty/],
    ['cut short', () => file('c.png', png.subarray(0, png.length >> 1)), /c\.png cannot be decoded as a picture/],
    ['of no pixels', () => { const none = Buffer.from(png); none.writeUInt32BE(0, 16); return file('d.png', none); }, /d\.png/],
    ['that is not there', () => '/nowhere.png', /\/nowhere\.png does not exist/],
    ['that is a folder', () => shapesFolder, /is a folder/],
  ])('%s', async (_: string, make: () => string, message: RegExp) => {
    const error = await decodeImage(make()).then(() => undefined, (e: unknown) => e as Error & { exitCode: number });
    expect(error?.message).toMatch(message);
    expect(error).toMatchObject({ name: 'RuntimeError', exitCode: 1 });
    expectSentence(error!.message);
  });
  test('20,000 pixels wide', async () => {
    const wide = await sharp({ create: { width: 20_000, height: 4, channels: 3, background: 'red' } }).png().toBuffer();
    await expect(decodeImage(wide, 'wide.png')).rejects.toMatchObject({ exitCode: 1, code: 'image', message: expect.stringMatching(/wide\.png.*20,?000/) });
  });
});

describe('a bundle', () => {
  let good: string;
  beforeAll(async () => { good = await bundles.shapes('composite'); });
  const changed = (change: (folder: string, json: { targets: { kernels: Record<string, { file: string }> }[]; weights: { file: string }[]; files: { file: string }[]; schema: number }) => void): string => {
    const folder = bundles.fresh('bundle');
    cpSync(good, folder, { recursive: true });
    const json = JSON.parse(readFileSync(join(folder, 'bundle.json'), 'utf8')) as Parameters<typeof change>[1];
    change(folder, json);
    writeFileSync(join(folder, 'bundle.json'), JSON.stringify(json));
    return folder;
  };
  const unusable = async (folder: string, message: RegExp): Promise<void> => {
    const told = await run('run', folder, '--image', picture, '--prompt', 'what color ?', '--adapter', 'null', '--json');
    expect(told.error).toMatch(message);
    expect(told.code).toBe(1);
    expect(told.output).toBe('');
    expectSentence(told.error);
  };
  /** All kernels of the folder, so that the one this device uses is among them. */
  const kernels = (folder: string): string[] => readdirSync(join(folder, 'kernels')).map((f) => join(folder, 'kernels', f));

  test('of a newer schema', () => unusable(changed((_, j) => { j.schema++; }), new RegExp(`has schema version ${schemaVersion + 1}, this runtime reads version ${schemaVersion}\\. Update the runtime`)));
  test('with a changed kernel', () => unusable(changed((f) => kernels(f).forEach((k) => writeFileSync(k, `${readFileSync(k, 'utf8')}\n`))), /kernels\/.*\.wgsl is not the file that the bundle was made with/));
  test('with a missing kernel', () => unusable(changed((f) => kernels(f).forEach((k) => rmSync(k))), /kernels\/.*\.wgsl does not exist/));
  test.each(['../outside.wgsl', '/etc/passwd', 'kernels/../../x', 'C:/x', '.hidden'])('with the kernel path %s', (path) => unusable(changed((_, j) => { for (const t of j.targets) for (const k of Object.values(t.kernels)) k.file = path; }), /bundle\.json is not as its schema says at 'targets\.0\.kernels.*a path inside the bundle was expected/));
  test('with weights from elsewhere', () => unusable(changed((_, j) => { j.weights[0]!.file = '../../model.safetensors'; }), /bundle\.json is not as its schema says at 'weights\.0\.file'/));
  test('with weights cut short', () => unusable(changed((f, j) => { const w = join(f, j.weights[0]!.file); writeFileSync(w, readFileSync(w).subarray(0, -64)); }), /has \d+ bytes, bundle\.json says \d+/));
  test('with another tokenizer', () => unusable(changed((f) => writeFileSync(join(f, 'tokenizer.json'), '{}')), /tokenizer\.json is not the file that the bundle was made with/));
  test('that is no JSON', () => { const f = changed(() => undefined); writeFileSync(join(f, 'bundle.json'), '{'); return unusable(f, /bundle\.json is not JSON/); });
  test('with a field too many', () => unusable(changed((_, j) => { (j as unknown as { run: string }).run = 'rm -rf /'; }), /bundle\.json is not as its schema says at 'run'/));
  test('that is a checkpoint', () => unusable(shapesCheckpoint, /has no bundle\.json, so it is no bundle\. It looks like a checkpoint/));
  test('that is nowhere', () => unusable('/nowhere', /\/nowhere is no folder/));
  test('without weights', async () => {
    const output = bundles.fresh('bare');
    expect(await run('compile', join(shapesCheckpoint, 'config.json'), '-o', output)).toMatchObject({ code: 0, output: expect.stringContaining('no weights') });
    await unusable(output, /was compiled without a checkpoint and has no weights/);
  });
  test.each([
    [['--prompt', 'what color is the cross ? '.repeat(60), '--image', picture], /The conversation needs \d+ text tokens/],
    [['--raw', '--prompt', 'USER: <image> <image> what ?', '--image', picture], /The prompt has 2 image mark\(s\) '<image>', but 1 image\(s\) were given/],
    [['--prompt', 'what ?', '--temperature', 'hot'], /--temperature/],
    [['--prompt', 'what ?', '--adapter', 'gpu'], /gpu/],
    [['--image', picture], /--prompt/],
  ])('asked with %j', async (args, message) => {
    const told = await run('run', good, '--json', ...(args.includes('--adapter') ? [] : ['--adapter', 'null']), ...args);
    expect(told.code).toBe(1);
    expect(told.error).toMatch(message);
    expect(told.error).not.toMatch(/\n {4}at /);
  });
});

describe('a disk that is full', () => {
  test('while weights are written: an older bundle stays whole', async () => {
    const source = await findModel(shapesCheckpoint), output = bundles.fresh('out.bundle');
    await compileModel(source, { mask: 'self', dtype: 'f32', maxVisual: 64, maxText: 64, output });
    const before = readFileSync(join(output, 'bundle.json'), 'utf8'), manifest = JSON.parse(before) as Parameters<typeof writeBundle>[1]['manifest'];
    const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
    const files = await Checkpoint.open(shapesCheckpoint), name = files.names[0]!, { shape } = files.source(name);
    const weights = weightsOf([{ name, blocks: [{ tensors: [name], rows: shape[0]! }], shape: [shape[0]!, shape[1] ?? 1], format: { kind: 'f32' } }], (n) => files.source(n));
    await files.close();
    await expect(writeBundle(output, { manifest, kernels: new Map(), weights }, { onProgress: () => { throw full; } })).rejects.toMatchObject({ exitCode: 1, message: expect.stringMatching(/^Could not write .*out\.bundle.*: the disk is full\. Free some space, or write to another disk\. Nothing was left half-written\.$/) });
    expect(readdirSync(dirname(output))).toEqual(['out.bundle']);
    expect(readFileSync(join(output, 'bundle.json'), 'utf8')).toBe(before);
  });
  test.runIf(process.platform === 'linux')('as the operating system tells it', async () => {
    const output = bundles.fresh('out.bundle');
    const told = await runProcess('bash', ['-c', `ulimit -f 64; exec "$0" bin/eemllm.js compile examples/shapes/checkpoint -o "$1"`, process.execPath, output], { TSX_DISABLE_CACHE: '1' });
    expect(told.stderr).toMatch(/^error: Could not write .*Nothing was left half-written\.$/m);
    expect(told.code).toBe(1);
    expect(readdirSync(dirname(output))).toEqual([]);
  });
  test('a folder that cannot be made', () => run('compile', shapesCheckpoint, '-o', '/proc/nowhere/out').then((told) => {
    expect(told.code).toBe(1);
    expectSentence(told.error);
    expect(told.error).toMatch(/Could not write \/proc\/nowhere/);
  }));
});

describe('a GPU device that is lost', () => {
  const answer = async ({ model }: LoadedModel, each: (count: number) => void): Promise<void> => {
    const image = await model.image(await decodeImage(picture));
    let count = 0;
    for await (const _ of model.generate({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'describe the image .' }] }], images: [image], maxTokens: 8 })) each(++count);
  };
  test('between two answers, or within one', async () => {
    for (const within of [false, true]) {
      const loaded = await loadModel(await bundles.shapes('composite'), { adapter: { prefer: kind } });
      if (!within) { await answer(loaded, () => undefined); loaded.device.device.destroy(); }
      const error = await answer(loaded, (count) => { if (within && count === 2) loaded.device.device.destroy(); }).then(() => undefined, (e: unknown) => e as Error);
      expect(error).toMatchObject({ name: 'RuntimeError', code: 'device-lost', exitCode: 1 });
      expectSentence(error!.message);
      loaded.close();
    }
  });
});

describe('in a process of its own', () => {
  test.runIf(process.platform === 'linux')('no adapter at all', async () => {
    const told = await cli(['run', await bundles.shapes('composite'), '--image', picture, '--prompt', 'what color ?'], { EEMLLM_ADAPTER: 'auto', VK_DRIVER_FILES: '/nowhere/driver.json', EEMLLM_CACHE: '/proc/nowhere' });
    expect(told.code).toBe(1);
    expect(told.stderr).toMatch(/^error: No WebGPU adapter was found: .*"eemllm doctor" shows what is there\.$/m);
    expect(told.stderr).not.toMatch(/internal error|\n {4}at .*\.[jt]s:/); // the Vulkan loader warns in its own words
  });
  test('a damaged checkpoint, and a question too long', async () => {
    const output = bundles.fresh('out.bundle');
    const damaged = await cli(['compile', weights(original.subarray(0, original.length - 1000)), '-o', output]);
    expect(damaged).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^error: .*model\.safetensors.*\.\n$/) });
    expect(existsSync(output)).toBe(false);
    const long = await cli(['run', await bundles.shapes('composite'), '--image', picture, '--prompt', 'red '.repeat(400)]);
    expect(long.code).toBe(1);
    expect(long.stderr).toMatch(/error: The conversation needs \d+ text tokens, .*\.\n$/);
  });
});
