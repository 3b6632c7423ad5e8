/** What `flops` says a bundle's weights take is what they take: the files, but for the headers of safetensors. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import { quantiseRules } from '../../compiler/cli/quant.ts';
import { bundledWeights } from '../../compiler/compile.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { parseWeightFormat } from '../../compiler/ir/weight-format.ts';
import type { QuantisedFormat } from '../../compiler/ir/weight-format.ts';
import { BundleFolder, shapesCheckpoint } from '../support/shapes.ts';
import { root } from '../support/shapes-lines.ts';

const bundles = new BundleFolder();
afterAll(() => bundles.remove());

/** Bytes of a safetensors file without its header, which says itself how long it is. */
const dataBytes = (file: string): number => { const bytes = readFileSync(file); return bytes.length - 8 - Number(bytes.readBigUInt64LE(0)); };

const cases = [
  [shapesCheckpoint, 'composite', 'f16', 'int4:group=32', [{ pattern: 'lm_head', format: 'int8' }, { pattern: 'vision_tower', format: 'int8' }], 'int8'],
  [join(root, 'test/fixtures/llava-siglip-qwen2-a'), 'composite', 'f16', 'int4:group=64,asymmetric', [], 'f32'],
  [join(root, 'test/fixtures/llama-gqa-odd-a'), 'self', 'f16', undefined, [], 'f16'],
] as const;
test.each(cases)('%s, variant %s, %s, %s', async (checkpoint, mask, dtype, quant, keep, kv) => {
  const source = await findModel(checkpoint), format = quant === undefined ? undefined : (parseWeightFormat(quant) as QuantisedFormat), flags = { ...(format ? { quant: format } : {}), keep };
  const output = bundles.fresh('b'), { manifest } = await compileModel(source, { ...flags, mask, dtype, kv, maxVisual: 64, maxText: 64, output });
  const written = manifest.weights.reduce((sum, w) => sum + dataBytes(join(output, w.file)), 0), quantise = quantiseRules(flags, dtype);
  expect(Number(bundledWeights(trace(source.create(mask)).graph, { dtype, kv, ...(quantise ? { quantise } : {}) }))).toBe(written);
});
