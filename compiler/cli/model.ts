/** Which model a command is about: a source file, a built-in name, a checkpoint folder or a config.json. */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';
import type { Model, ModelClass } from '../dsl/model.ts';
import { createModel } from '../dsl/model.ts';
import type { JsonObject } from '../dsl/index.ts';
import type { NamedParameter } from '../dsl/module.ts';
import { Checkpoint, readJson } from '../bundle/checkpoint.ts';
import { loadModelFile, namesModelFile } from '../frontend/load.ts';
import { applyVariant, builtinConfig, builtinNames, familyOf, isComputedTensor, resolveTensorName } from '../../models/index.ts';

type Json = Readonly<Record<string, unknown>>;

/** A model that can be made in any variant. */
export interface ModelSource {
  readonly name: string;
  readonly type: string;
  readonly config: Json;
  /** Folder of the checkpoint that was named, if one was. */
  readonly checkpoint?: string;
  /** The variant that the definition itself is. */
  readonly ownVariant: string;
  /** A new instance; without `variant` as its author wrote it. */
  make(variant?: string): Model;
}

/** @throws UserError when there is no such model, or its config is not one. */
export async function findModel(spec: string, checkpoint?: string): Promise<ModelSource> {
  const folder = checkpoint ?? (isFolder(spec) ? spec : undefined);
  const given = folder !== undefined ? readJson(join(folder, 'config.json')) : undefined;
  if (namesModelFile(spec)) {
    const { name, model, exports } = await loadModelFile(spec);
    const config = given ?? (model.config as Json | undefined);
    if (!config) throw new UserError(`The model '${name}' of ${spec} has no config of its own. Name a checkpoint with --checkpoint DIR, or give the class a 'static config'.`);
    return source(name, model, config, folder, name, exports);
  }
  if (folder !== undefined && (isFolder(spec) || checkpoint === undefined)) return source(basename(resolve(folder)), familyOf(given!, join(folder, 'config.json')), given!, folder, 'self');
  if (builtinNames.includes(spec)) {
    const config = given ?? builtinConfig(spec)!;
    return source(spec, familyOf(config, spec), config, folder, 'self');
  }
  if (spec.endsWith('.json')) {
    const config = readJson(spec);
    return source(basename(dirname(resolve(spec))), familyOf(config, spec), config, folder, 'self');
  }
  throw new UserError(`There is no model '${spec}'. A model is a source file (file.ts#Export), a checkpoint folder, a config.json, or one of the built-in names.${suggest(spec, builtinNames, 'Built in are')}`);
}

const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

function source(name: string, model: ModelClass, config: Json, checkpoint: string | undefined, ownVariant: string, exports: Readonly<Record<string, unknown>> = {}): ModelSource {
  return {
    name, config, ownVariant, type: String(config['model_type'] ?? 'custom'), ...(checkpoint === undefined ? {} : { checkpoint }),
    make: (variant) => {
      const made = createModel(model, config as JsonObject);
      if (variant !== undefined) applyVariant(made, variant, exports);
      return made;
    },
  };
}

/** Opens a checkpoint and checks its tensors against the model's parameters, name by name and shape by shape. */
export async function openCheckpoint(folder: string, parameters: readonly NamedParameter[]): Promise<{ files: Checkpoint; nameOf: (parameter: string) => string }> {
  const files = await Checkpoint.open(folder);
  try {
    const available = new Set(files.names), names = new Map<string, string>();
    for (const p of parameters) {
      const name = resolveTensorName(available, p.name);
      if (name === undefined) throw new UserError(`The checkpoint ${folder} has no tensor '${p.name}' of [${p.shape.join(', ')}], which the model needs.${suggest(p.name, available, 'It has')}`);
      const shape = files.entry(name)!.shape;
      if (shape.join() !== p.shape.join()) throw new UserError(`Tensor '${name}' of ${folder} is [${shape.join(', ')}], and the model's config asks for [${p.shape.join(', ')}]. Config and weights belong to different models.`);
      names.set(p.name, name);
    }
    const used = new Set(names.values()), extra = [...available].filter((n) => !used.has(n) && !isComputedTensor(n));
    if (extra.length) throw new UserError(`The checkpoint ${folder} holds ${extra.length} tensor(s) that the model has no place for, such as '${extra[0]}'. Config and weights belong to different models.`);
    return { files, nameOf: (p) => names.get(p) ?? p };
  } catch (e) {
    await files.close();
    throw e;
  }
}
