/** The tokens of an actual prompt as masks see them: kind, position, index in their run, image. */
import type { ImageInput, Model } from '../../../runtime/browser.ts';
import { isImage } from '../../../runtime/browser.ts';
import { messagesOf } from './ask.ts';
import type { PromptToken } from './attention-map.ts';

export function promptTokens(model: Model, question: string, image: ImageInput): PromptToken[] {
  const { manifest } = model.bundle;
  const items = model.items({ messages: messagesOf(question), images: [image] });
  const { kinds } = manifest.sequences[0]!, textKind = kinds.find((k) => !k.media)!.name, mediaKind = manifest.media?.kind ?? textKind;
  const tokens: PromptToken[] = [];
  let images = 0, index = 0;
  for (const item of items) {
    if (isImage(item)) {
      for (let i = 0; i < item.rows; i++) tokens.push({ kind: mediaKind, pos: tokens.length, index: i, image: images, text: `${mediaKind} ${i + 1}` });
      images++;
      index = 0;
    } else tokens.push({ kind: textKind, pos: tokens.length, index: index++, image: -1, text: model.tokenizer.tokenOf(item) ?? String(item) });
  }
  return tokens;
}
