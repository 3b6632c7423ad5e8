/** `--image WxH`: pictures by their size in pixels, and what the prompt gets of them by the model's own rules. */
import type { ImageLayout, PictureSize } from '../dsl/image-layout.ts';
import { imageLayout } from '../dsl/image-layout.ts';
import type { Model, ModelClass } from '../dsl/model.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph } from '../ir/graph.ts';
import { hasText } from '../ir/layout.ts';

/** The longest side of a picture that is believed, in pixels. */
const longest = 100_000;

/** Reads `980x672`, width first; `980` is a square. Throws a UserError for what is no size of a picture. */
export function pictureSize(text: string, flag = '--image'): PictureSize {
  const wrong = (why: string): UserError => new UserError(`${flag} '${text}' ${why}. A picture's size is its width and height in whole pixels, 1 to ${longest.toLocaleString('en')} each, as in ${flag} 980x672.`);
  const sides = text.trim().split(/\s*[x×]\s*/i);
  if (sides.length > 2 || !sides.every((side) => /^[-+]?\d+(\.\d+)?$/.test(side))) throw wrong('is no size of a picture');
  const [width, height = width] = sides.map((side, i) => {
    const name = i ? 'height' : 'width', n = Number(side);
    if (!Number.isInteger(n)) throw wrong(`has a ${name} that is no whole number`);
    if (n < 0) throw wrong(`has a negative ${name}`);
    if (n === 0) throw wrong(`has no ${name}`);
    if (n > longest) throw wrong(`has a ${name} that no picture has`);
    return n;
  }) as [number, number?];
  return { width, height: height! };
}

/** For an option that may be given several times. */
export const pictureSizes = (text: string, before: readonly PictureSize[] = []): PictureSize[] => [...before, pictureSize(text)];

/** What pictures come to in one prompt: the sum of their layouts, and how many images they are to the masks. */
export interface PromptImages extends ImageLayout { readonly images: number }
/** The same, with the dims that count rows of towers (`towerDims`), where pictures do. */
export interface PromptRows extends PromptImages { readonly tower?: Readonly<Record<string, number>> }

/** Lays out the pictures of one prompt. Throws a UserError for a model that reads none. */
export const promptImages = (model: Model, graph: Graph, sizes: readonly PictureSize[]): PromptImages =>
  sizes.map((size) => imageLayout(model, graph, size, sizes.length)).reduce<PromptImages>(
    (sum, one) => ({ images: sum.images + (one.images ?? 1), tiles: sum.tiles + one.tiles, visual: sum.visual + one.visual, text: sum.text + one.text, ...((sum.towerRows ?? one.towerRows) && { towerRows: [...(sum.towerRows ?? []), ...(one.towerRows ?? [])] }) }),
    { images: 0, tiles: 0, visual: 0, text: 0 });

/**
 * The dims that count the rows of a tower picture by picture: the most rows, and the sums over all pictures of the powers that work
 * grows by (attention by the second).
 */
function towerDims(graph: Graph, rows: readonly number[]): Record<string, number> {
  const dims = [...new Set([...graph.sequences.values()].filter((s) => !hasText(s)).flatMap((s) => s.kinds.flatMap((k) => k.count.variables)))];
  const sum = (power: number): number => rows.reduce((n, r) => n + r ** power, 0);
  return Object.fromEntries(dims.flatMap((dim) => [[dim, Math.max(0, ...rows)], [`${dim}*tiles`, sum(1)], [`${dim}^2*tiles`, sum(2)]]));
}

/** How a command says what its prompt holds: so many visual tokens, or pictures of these sizes. */
export interface PromptFlags { readonly visual?: number; readonly images?: number; readonly image?: readonly PictureSize[]; readonly text: number }

/**
 * The rows of a prompt: of pictures if their sizes are given (and the text that the processor writes around them besides the
 * prompt's own), else `visual` rows in `images` images. Throws a UserError where both are given, or where the model has
 * rows that no flag counts.
 */
export function promptSizes({ model, graph }: { readonly model: Model; readonly graph: Graph }, { visual, images, image, text }: PromptFlags, usualVisual: number): PromptRows {
  const native = nativeRule(model), pictures = images ?? (visual === 0 ? 0 : 1);
  checkKinds(graph, native !== undefined);
  // A picture whose size nobody says has as many patches as the tower has places for.
  if (!image) return { visual: visual ?? usualVisual, text, images: pictures, tiles: pictures, ...(native && { tower: towerDims(graph, Array.from({ length: pictures }, () => native.patches_per_side ** 2)) }) };
  const both = visual !== undefined ? '--visual' : images !== undefined ? '--images' : undefined;
  if (both) throw new UserError(`--image and ${both} both say how many visual tokens there are. Give the sizes of the pictures, or their number of tokens.`);
  const laid = promptImages(model, graph, image);
  return { ...laid, text: text + laid.text, ...(laid.towerRows && { tower: towerDims(graph, laid.towerRows) }) };
}

/** The rule of a model that takes pictures in their own shape. */
function nativeRule(model: Model) {
  const rule = (model.constructor as ModelClass).tiling?.(model.cfg as never);
  return rule?.rule === 'native_resolution' ? rule : undefined;
}

/** The flags count visual and text rows alone; `towers`: the sizes of pictures say how many rows a tower has. */
function checkKinds(graph: Graph, towers: boolean): void {
  for (const s of graph.sequences.values()) for (const { name: kind, count } of towers && !hasText(s) ? [] : s.kinds) {
    const { name } = s;
    const dim = count.variables.find((v) => v !== 'V' && v !== 'T');
    if (dim !== undefined) throw new UserError(`The sequence '${name}' has rows of the kind '${kind}', '${dim}' of them, and the command line gives the numbers of visual and text rows alone. Count such a model with costFormula of eemllm/compiler, whose sizes name every dim.`);
  }
}
