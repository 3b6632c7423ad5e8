/** Which definition a config, or the name of a published model, asks for. */
import type { JsonObject, ModelClass } from 'eemllm';
import { UserError, suggest } from 'eemllm';
import { ClipVisionModel } from './clip.ts';
import { Llama } from './llama.ts';
import { Llava } from './llava.ts';
import { published } from './published.ts';
import { SiglipVisionModel } from './siglip.ts';

/** Definitions by the `model_type` of a Hugging Face config. */
export const families: Readonly<Record<string, ModelClass>> = {
  llava: Llava,
  llama: Llama,
  mistral: Llama,
  qwen2: Llama,
  clip_vision_model: ClipVisionModel,
  siglip_vision_model: SiglipVisionModel,
};

/** The definition for a config, by its `model_type`. Throws a UserError that lists the known ones. */
export function familyOf(json: JsonObject, where = 'config.json'): ModelClass {
  const type = json['model_type'];
  if (typeof type === 'string' && Object.hasOwn(families, type)) return families[type]!;
  throw new UserError(type === undefined
    ? `${where} has no 'model_type', which says what kind of model it is.${suggest('', Object.keys(families), 'Known are')}`
    : `'model_type' of ${where} is ${JSON.stringify(type)}, which is not known here.${suggest(String(type), Object.keys(families), 'Known are')}`);
}

/** Names of the published models that are built in. */
export const builtinNames: readonly string[] = Object.keys(published);
/** The config of a published model, or undefined if none is built in under this name. */
export const builtinConfig = (name: string): JsonObject | undefined => (Object.hasOwn(published, name) ? published[name as keyof typeof published] : undefined);
