/**
 * Measures the tables that ship: `npm run tables [-- --budget SECONDS] [--adapters swiftshader,lavapipe,hardware]`. For each adapter the
 * demo's model, and a decoder of few layers at a small prompt (software adapters are slow, and what was measured for 160 rows also
 * answers for 640), each at f16, f32 and with few rows. On a machine that does nothing else.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { budget: { type: 'string', default: '300' }, adapters: { type: 'string', default: 'swiftshader,lavapipe' } } });
const root = fileURLToPath(new URL('..', import.meta.url));
const models = [['examples/shapes/checkpoint', '64', '32'], ['bench/tuned/decoder.json', '128', '32'], ['bench/tuned/decoder.json', '0', '8']] as const;
for (const adapter of values.adapters.split(',')) for (const dtype of ['f16', 'f32']) for (const [model, visual, text] of models) {
  const { status } = spawnSync(process.execPath, ['bin/eemllm.js', 'tune', model, '--mask', 'composite', '--dtype', dtype, '--visual', visual, '--text', text, '--adapter', adapter, '--budget', values.budget, '-o', `compiler/schedule/tables/${adapter}.json`], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
