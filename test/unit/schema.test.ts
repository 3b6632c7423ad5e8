import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { schemaVersion } from '../../runtime/manifest.ts';
import { schemaFile, schemaText } from '../../scripts/schema.ts';

test('docs/bundle.schema.json is what runtime/manifest.ts says (npm run schema writes it)', () => {
  expect(readFileSync(schemaFile, 'utf8')).toBe(schemaText());
});

test('the JSON Schema refuses what the loader refuses: unknown keys, and paths that leave the folder', () => {
  interface Schema { properties: Record<string, Schema>; required: string[]; additionalProperties: boolean; items: Schema; pattern: string; const: number }
  const schema = JSON.parse(schemaText()) as Schema;
  expect(schema.additionalProperties).toBe(false);
  expect(schema.required).toContain('targets');
  expect(schema.properties['schema']!.const).toBe(schemaVersion);
  const { file } = schema.properties['weights']!.items.properties, path = new RegExp(file!.pattern);
  expect(['kernels/a.wgsl', 'model.safetensors', '../a', 'a/../../b', '/etc/passwd'].map((f) => path.test(f))).toEqual([true, true, false, false, false]);
});
