import type { PromptItem, ImageInput } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { Manifest } from './manifest.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * A prompt's text to token ids and images. As in transformers, every image token is first written as often as its image
 * has rows (with marks between its tiles, where these are images of their own), then the whole text is tokenised at once; here
 * each such run becomes the image itself.
 * @throws RuntimeError `value` when the text has more or fewer image marks than there are images.
 */
export function promptItems(manifest: Manifest, tokenizer: Tokenizer, text: string, images: readonly ImageInput[], addSpecialTokens: boolean): PromptItem[] {
  const { media } = manifest;
  if (!media || (!images.length && !media.imageToken)) {
    if (images.length) throw new RuntimeError('value', `${images.length} image(s) were given, but '${manifest.model.name}' reads text only.`);
    return tokenizer.encode(text, { addSpecialTokens });
  }
  const mark = media.imageToken;
  const marks = mark ? text.split(mark.text).length - 1 : 0;
  if (!mark || marks !== images.length)
    throw new RuntimeError('value', `The prompt has ${marks} image mark(s)${mark ? ` '${mark.text}'` : ''}, but ${images.length} image(s) were given. Write one mark where each image belongs.`);
  const entered: ImageInput[] = [];
  const written = images.map((image) => (image.inPrompt?.(images.length) ?? [image]).map((piece) => {
    if (typeof piece === 'string') return piece;
    entered.push(piece);
    return mark.text.repeat(piece.rows);
  }).join(''));
  let next = 0;
  const whole = text.split(mark.text).reduce((all, part) => all + written[next++]! + part);
  // Pictures side by side share the mark between them (Idefics2Processor).
  const around = media.tiling?.rule === 'native_resolution' ? media.tiling.fake_image_token : undefined;
  const ids = tokenizer.encode(around === undefined ? whole : whole.replaceAll(around + around, around), { addSpecialTokens });
  const items: PromptItem[] = [];
  for (let i = 0, image = 0; i < ids.length;) {
    if (ids[i] !== mark.id) { items.push(ids[i++]!); continue; }
    items.push(entered[image]!);
    i += entered[image++]!.rows;
  }
  return items;
}
