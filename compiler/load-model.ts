/** From what a user names (a built-in model, a folder, a config, a source file) to a model, with the variant asked for. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject, Model, ModelClass } from './dsl/index.ts';
import { UserError, createModel, suggest } from './dsl/index.ts';
import { loadModelFile, namesModelFile } from './frontend/load.ts';
import { withMarkTokens } from './mark-tokens.ts';
import { applyVariant } from '../models/variants.ts';
import { builtinConfig, builtinNames, familyOf } from '../models/families.ts';

/** A model that can be made in several variants. */
export interface ModelSource {
  /** `llava-1.5-7b`, the folder's name, or the export's. */
  readonly name: string;
  readonly model: ModelClass;
  /** The config as it stands in the file, with the `preprocessor_config.json` and `tokenizer_config.json` beside it under these names. */
  readonly config: JsonObject;
  /** The folder whose weights belong to the config; absent when there is none. */
  readonly checkpoint?: string;
  /**
   * A new model. Without a variant, or under the model's own name, it is as its author wrote it. Throws a UserError for
   * an unknown variant.
   */
  create(variant?: string): Model;
  /** The same model with another config. */
  withConfig(config: JsonObject): ModelSource;
}

export interface OpenOptions {
  /** A checkpoint folder for a model that is named otherwise: its config is used, and its weights belong to the model. */
  readonly checkpoint?: string;
}

/**
 * Finds a model by what the user calls it: `file.ts#Export`, a checkpoint folder, a `config.json`, or a built-in name.
 * Throws a UserError that says what was looked for.
 */
export async function openModel(spec: string, { checkpoint }: OpenOptions = {}): Promise<ModelSource> {
  const given = checkpoint === undefined ? undefined : readConfig(path.join(checkpoint, 'config.json'), checkpoint);
  if (namesModelFile(spec)) {
    const { name, model, exports } = await loadModelFile(spec);
    const config = given ?? model.config;
    if (!config) throw new UserError(`The model ${name} has no config. Give a checkpoint's folder (--checkpoint DIR), or declare one: static config = { … }.`);
    return source({ name, model, config, checkpoint, masks: exports });
  }
  const known = builtinConfig(spec);
  if (known) return source({ name: spec, model: familyOf(given ?? known), config: given ?? known, checkpoint });
  if (!existsSync(spec)) throw new UserError(`'${spec}' is no built-in model, and there is no file or folder of this name.${suggest(spec, builtinNames, 'Built in are')} A model of your own is named file.ts#Export.`);
  const folder = statSync(spec).isDirectory(), file = folder ? path.join(spec, 'config.json') : spec;
  const config = given ?? readConfig(file, spec);
  const name = !folder && path.basename(spec) !== 'config.json' ? path.basename(spec).replace(/\.json$/, '') : folderName(path.resolve(folder ? spec : path.dirname(spec)));
  return source({ name, model: familyOf(config, file), config, checkpoint: checkpoint ?? (folder ? spec : undefined), where: file });
}

/** Names of folders that say nothing of what lies in them. */
const nameless = /^(checkpoints?|models?|weights|hf|main|latest|snapshots|[0-9a-f]{40})$/i;
/** What a folder is called: its own name, or that of one around it which says more; of the Hugging Face cache, the repository's. */
function folderName(folder: string): string {
  const own = path.basename(folder), parts = folder.split(path.sep).filter(Boolean), telling = parts.findLast((p) => !nameless.test(p));
  return (telling ?? own).replace(/^models--.*--/, '');
}

export interface LoadOptions extends OpenOptions {
  /** A variant, as in `composite` or `shortv:layers=8-31`. */
  readonly mask?: string;
}
/** `openModel`, and the model of one variant. */
export const loadModel = async (spec: string, { mask, ...options }: LoadOptions = {}): Promise<Model> => (await openModel(spec, options)).create(mask);

interface Found { name: string; model: ModelClass; config: JsonObject; checkpoint?: string | undefined; masks?: Readonly<Record<string, unknown>>; where?: string }
function source(found: Found): ModelSource {
  const { name, model, config, checkpoint, masks = {}, where } = found;
  const file = where ?? (checkpoint === undefined ? `the config of ${name}` : path.join(checkpoint, 'config.json'));
  return {
    name, model, config, ...(checkpoint !== undefined && { checkpoint }),
    create(variant) {
      const made = createModel(model, config, file);
      if (variant !== undefined && variant.toLowerCase() !== name.toLowerCase()) applyVariant(made, variant, masks);
      return made;
    },
    withConfig: (other) => source({ ...found, config: other }),
  };
}

/**
 * A config.json. How pictures become tiles stands in the `preprocessor_config.json` beside it (in `processor_config.json`, as newer
 * releases of transformers save it), and the names of tokens in `tokenizer_config.json`; they are added under these names.
 */
function readConfig(file: string, spec: string): JsonObject {
  if (!existsSync(file)) throw new UserError(`${spec} holds no config.json, so it is no checkpoint folder.`);
  const config = readObject(file);
  if (path.basename(file) !== 'config.json') return config;
  const beside = (name: string): JsonObject | undefined => {
    const other = path.join(path.dirname(file), name);
    return existsSync(other) ? readObject(other) : undefined;
  };
  const preprocessor = beside('preprocessor_config.json') ?? beside('processor_config.json')?.['image_processor'], tokenizer = beside('tokenizer_config.json');
  return withMarkTokens({ ...(preprocessor !== undefined && { preprocessor_config: preprocessor }), ...(tokenizer && { tokenizer_config: tokenizer }), ...config }, path.dirname(file), file);
}

function readObject(file: string): JsonObject {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (e) {
    throw new UserError(`${file} cannot be read as JSON: ${e instanceof Error ? e.message : String(e)}.`, undefined, { cause: e });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new UserError(`${file} holds no object; a ${path.basename(file)} is one.`);
  return json as JsonObject;
}
