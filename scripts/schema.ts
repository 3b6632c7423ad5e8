/** `npm run schema`: writes docs/bundle.schema.json, the JSON Schema of `bundle.json`, from runtime/manifest.ts. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { manifestSchema, schemaVersion } from '../runtime/manifest.ts';

export const schemaFile = fileURLToPath(new URL('../docs/bundle.schema.json', import.meta.url));

/** The file's text. */
export function schemaText(): string {
  const schema = toJsonSchema(manifestSchema, {
    // Keys out of a list: the converter writes them as `propertyNames` and only then says that it cannot.
    overrideSchema: ({ valibotSchema, jsonSchema }) => (valibotSchema.type === 'record' ? jsonSchema : undefined),
  });
  return `${JSON.stringify({ ...schema, title: `bundle.json of an eemllm bundle, schema version ${schemaVersion}` }, null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(schemaFile, schemaText());
