/** Which definition a config, or the name of a published model, asks for. */
import type { JsonObject, ModelClass } from 'eemllm';
import { UserError, suggest } from 'eemllm';
import { ClipVisionModel, ClipVisionModelWithProjection } from './clip.ts';
import { Idefics2 } from './idefics2.ts';
import { Idefics3 } from './idefics3.ts';
import { Llama } from './llama.ts';
import { Llava } from './llava.ts';
import { LlavaNext } from './llava-next.ts';
import { LlavaOneVision } from './llava-onevision.ts';
import { Phi } from './phi.ts';
import { published } from './published.ts';
import { QFormer } from './qformer.ts';
import { SiglipVisionModel } from './siglip.ts';

/** Definitions by the `model_type` of a Hugging Face config. */
export const families: Readonly<Record<string, ModelClass>> = {
  llava: Llava,
  llava_next: LlavaNext,
  llava_onevision: LlavaOneVision,
  idefics2: Idefics2,
  idefics3: Idefics3,
  smolvlm: Idefics3,
  llama: Llama,
  mistral: Llama,
  mixtral: Llama,
  qwen2: Llama,
  phi: Phi,
  clip_vision_model: ClipVisionModel,
  siglip_vision_model: SiglipVisionModel,
  blip_2_qformer: QFormer,
  instructblip_qformer: QFormer,
};

/** Definitions by the class that a config names under `architectures`, where one `model_type` stands for several. */
const architectures: Readonly<Record<string, ModelClass>> = { CLIPVisionModelWithProjection: ClipVisionModelWithProjection };

/** The definition for a config, by its `model_type`. Throws a UserError that lists the known ones. */
export function familyOf(json: JsonObject, where = 'config.json'): ModelClass {
  const type = json['model_type'], named = Array.isArray(json['architectures']) ? json['architectures'].find((a) => typeof a === 'string' && Object.hasOwn(architectures, a)) : undefined;
  if (named) return architectures[named as string]!;
  if (typeof type === 'string' && Object.hasOwn(families, type)) return families[type]!;
  throw new UserError(type === undefined
    ? `${where} has no 'model_type', which says what kind of model it is.${suggest('', Object.keys(families), 'Known are')}`
    : `'model_type' of ${where} is ${JSON.stringify(type)}, which is not known here.${suggest(String(type), Object.keys(families), 'Known are')}`);
}

/** Names of the published models that are built in. */
export const builtinNames: readonly string[] = Object.keys(published);
/** The config of a published model, or undefined if none is built in under this name. */
export const builtinConfig = (name: string): JsonObject | undefined => (Object.hasOwn(published, name) ? published[name as keyof typeof published] : undefined);
