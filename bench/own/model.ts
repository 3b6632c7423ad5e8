/** A bundle on a device without tokenizer, and what its steps take. Times are milliseconds. */
import type { PromptItem } from '../../runtime/context.ts';
import type { Bundle, ImageInput } from '../../runtime/node.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { chooseTarget } from '../../runtime/bundle.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';
import { uploadWeights } from '../../runtime/weights.ts';
import { noise } from '../../test/support/attention.ts';

export interface Loaded { readonly bundle: Bundle; readonly program: Program; readonly session: Session; readonly pipelines: number; readonly upload: number }

export async function load(folder: string, device: GPUDevice, software: boolean): Promise<Loaded> {
  const bundle = await openBundleFolder(folder), start = performance.now();
  const program = await Program.create(bundle, chooseTarget(bundle, new Set(device.features), software, device), device);
  const made = performance.now();
  await uploadWeights(bundle, program);
  await device.queue.onSubmittedWorkDone();
  return { bundle, program, session: new Session(program, bundle.manifest), pipelines: made - start, upload: performance.now() - made };
}

/** A picture that is `rows` embeddings of the decoder's width; `key` tells it from others. */
export function picture({ bundle: { manifest } }: Loaded, rows: number, key: string): ImageInput {
  const random = noise(11);
  return { key, rows, data: Float32Array.from({ length: rows * manifest.media!.input.shape[0]! }, random) };
}

const ids = (count: number): number[] => Array.from({ length: count }, (_, i) => 1 + ((i * 37) % 1000));

/** A picture and a question of `text` tokens after it. */
export const prompt = (image: ImageInput, text: number): PromptItem[] => [image, ...ids(text)];

/** Until the first token of a prompt with a new picture before `text` tokens. */
export async function firstToken(model: Loaded, image: ImageInput, text: number): Promise<number> {
  model.session.reset();
  const start = performance.now();
  await model.session.prefill(prompt(image, text));
  await model.session.next();
  return performance.now() - start;
}

/** Each token of a greedy answer, after `firstToken`. */
export async function eachToken({ session }: Loaded, count: number): Promise<number> {
  let token = await session.next();
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    session.decode(token);
    token = await session.next();
  }
  return (performance.now() - start) / count;
}
