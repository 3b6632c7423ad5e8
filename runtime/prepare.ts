/** From a decoded picture to what stands for it in prompts of a bundle. */
import { sha256 } from './bundle.ts';
import type { ImageInput } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { RawImage } from './image.ts';
import { normaliseAll, preprocess, toPixels } from './image.ts';
import { tooManyPatches, tooManyTiles } from './image-check.ts';
import type { Manifest, Tiling } from './manifest.ts';
import { nativePictures, patchRows } from './native-pictures.ts';
import type { Preprocessor } from './preprocessor-config.ts';
import type { Pixels } from './resize.ts';
import { anyResolutionTiles, gridTiles, squareOverview } from './tiles.ts';
import type { TiledPicture } from './tiling/any-resolution.ts';
import { tilePicture, tilesOf, uncut } from './tiling/any-resolution.ts';
import { markedPictures, patchPositions } from './tiling/native-resolution.ts';
import { gridPicture, markedTiles } from './tiling/tile-grid.ts';
import { sourcesPerRow, visualRows } from './tiling/visual-rows.ts';

type Media = NonNullable<Manifest['media']>;
type Rule<Name extends Tiling['rule']> = Extract<Tiling, { rule: Name }>;

/**
 * That pictures are made ready as the bundle's model is compiled to read them.
 * @throws RuntimeError `bundle` where `preprocessor_config.json` speaks of another way to cut pictures, or of tiles of another size
 */
export function checkPreprocessor({ cut, size, crop }: Preprocessor, { tiling }: Pick<Media, 'tiling'>, label: string): void {
  const bad = (what: string): RuntimeError => new RuntimeError('bundle', `${label}: preprocessor_config.json ${what}. It belongs to another checkpoint: fetch it again, and compile anew.`);
  const ways = { any_resolution: 'an overview and tiles of one of several sizes', tile_grid: 'a grid of tiles', native_resolution: 'patches of its own shape', none: 'no tiles' };
  if (cut !== tiling?.rule) throw bad(`cuts pictures into ${ways[cut ?? 'none']}, and the model reads ${ways[tiling?.rule ?? 'none']}`);
  if (tiling?.rule !== 'any_resolution') return;
  const side = size && ('shortestEdge' in size ? size.shortestEdge : size.width === size.height ? size.width : undefined), want = tiling.tile_size;
  if (side !== want || (crop && (crop.width !== want || crop.height !== want))) throw bad(`makes tiles of ${side ?? 'no one size'}${crop ? ` (cut to ${crop.width} × ${crop.height})` : ''} px, and the model reads tiles of ${want} px`);
}

/**
 * Makes a picture ready, once; the same picture in later prompts costs nothing.
 * @throws RuntimeError `image` for a picture that cannot be used, `limit` for one of more tiles than the bundle has room for
 */
export async function prepareImage(raw: RawImage, preprocessor: Preprocessor, media: Media, label?: string): Promise<ImageInput> {
  const { tiling, rowsPerImage } = media;
  if (tiling?.rule === 'any_resolution') return tiledImage(toPixels(raw, preprocessor, label), preprocessor, tiling, label);
  if (tiling?.rule === 'native_resolution') return nativeImage(toPixels(raw, preprocessor, label), preprocessor, tiling, media, label);
  if (rowsPerImage === undefined) throw new RuntimeError('bundle', 'The bundle does not say how many rows a picture takes, so none can be prepared. Compile it anew.');
  if (tiling) return markedImage(toPixels(raw, preprocessor, label), preprocessor, tiling, rowsPerImage);
  const { data } = preprocess(raw, preprocessor, label);
  return { key: await keyOf(data), data, rows: rowsPerImage };
}

const keyOf = (data: Float32Array): Promise<string> => sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));

/** One image whose rows are gathered from those of its tiles. */
async function tiledImage(image: Pixels, preprocessor: Preprocessor, rule: Rule<'any_resolution'>, label?: string): Promise<ImageInput> {
  const picture = tilePicture(rule, image), tiles = tilesOf(picture);
  if (tiles > rule.most) throw tooManyTiles(tiles, rule.most, label);
  const data = normaliseAll(anyResolutionTiles(image, rule, preprocessor.resample), preprocessor);
  // Which rows are padding depends on the picture's own size.
  const key = `${await keyOf(data)} of ${image.width} x ${image.height}`, cut = gathered(key, data, rule, picture);
  if (!rule.alone) return cut;
  let whole: ImageInput | undefined;
  return { ...cut, inPrompt: (images) => [images === 1 ? cut : (whole ??= gathered(`${key}, whole`, normaliseAll([squareOverview(image, rule.tile_size, preprocessor.resample, preprocessor.mean)], preprocessor), rule, uncut))] };
}

function gathered(key: string, data: Float32Array, rule: Rule<'any_resolution'>, picture: TiledPicture): ImageInput {
  const sources = visualRows(rule, picture);
  return { key, data, rows: sources.sources.length / sourcesPerRow(rule), tiles: tilesOf(picture), sources };
}

/** Tiles that are images of their own, with marks in the text before them. */
async function markedImage(image: Pixels, preprocessor: Preprocessor, rule: Rule<'tile_grid'>, rows: number): Promise<ImageInput> {
  const pictures = gridTiles(image, rule, preprocessor.resample), data = normaliseAll(pictures, preprocessor), key = await keyOf(data), size = data.length / pictures.length;
  const tiles = pictures.map((_, i): ImageInput => ({ key: `${key}, tile ${i}`, data: data.subarray(i * size, (i + 1) * size), rows }));
  const pieces = markedTiles(gridPicture(rule, image), rule).map((piece) => (typeof piece === 'string' ? piece : tiles[piece]!));
  return { key, data, rows: rows * tiles.length, tiles: tiles.length, inPrompt: () => pieces };
}

/** Pictures of as many patches as they have, each an image of its own between marks. */
async function nativeImage(image: Pixels, preprocessor: Preprocessor, rule: Rule<'native_resolution'>, { rowsPerImage: rows = 0, input }: Media, label?: string): Promise<ImageInput> {
  const channels = input.shape[0]! / rule.patch_size ** 2;
  const pictures = await Promise.all(nativePictures(image, rule, preprocessor).map(async (picture): Promise<ImageInput> => {
    const positions = patchPositions(rule, picture), data = patchRows(picture.data, channels, picture, rule);
    if (positions.length > rule.most) throw tooManyPatches(positions.length, rule.most, label);
    if (!positions.length) throw new RuntimeError('image', `${label ?? 'The image'} is ${picture.width} × ${picture.height} once it is resized, which holds no patch of ${rule.patch_size} px. Choose a larger picture.`);
    return { key: `${await keyOf(data)} of ${picture.width} x ${picture.height}`, data, rows, positions };
  }));
  const pieces = markedPictures(pictures.length, rule).map((piece) => (typeof piece === 'string' ? piece : pictures[piece]!)), [whole] = pictures.slice(-1);
  return { ...whole!, key: pictures.map((p) => p.key).join(', '), rows: rows * pictures.length, tiles: pictures.length, inPrompt: () => pieces };
}
