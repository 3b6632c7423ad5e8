/** Synthetic checkpoints: the names, shapes and sizes of the definitions, in shards as Hugging Face has them. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createModel, parameters } from 'eemllm';
import { builtinConfig, builtinNames, familyOf } from 'eemllm/models';
import { afterAll, expect, test } from 'vitest';
import { findModel, openCheckpoint } from '../../compiler/cli/model.ts';
import { tokensOf } from '../../compiler/cli/compile.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { parsePreprocessor } from '../../runtime/preprocessor-config.ts';
import { Tokenizer } from '../../runtime/tokenizer.ts';
import { smallFiles, tinyConfig } from '../../scripts/checkpoint/files.ts';
import { makeCheckpoint } from '../../scripts/make-checkpoint.ts';

const folder = mkdtempSync(join(tmpdir(), 'eemllm-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([['bf16', 3], ['f16', 1], ['f32', 2]] as const)('tiny in %s, %i shards: fits its definition', async (dtype, shards) => {
  const one = join(folder, dtype), bytes = await makeCheckpoint(one, tinyConfig(), { dtype, shards });
  const files = readdirSync(one).filter((f) => f.endsWith('.safetensors'));
  expect(files).toHaveLength(shards);
  const source = await findModel(one), { files: opened } = await openCheckpoint(one, trace(source.create()).parameters);
  try {
    let count = 0;
    for (const { name, shape } of parameters(createModel(familyOf(tinyConfig()), tinyConfig()))) {
      const values = await opened.rows(name, 0, shape[0]!), mean = values.reduce((a, b) => a + b, 0) / values.length, squares = values.reduce((a, b) => a + b * b, 0) / values.length;
      count += values.length;
      if (shape.length > 1) { const width = values.length / shape[0]!; expect(squares * width).toBeGreaterThan(0.2); expect(squares * width).toBeLessThan(0.8); } else expect(Math.abs(mean - (name.endsWith('weight') ? 1 : 0))).toBeLessThan(0.1);
    }
    expect(count * (dtype === 'f32' ? 4 : 2)).toBe(bytes);
  } finally {
    await opened.close();
  }
  expect(tokensOf(source, one)).toEqual({ stopTokens: [2], imageToken: { text: '<image>', id: 4 } });
});

test('twice the same', async () => {
  const again = join(folder, 'again');
  await makeCheckpoint(again, tinyConfig(), { dtype: 'bf16', shards: 3 });
  for (const f of readdirSync(again)) expect(readFileSync(join(again, f)).equals(readFileSync(join(folder, 'bf16', f))), f).toBe(true);
});

test('the small files of every published model are ones that the runtime reads', () => {
  for (const name of builtinNames) {
    const given = builtinConfig(name)!, small = { vocab_size: 200 }, config = { ...given, ...(given['text_config'] ? { text_config: { ...given['text_config'], ...small } } : small) }, files = smallFiles(config);
    if (files['preprocessor_config.json']) parsePreprocessor(files['preprocessor_config.json']);
    const tokenizer = new Tokenizer(files['tokenizer.json']!, files['tokenizer_config.json']), image = files['config.json']!['image_token_index'];
    if (image !== undefined) expect(tokenizer.tokenOf(Number(image))).toBe('<image>');
  }
});
