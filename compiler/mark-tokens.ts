/** How many tokens the marks around tiles are: the tokenizer of a checkpoint decides it, and costs count them. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { families } from '../models/families.ts';
import { Tokenizer } from '../runtime/tokenizer.ts';
import type { JsonObject } from './dsl/index.ts';

/** The config with `mark_tokens`, if its family writes such marks, says nothing of their tokens, and the folder has a tokenizer. */
export function withMarkTokens(config: JsonObject, folder: string, where: string): JsonObject {
  const type = config['model_type'], file = path.join(folder, 'tokenizer.json');
  const model = typeof type === 'string' && Object.hasOwn(families, type) ? families[type] : undefined;
  if (!model?.tiling || !model.readConfig || 'mark_tokens' in config || !existsSync(file)) return config;
  const rule = model.tiling(model.readConfig(config, where) as never);
  if (rule.rule === 'any_resolution') return config;
  const tokenizer = new Tokenizer(JSON.parse(readFileSync(file, 'utf8')), config['tokenizer_config'], file), count = (text: string): number => tokenizer.encode(text, { addSpecialTokens: false }).length;
  if (rule.rule === 'native_resolution') return { ...config, mark_tokens: { fake_image: count(rule.fake_image_token) } };
  return { ...config, mark_tokens: { row_col: count('<row_1_col_1>'), global_img: count(rule.global_image_token), blank_line: count('\n\n') } };
}
