import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

/** The runtime as a page would ship it; the tokenizer library and the template engine, which a page may load later, apart. */
async function bundled(): Promise<{ code: Uint8Array; inputs: string[] }> {
  const result = await build({
    entryPoints: ['runtime/browser.ts'],
    bundle: true, minify: true, write: false, metafile: true,
    format: 'esm', platform: 'browser', target: 'es2022',
    external: ['@huggingface/tokenizers', '@huggingface/jinja'],
  });
  return { code: result.outputFiles[0]!.contents, inputs: Object.keys(result.metafile.inputs) };
}

test('for browsers, the runtime is under 40 KB gzipped, manifest validation included', async () => {
  const { code } = await bundled();
  const bytes = gzipSync(code, { level: 9 }).length;
  console.log(`runtime for browsers: ${code.length} bytes minified, ${bytes} gzipped`);
  expect(bytes).toBeLessThan(40_000);
  expect(bytes).toBeGreaterThan(10_000); // an entry that lost its content would pass above
});

test('it holds nothing of the compiler and nothing that needs Node', async () => {
  const { code, inputs } = await bundled();
  expect(inputs.filter((i) => !/^runtime\/|^node_modules\/valibot\//.test(i))).toEqual([]);
  expect(inputs.filter((i) => /^runtime\/node/.test(i))).toEqual([]);
  expect(new TextDecoder().decode(code)).not.toMatch(/["']node:/);
});
