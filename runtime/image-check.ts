/** Whether an image is what a bundle reads: what a caller got wrong is said before anything is uploaded. */
import type { ImageInput } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { Manifest, Tiling } from './manifest.ts';
import { sourcesPerRow } from './tiling/visual-rows.ts';

/** @throws RuntimeError `value` for an image of another shape, `limit` for one of more tiles than the bundle has room for. */
export function checkImage({ media, model }: Pick<Manifest, 'media' | 'model'>, image: ImageInput): void {
  if (!media) throw new RuntimeError('value', `'${model.name}' reads text only, and the prompt holds an image.`);
  if (image.memory) return; // its rows are checked where they are written
  const { input, rowsPerImage, tiling } = media, size = input.shape.reduce((a, b) => a * b, 1), tiles = image.tiles ?? 1;
  if (tiling?.rule === 'any_resolution') return checkTiles(tiling, image, tiles, size);
  if (tiling?.rule === 'native_resolution') return checkPatches(tiling, image, size, rowsPerImage ?? image.rows);
  const rows = rowsPerImage ?? image.rows, want = input.source === 'pixels' ? size : rows * size;
  if (image.rows !== rows || image.rows < 1 || image.data.length !== want || tiles !== 1)
    throw new RuntimeError('value', `An image of ${image.rows} rows has ${image.data.length} values; this model reads ${rows} rows from ${want} values. Preprocess it with the bundle's own preprocessor_config.json.`);
}

function checkTiles(rule: Extract<Tiling, { rule: 'any_resolution' }>, { data, rows, sources }: ImageInput, tiles: number, size: number): void {
  if (tiles > rule.most) throw tooManyTiles(tiles, rule.most);
  const per = sourcesPerRow(rule), have = tiles * rule.patches_per_side ** 2, map = sources?.sources, weights = sources?.weights;
  const whole = tiles >= 1 && rows >= 1 && data.length === tiles * size && map?.length === rows * per && (weights?.length ?? 0) === (per > 1 ? rows * per : 0);
  if (!whole) throw new RuntimeError('value', `An image of ${tiles} tiles and ${rows} rows has ${data.length} values and ${map?.length ?? 0} sources of rows; this model reads ${tiles * size} values and ${per} a row. Prepare pictures with Model.image.`);
  const stray = map.find((i) => i < -1 || i >= have);
  if (stray !== undefined) throw new RuntimeError('value', `An image takes a row from source ${stray}, but its ${tiles} tiles have rows 0 to ${have - 1}. Prepare pictures with Model.image.`);
}

function checkPatches(rule: Extract<Tiling, { rule: 'native_resolution' }>, { data, rows, positions, tiles = 1 }: ImageInput, width: number, want: number): void {
  const patches = positions?.length ?? 0, entries = rule.patches_per_side ** 2;
  if (patches > rule.most) throw tooManyPatches(patches, rule.most);
  if (!patches || rows !== want || tiles !== 1 || data.length !== patches * width || positions!.some((i) => !(i >= 0 && i < entries)))
    throw new RuntimeError('value', `An image of ${rows} rows has ${data.length} values and ${patches} places of patches; this model reads ${want} rows from ${width} values a patch, in places 0 to ${entries - 1}. Prepare pictures with Model.image.`);
}

/** The error of a picture of too many patches. */
export const tooManyPatches = (patches: number, most: number, label = 'An image'): RuntimeError =>
  new RuntimeError('limit', `${label} has ${patches} patches, and this bundle has room for ${most} of one picture. Shrink it first.`);

/** The error of a picture that is cut into too many tiles. */
export const tooManyTiles = (tiles: number, most: number, label = 'An image'): RuntimeError =>
  new RuntimeError('limit', `${label} is cut into ${tiles} tiles, but this bundle was compiled for at most ${most}. Shrink the picture, or compile with --max-tiles ${tiles} or more.`);
