/** Which model a command is about, and the checkpoint that belongs to it. */
import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';
import type { NamedParameter } from '../dsl/module.ts';
import { Checkpoint } from '../bundle/checkpoint.ts';
import { namesModelFile } from '../frontend/load.ts';
import type { ModelSource as Source } from '../load-model.ts';
import { openModel } from '../load-model.ts';
import type { StackedTensor } from '../../models/index.ts';
import { isComputedTensor, resolveStacked, resolveTensorName } from '../../models/index.ts';

/** A model as the commands take it. */
export interface ModelSource extends Source {
  /** `model_type` of its config. */
  readonly type: string;
  /** The variant that the definition itself is. */
  readonly ownVariant: string;
}

/** @throws UserError when there is no such model, or its config is not one. */
export async function findModel(spec: string, checkpoint?: string): Promise<ModelSource> {
  const source = await openModel(spec, checkpoint === undefined ? {} : { checkpoint });
  return { ...source, type: String(source.config['model_type'] ?? 'custom'), ownVariant: namesModelFile(spec) ? source.name : 'self' };
}

/** Opens a checkpoint and checks its tensors against the model's parameters, name by name and shape by shape. */
export async function openCheckpoint(folder: string, parameters: readonly NamedParameter[]): Promise<{ files: Checkpoint; nameOf: (parameter: string) => string }> {
  const files = await Checkpoint.open(folder);
  try {
    const available = new Set(files.names), names = new Map<string, string>(), used = new Set<string>();
    for (const p of parameters) {
      const stacked = resolveStacked(available, p.name), name = stacked ? sliceOf(files, stacked, p, folder) : resolveTensorName(available, p.name);
      if (name === undefined) throw new UserError(`The checkpoint ${folder} has no tensor '${p.name}' of [${p.shape.join(', ')}], which the model needs.${suggest(p.name, available, 'It has')}`);
      const shape = files.entry(name)!.shape;
      if (shape.join() !== p.shape.join()) throw new UserError(`Tensor '${name}' of ${folder} is [${shape.join(', ')}], and the model's config asks for [${p.shape.join(', ')}]. Config and weights belong to different models.`);
      names.set(p.name, name);
      used.add(stacked?.name ?? name);
    }
    const extra = [...available].filter((n) => !used.has(n) && !isComputedTensor(n));
    if (extra.length) throw new UserError(`The checkpoint ${folder} holds ${extra.length} tensor(s) that the model has no place for, such as '${extra[0]}'. Config and weights belong to different models.`);
    return { files, nameOf: (p) => names.get(p) ?? p };
  } catch (e) {
    await files.close();
    throw e;
  }
}

/** Names the part of a stacked tensor that is a parameter's. */
function sliceOf(files: Checkpoint, { name, index, part, parts }: StackedTensor, p: NamedParameter, folder: string): string {
  const { shape } = files.entry(name)!, [rows, columns] = p.shape as [number, number];
  if (shape.length !== 3 || shape[1] !== parts * rows || shape[2] !== columns || index >= shape[0]!)
    throw new UserError(`Tensor '${name}' of ${folder} is [${shape.join(', ')}], and the model's config asks for at least ${index + 1} matrices of [${parts * rows}, ${columns}] in it. Config and weights belong to different models.`);
  const own = `${name}[${index}${parts > 1 ? `, part ${part}` : ''}]`;
  files.slice(own, name, (index * parts + part) * rows, p.shape);
  return own;
}
