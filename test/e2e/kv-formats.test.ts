/** Keys and values held in f16 and int8, whole: the trained example's answers, and golden files on the interpreter. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { verify } from '../../compiler/verify/verify.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { BundleFolder, answerShapes } from '../support/shapes.ts';
import { root, shapesLines } from '../support/shapes-lines.ts';

const bundles = new BundleFolder();
const adapter = process.platform === 'linux' && process.arch === 'x64' ? 'swiftshader' : 'auto';
afterAll(() => bundles.remove());

describe.each(['f16', 'int8'] as const)('keys and values in %s', (kv) => {
  test('the trained example answers every line as in f32', async () => {
    const bundle = await bundles.shapes('composite', 'f32', undefined, undefined, kv), lines = shapesLines();
    const { answers } = await answerShapes(bundle, adapter);
    expect(lines.filter((l, i) => l.composite.tokens.join() !== answers[i]!.join()).map((l) => `${l.image}: ${l.question}`)).toEqual([]);
  });

  test('the manifest says so, and the states are as small as that', async () => {
    const open = async (format: 'f32' | typeof kv) => (await openBundleFolder(await bundles.shapes('composite', 'f32', undefined, undefined, format))).manifest;
    const [held, plain] = [await open(kv), await open('f32')], states = (m: typeof held) => Object.entries(m.targets[0]!.buffers).flatMap(([name, b]) => (b.kind === 'state' ? [{ name, ...b }] : []));
    expect([held.model.kv, plain.model.kv]).toEqual([kv, undefined]);
    // 2 KV heads of 32: 64 numbers a row, or 16 words of codes and one of scales.
    expect(new Set(states(held).map((s) => [s.rowBytes, s.format?.kind].join()))).toEqual(new Set([`${kv === 'f16' ? 128 : 68},${kv}`]));
    expect(states(held).map((s) => [s.name, s.bytes / s.rowBytes])).toEqual(states(plain).map((s) => [s.name, s.bytes / s.rowBytes]));
  });

  test('golden tensors stay within the stated bound', async () => {
    const folder = join(root, 'test/fixtures/llava-siglip-qwen2-a');
    const report = await verify(folder, { dtype: 'f32', backend: 'interpreter', kv, variants: ['ee_mllm', 'ee_mllm_f'], cases: ['image_middle'] });
    expect(report.tensors.filter((t) => !t.ok)).toEqual([]);
    expect(report.tensors.filter((t) => t.measure === 'rms').length).toBeGreaterThan(10);
    expect(report.ok).toBe(true);
  });
});
