/** Weight files that are missing, cut short, changed or another model's, in a checkpoint and in a bundle: told in sentences, and nothing is overwritten. */
import { cpSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { tinyConfig } from '../../scripts/checkpoint/files.ts';
import { makeCheckpoint } from '../../scripts/make-checkpoint.ts';
import { BundleFolder, shapesCheckpoint } from '../support/shapes.ts';
import { expectSentence, run } from '../support/told.ts';

const bundles = new BundleFolder(), shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const, index = 'model.safetensors.index.json';
let sharded: string, bundle: string, before: Record<string, string>;
const contents = (folder: string): Record<string, string> => Object.fromEntries(readdirSync(folder).filter((f) => f !== 'kernels').map((f) => [f, readFileSync(join(folder, f), 'base64')]));
beforeAll(async () => {
  await makeCheckpoint((sharded = bundles.fresh('sharded')), tinyConfig(), { dtype: 'bf16', shards: 2 });
  await compileModel(await findModel(sharded), { mask: 'composite', dtype: 'f16', maxVisual: 64, maxText: 64, output: (bundle = bundles.fresh('older.bundle')) }, { maxShardBytes: 2e6, pieceBytes: 1 << 18 });
  before = contents(bundle);
});
afterAll(() => bundles.remove());

const copy = (from: string, change: (folder: string) => void): string => {
  const folder = bundles.fresh('copy');
  cpSync(from, folder, { recursive: true });
  change(folder);
  return folder;
};
const editJson = (path: string, change: (json: Record<string, Record<string, unknown>>) => void): void => { const json = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, unknown>>; change(json); writeFileSync(path, JSON.stringify(json)); };

describe('a checkpoint in shards: the bundle that was there stays as it was', () => {
  const other = async (folder: string): Promise<void> => {
    const text = tinyConfig()['text_config'] as object, elsewhere = bundles.fresh('other');
    await makeCheckpoint(elsewhere, { ...tinyConfig(), text_config: { ...text, num_hidden_layers: 4 } }, { dtype: 'bf16', shards: 2 });
    cpSync(join(elsewhere, shards[1]), join(folder, shards[1]));
  };
  test.each<[string, RegExp, (folder: string) => void | Promise<void>]>([
    ['a shard is missing', /^error: The shard model-00002-of-00002\.safetensors is missing from .*; model\.safetensors\.index\.json names it\./, (f) => rmSync(join(f, shards[1]))],
    ['a shard is cut short', /model-00001-of-00002\.safetensors is not a sound safetensors file: .*the file holds \d+ bytes of data/, (f) => writeFileSync(join(f, shards[0]), readFileSync(join(f, shards[0])).subarray(0, -100))],
    ['a shard has bytes too many', /model-00001-of-00002\.safetensors is not a sound safetensors file: its tensors end at byte \d+, but the file has/, (f) => writeFileSync(join(f, shards[0]), Buffer.concat([readFileSync(join(f, shards[0])), Buffer.alloc(4)]))],
    ['a shard of another model', /model\.safetensors\.index\.json of .* (says that tensor '.*' is in|holds the tensor)|holds the tensor '.*', which model\.safetensors\.index\.json does not name|stands in .* and in/, other],
    ['the index names a tensor that no shard has', /says that tensor 'language_model\.extra' is in model-00001-of-00002\.safetensors, but no shard has it/, (f) => editJson(join(f, index), (j) => { j['weight_map']!['language_model.extra'] = shards[0]; })],
    ['the index leaves a tensor out', /holds the tensor 'language_model\.lm_head\.weight', which model\.safetensors\.index\.json does not name/, (f) => editJson(join(f, index), (j) => { delete j['weight_map']!['language_model.lm_head.weight']; })],
    ['the index has a tensor in the wrong shard', /says that tensor '.*' is in (model-0000[12]-of-00002\.safetensors), but it is in .*(?!\1)model-0000[12]-of-00002\.safetensors/, (f) => editJson(join(f, index), (j) => { for (const n of Object.keys(j['weight_map']!)) j['weight_map']![n] = shards[n === 'language_model.lm_head.weight' ? 1 : 0]; })],
    ['the index points out of the folder', /has no 'weight_map' from tensor names to file names/, (f) => editJson(join(f, index), (j) => { j['weight_map']!['language_model.lm_head.weight'] = '../x.safetensors'; })],
    ['the index is no JSON', /model\.safetensors\.index\.json is not JSON/, (f) => writeFileSync(join(f, index), '{')],
  ])('%s', async (_, message, change) => {
    const folder = copy(sharded, () => undefined);
    await change(folder);
    const told = await run('compile', folder, '-o', bundle);
    expect(told.error).toMatch(message);
    expect(told.code).toBe(1);
    expectSentence(told.error);
    expect(contents(bundle)).toEqual(before);
    expect(readdirSync(dirname(bundle))).toEqual(['older.bundle']);
  });
});

describe('a bundle', () => {
  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
  const flip = (f: string, at: number): void => { const path = join(f, one), bytes = readFileSync(path); bytes[at]! ^= 1; writeFileSync(path, bytes); };
  const cases: [string, RegExp, (folder: string) => void][] = [
    ['a shard is missing', /model-00002-of-00002\.safetensors does not exist/, (f) => rmSync(join(f, two))],
    ['a shard is cut short', /model-00001-of-00002\.safetensors (has \d+ bytes, bundle\.json says \d+\. The download or copy is incomplete|is not a sound safetensors file)/, (f) => writeFileSync(join(f, one), readFileSync(join(f, one)).subarray(0, -64))],
    ['a bit of a weight was changed', /model-00001-of-00002\.safetensors is not the file that the bundle was made with: the SHA-256 of bytes 786432 to 1048576 differs/, (f) => flip(f, 1_000_000)],
    ['two shards were exchanged', /model-0000[12]-of-00002\.safetensors (has \d+ bytes|is not the file that the bundle was made with)/, (f) => { renameSync(join(f, one), join(f, 'x')); renameSync(join(f, two), join(f, one)); renameSync(join(f, 'x'), join(f, two)); }],
    ['the manifest has fewer hashes than the file has pieces', /bundle\.json has 1 hashes for .*model-00001-of-00002\.safetensors, whose \d+ bytes are \d pieces/, (f) => editJson(join(f, 'bundle.json'), (j) => { (j['weights'] as unknown as { pieces: string[] }[])[0]!.pieces.splice(1); })],
  ];
  test.each(cases)('%s: it is not loaded', async (_, message, change) => {
    const told = await run('run', copy(bundle, change), '--prompt', 'what color ?', '--adapter', 'null', '--json');
    expect(told).toMatchObject({ code: 1, output: '' });
    expect(told.error).toMatch(message);
    expectSentence(told.error);
  });
  test.each(cases)('%s: inspect --check says so', async (_, message, change) => {
    const told = await run('inspect', copy(bundle, change), '--check');
    expect(told).toMatchObject({ code: 1, output: '' });
    expect(told.error).toMatch(message);
    for (const line of told.error.trimEnd().split('\n')) expectSentence(line);
  });
  test('inspect --check tells all faults, also of kernels and of the tokenizer', async () => {
    const told = await run('inspect', copy(bundle, (f) => {
      flip(f, 1_000_000);
      rmSync(join(f, two));
      writeFileSync(join(f, 'tokenizer.json'), '{}');
      const [kernel] = readdirSync(join(f, 'kernels'));
      writeFileSync(join(f, 'kernels', kernel!), '');
    }), '--check', '--json');
    expect(told.code).toBe(1);
    const { faults } = JSON.parse(told.output) as { faults: string[] };
    for (const part of [/kernels\/.*\.wgsl is not the file/, /tokenizer\.json is not the file/, /model-00001-of-00002\.safetensors is not the file/, /model-00002-of-00002\.safetensors does not exist/, /tensor\(s\) that .* needs, such as '.*', are in none of its weight files/]) expect(faults.some((f) => part.test(f))).toBe(true);
    expect(faults).toHaveLength(5);
  });
  test('weights of another model are known by their tensors', async () => {
    const elsewhere = await bundles.shapes('composite', 'f32'), told = await run('inspect', copy(bundle, (f) => { cpSync(join(elsewhere, 'model.safetensors'), join(f, one)); }), '--check');
    expect(told.code).toBe(1);
    expect(told.error).toMatch(/which no program of the bundle reads\. The file belongs to another model\.|and the programs read \d+\. The file belongs to another model\.|belongs to another bundle/);
  });
  test('as it was made passes, and a file too many is named', async () => {
    expect(await run('inspect', bundle, '--check')).toMatchObject({ code: 0, error: '', output: expect.stringMatching(/: \d+ files, \d.* MB, all as they were made\n$/) });
    expect(await run('inspect', copy(bundle, (f) => writeFileSync(join(f, 'notes.txt'), 'x')), '--check')).toMatchObject({ code: 0, output: expect.stringMatching(/^not named in bundle\.json, and read by nobody: notes\.txt\n/) });
    expect(await run('inspect', shapesCheckpoint, '--check')).toMatchObject({ code: 1, error: expect.stringMatching(/has no bundle\.json, so it is no bundle/) });
  });
});
