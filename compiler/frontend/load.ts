/** Loads a model that an author wrote: `my-model.ts#Mine`. */
import { existsSync } from 'node:fs';
import { register } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ModelClass } from '../dsl/model.ts';
import { Model } from '../dsl/model.ts';
import { authorError } from '../dsl/where.ts';
import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';

export interface LoadedFile {
  /** Name of the export. */
  readonly name: string;
  readonly model: ModelClass;
  /** Everything that the file exports, by name: its masks may be asked for by name too. */
  readonly exports: Readonly<Record<string, unknown>>;
}

/** True for what names a source file: `file.ts`, `file.ts#Export`. */
export const namesModelFile = (spec: string): boolean => /\.[cm]?[jt]s(#[^#]*)?$/.test(spec);

/**
 * Imports a model file and finds the model in it: the export after `#`, or the only model that the file exports. Throws
 * a UserError when there is no such file or export, the file does not run, or the export is no model.
 */
export async function loadModelFile(spec: string): Promise<LoadedFile> {
  const [, name, wanted] = /^(.*?)(?:#([^#]*))?$/s.exec(spec) as unknown as [string, string, string | undefined];
  const file = path.resolve(name);
  if (!existsSync(file)) throw new UserError(`There is no file ${file}. Give the path of a model's source, as in my-model.ts#MyModel.`);
  const exports = await importFile(file);
  const models = Object.entries(exports).filter(([, x]) => isModelClass(x));
  if (wanted) {
    if (!(wanted in exports)) throw new UserError(`${file} exports nothing named '${wanted}'.${suggest(wanted, Object.keys(exports), 'It exports')}`);
    return { name: wanted, model: modelClass(exports[wanted], wanted, file), exports };
  }
  if (models.length === 1) return { name: models[0]![0], model: models[0]![1] as ModelClass, exports };
  throw new UserError(models.length
    ? `${file} exports several models: ${models.map(([n]) => n).join(', ')}. Say which one: ${name}#${models[0]![0]}.`
    : `${file} exports no model. Export a class that extends Model or one of the built-in models; its exports are: ${Object.keys(exports).join(', ') || 'none'}.`);
}

let hooked = false;
async function importFile(file: string): Promise<Readonly<Record<string, unknown>>> {
  if (!hooked) register(new URL('./load-hooks.js', import.meta.url));
  hooked = true;
  try {
    return { ...(await import(/* @vite-ignore */ pathToFileURL(file).href) as Record<string, unknown>) };
  } catch (e) {
    const error = authorError(e);
    if (error instanceof UserError) throw error;
    throw new UserError(`${file} cannot be loaded, since it fails as it is imported: ${(e instanceof Error ? e.message : String(e)).trim().replace(/\.$/, '')}.`, undefined, { cause: e });
  }
}

const isModelClass = (x: unknown): x is ModelClass => typeof x === 'function' && x.prototype instanceof Model;

function modelClass(x: unknown, name: string, file: string): ModelClass {
  if (isModelClass(x)) return x;
  // A second copy of this package has a Model class of its own, and nothing made with it can be traced by this one.
  const stranger = typeof x === 'function' && ancestors(x).includes(Model.name);
  throw new UserError(stranger
    ? `'${name}' of ${file} is a model of another copy of eemllm. Let the file and this command use one copy: run the command with npx in the folder where eemllm is installed.`
    : `'${name}' of ${file} is no model but ${describe(x)}. A model is a class that extends Model or one of the built-in models.`);
}
function ancestors(x: object): string[] {
  const names: string[] = [];
  for (let p: unknown = x; typeof p === 'function' && p.name; p = Object.getPrototypeOf(p)) names.push(p.name);
  return names;
}
const describe = (x: unknown): string => {
  if (typeof x !== 'function') return x === null ? 'null' : x instanceof Model ? 'a model already made; export its class' : `a value of type ${typeof x}`;
  return /^class\b/.test(Function.prototype.toString.call(x)) ? 'a class that does not extend Model' : 'a function';
};
