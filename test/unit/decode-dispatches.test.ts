/** Dispatches of a decode step, layer by layer: what a token costs before it computes anything. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { CompileOptions } from '../../compiler/compile.ts';
import { compile } from '../../compiler/compile.ts';
import type { JsonObject } from '../../compiler/dsl/index.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { openModel } from '../../compiler/load-model.ts';
import { builtinConfig } from '../../models/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'eemllm-dispatches-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A published model with its own widths and few layers. */
async function shortened(name: string): Promise<string> {
  const config = structuredClone(builtinConfig(name)) as Record<string, JsonObject[string]>, few = { num_hidden_layers: 3 };
  for (const part of ['text_config', 'vision_config']) if (config[part]) config[part] = { ...(config[part] as JsonObject), ...few };
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, name, 'config.json'), JSON.stringify(config['text_config'] ? config : { ...config, ...few }));
  return join(folder, name, 'config.json');
}

/** Dispatches of each decoder layer in a decode step, at most; weights are not split. */
async function mostInLayer(name: string, variant: string, options: Partial<CompileOptions> = {}): Promise<number> {
  const graph = trace((await openModel(await shortened(name))).create(variant)).graph;
  const { targets } = compile(graph, { name, type: '', variant, dtype: 'f16', maxVisual: 1000, maxText: 100, targets: ['gpu'], bindingLimit: 2 ** 31, ...options });
  return Math.max(...targets.flatMap(({ target }) => {
    const layers = new Map<string, number>();
    for (const { path } of target.entries.decode!.dispatches) {
      const layer = /\blayers\.\d+/.exec(path)?.[0];
      if (layer) layers.set(layer, (layers.get(layer) ?? 0) + 1);
    }
    expect([...layers.keys()], target.name).toEqual(['layers.0', 'layers.1', 'layers.2']);
    return [...layers.values()];
  }));
}

describe.each(['self', 'composite'])('under the mask %s', (variant) => {
  test.each(['llava-1.5-7b', 'llava-next-mistral-7b', 'llava-onevision-0.5b', 'smolvlm-256m', 'qwen2-0.5b', 'mixtral-8x7b'])('%s: at most 7 a decoder layer', async (name) => {
    expect(await mostInLayer(name, variant)).toBeLessThanOrEqual(7);
  });
});

test.each([['quantised', { quantise: { format: { kind: 'int4', group: 32, symmetric: true }, keep: [] } }], ['with keys and values in f16', { kv: 'f16' }]] as const)('%s: no more', async (_name, options) => {
  for (const name of ['tinyllama-1.1b', 'llava-onevision-0.5b']) expect(await mostInLayer(name, 'composite', options), name).toBeLessThanOrEqual(7);
});
test('with keys and values in int8, quantised in one dispatch: no more', async () => {
  for (const name of ['tinyllama-1.1b', 'llava-1.5-7b', 'qwen2-0.5b', 'llava-onevision-0.5b']) expect(await mostInLayer(name, 'composite', { kv: 'int8' }), name).toBeLessThanOrEqual(7);
});
