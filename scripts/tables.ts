/**
 * Measures the tables that ship: `npm run tables [-- --budget SECONDS] [--adapters swiftshader,lavapipe,hardware] [--families LIST]`. For each
 * adapter the demo's model, a narrow decoder at a small prompt and with few rows, and a wider one at a larger prompt under both masks,
 * in f16 and f32 (software adapters are slow, and what was measured for 320 rows also answers for 640). On a machine that does
 * nothing else.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { budget: { type: 'string', default: '300' }, adapters: { type: 'string', default: 'swiftshader,lavapipe' }, families: { type: 'string' } } });
const root = fileURLToPath(new URL('..', import.meta.url));
const models = [
  ['examples/shapes/checkpoint', 'composite', '64', '32'], ['bench/tuned/decoder.json', 'composite', '128', '32'], ['bench/tuned/decoder.json', 'composite', '0', '8'],
  ['bench/tuned/wide.json', 'composite', '256', '64'], ['bench/tuned/wide.json', 'self', '256', '64'],
  // As many KV heads as heads: what merges heads elsewhere is no schedule here.
  ['bench/tuned/heads.json', 'self', '576', '64'],
] as const;
for (const adapter of values.adapters.split(',')) for (const dtype of ['f32', 'f16']) for (const [model, mask, visual, text] of models) {
  const { status } = spawnSync(process.execPath, ['bin/eemllm.js', 'tune', model, '--mask', mask, '--dtype', dtype, '--visual', visual, '--text', text, '--adapter', adapter, '--budget', values.budget, ...(values.families ? ['--families', values.families] : []), '-o', `compiler/schedule/tables/${adapter}.json`], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
