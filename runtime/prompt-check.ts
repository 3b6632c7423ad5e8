/** Whether a session can read a prompt, or see images: asked before anything runs. */
import type { ImageInput, PromptItem } from './context.ts';
import { checkCapacity, isImage } from './context.ts';
import { RuntimeError } from './errors.ts';
import { checkImage } from './image-check.ts';
import type { Manifest } from './manifest.ts';

/**
 * @param eachOfItsOwn every image of the prompt needs rows of its own, be it shown twice
 * @throws RuntimeError `limit` when the prompt is longer than the bundle allows, `value` when it does not end in text or holds
 *   what the model cannot read
 */
export function checkPrompt(manifest: Manifest, prompt: readonly PromptItem[], eachOfItsOwn: boolean): void {
  if (typeof prompt.at(-1) !== 'number')
    throw new RuntimeError('value', prompt.length ? 'The prompt ends with an image; a question in words must follow it.' : 'The prompt is empty; at least one token is needed.');
  const images = prompt.filter(isImage), { media, model, vocabulary, sequences: [main] } = manifest;
  if (images.length && !media) throw new RuntimeError('value', `The prompt has ${images.length} image(s), but '${model.name}' reads text only.`);
  checkCapacity(main!, main!.kinds.findIndex((k) => !k.media), prompt.length - images.length);
  if (media) checkRows(manifest, eachOfItsOwn ? images : [...new Map(images.map((i) => [i.key, i])).values()]);
  for (const i of images) checkImage(manifest, i);
  for (const t of prompt)
    if (typeof t === 'number' && !(Number.isInteger(t) && t >= 0 && t < vocabulary)) throw new RuntimeError('value', `The prompt holds the token id ${t}; this model's ids are 0 to ${vocabulary - 1}.`);
}

/**
 * @param remembered rows of images outlive a prompt
 * @throws RuntimeError `value` where they do not, or for an image of another shape; `limit`
 */
export function checkImages(manifest: Manifest, images: readonly ImageInput[], remembered: boolean): void {
  const { model, media } = manifest;
  if (!media) throw new RuntimeError('value', `'${model.name}' reads text only, so it has no visual memory.`);
  if (!remembered) throw new RuntimeError('value', `Under the mask of the variant '${model.variant}' rows of images are computed with each prompt, so there is no visual memory that another question could read. Compile with --mask composite, where they depend on their image alone.`);
  checkRows(manifest, images);
  for (const i of images) checkImage(manifest, i);
}

function checkRows({ media, sequences: [main] }: Manifest, images: readonly ImageInput[]): void {
  checkCapacity(main!, main!.kinds.findIndex((k) => k.name === media!.kind), images.reduce((n, i) => n + i.rows, 0));
}
