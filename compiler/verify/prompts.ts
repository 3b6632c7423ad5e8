/** From a case of a golden file to the prompt that a model reads, with what the reference says of each stage. */
import { join } from 'node:path';
import type { ImageInput, PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';
import { preprocess } from '../../runtime/image.ts';
import type { Manifest } from '../../runtime/manifest.ts';
import { decodeImage } from '../../runtime/node-image.ts';
import { promptItems } from '../../runtime/prompt.ts';
import { Tokenizer } from '../../runtime/tokenizer.ts';
import { readJson } from '../bundle/checkpoint.ts';
import { UserError } from '../ir/errors.ts';
import type { Golden, GoldenCase } from './golden.ts';
import type { PaddedPatches } from './native-pictures.ts';
import { nativeCase } from './native-pictures.ts';
import { preprocessorOf, rawOf, tiledPictures } from './tiled-pictures.ts';

export interface CasePrompt {
  readonly items: readonly PromptItem[];
  /** What this side made of the case's text and pictures, by golden tensor name without the case. */
  readonly made: ReadonlyMap<string, ArrayLike<number>>;
  /** Of pictures in their own shape, which the reference padded: whose patches are whose. */
  readonly patches?: PaddedPatches;
}

/** Tokenises the text and prepares the pictures. The model itself is then given the reference's own pixels (or embeddings). */
export async function casePrompt(golden: Golden, c: GoldenCase, folder: string, manifest: Pick<Manifest, 'model' | 'media'>): Promise<CasePrompt> {
  const tokenizer = new Tokenizer(readJson(join(folder, 'tokenizer.json')), readJson(join(folder, 'tokenizer_config.json')));
  const made = new Map<string, ArrayLike<number>>(), images: ImageInput[] = [];
  const pixels = `${c.name}.pixel_values`, embeddings = `${c.name}.visual_embeds`;
  let patches: PaddedPatches | undefined;
  if (golden.has(pixels) && manifest.media?.tiling?.rule === 'native_resolution') {
    const native = await nativeCase(golden, c, manifest.media, manifest.media.tiling, preprocessorOf(folder), await Promise.all(c.images.map((k, i) => rawOf(golden, k, c.image_files[i]))));
    images.push(...native.images);
    made.set('pixel_values', native.own).set('pixel_attention_mask', native.mask);
    patches = native.patches;
  } else if (golden.has(pixels) && manifest.media?.tiling) {
    const tiled = await tiledPictures(golden, c, folder, manifest.media);
    images.push(...tiled.images);
    made.set('pixel_values', tiled.own);
  } else if (golden.has(pixels)) {
    const data = await golden.floats(pixels), size = data.length / golden.shape(pixels)[0]!, rows = manifest.media?.rowsPerImage;
    if (manifest.media?.input.source !== 'pixels' || rows === undefined || manifest.media.input.shape.reduce((a, b) => a * b, 1) !== size)
      throw new UserError(`The pictures of case '${c.name}' of ${golden.file} are [${golden.shape(pixels).slice(1).join(', ')}] each, and ${manifest.model.name} reads ${manifest.media ? `[${manifest.media.input.shape.join(', ')}]` : 'no pictures'}. The golden file belongs to another model.`);
    for (let i = 0; i * size < data.length; i++) images.push({ key: `${c.name} ${i}`, data: data.slice(i * size, (i + 1) * size), rows });
    const own = await preparePictures(golden, c, folder);
    if (own) made.set('pixel_values', own);
  } else if (golden.has(embeddings)) {
    const data = await golden.floats(embeddings), width = golden.shape(embeddings)[1]!;
    if (manifest.media?.input.source !== 'values' || manifest.media.input.shape.reduce((a, b) => a * b, 1) !== width)
      throw new UserError(`The visual embeddings of case '${c.name}' of ${golden.file} are ${width} wide, and ${manifest.model.name} ${manifest.media?.input.source === 'values' ? `reads rows of ${manifest.media.input.shape.join(', ')}` : 'does not take embeddings'}. The golden file belongs to another model.`);
    let at = 0;
    for (const [i, rows] of c.pseudo_visual_lengths.entries()) images.push({ key: `${c.name} ${i}`, data: data.slice(at * width, (at += rows) * width), rows });
  }
  const id = golden.description.image_token_id, text = id === undefined ? undefined : tokenizer.tokenOf(id);
  if (images.length && (id === undefined || text === undefined)) throw new UserError(`${golden.file} names the image token ${id ?? '(none)'}, which is no token of ${join(folder, 'tokenizer.json')}. The golden file belongs to another model.`);
  const media = manifest.media && { ...manifest.media, ...(text === undefined ? {} : { imageToken: { text, id: id! } }) };
  const items = promptItems({ ...manifest, media } as Manifest, tokenizer, c.prompt, images, true);
  const rows: PromptItem[] = [];
  for (const item of items) for (let n = isImage(item) ? item.rows : 1; n > 0; n--) rows.push(item);
  const number = new Map(items.filter(isImage).map((image, i) => [image, i]));
  made.set('input_ids', rows.map((r) => (isImage(r) ? id! : r)));
  made.set('segment_ids', rows.map((r) => (isImage(r) ? number.get(r)! : -1)));
  made.set('position_ids', rows.map((_, i) => i));
  if (rows.length !== c.num_positions) throw new UserError(`The prompt of case '${c.name}' has ${rows.length} positions here, and ${c.num_positions} in ${golden.file}: the tokenizer reads it otherwise. Either the golden file belongs to another checkpoint, or the tokenizer's files were changed.`);
  return { items, made, ...(patches && { patches }) };
}

/** The case's picture files, decoded, resized and normalised; undefined where the golden file has no pictures. */
async function preparePictures(golden: Golden, c: GoldenCase, folder: string): Promise<Float32Array | undefined> {
  if (!c.image_files.length) return undefined;
  const preprocessor = preprocessorOf(folder);
  const all: number[] = [];
  for (const file of c.image_files) all.push(...preprocess(await decodeImage(golden.path(file)), preprocessor, file).data);
  return Float32Array.from(all);
}
