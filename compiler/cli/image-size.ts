/** `--image WxH`: pictures by their size in pixels, and what the prompt gets of them by the model's own rules. */
import type { ImageLayout, PictureSize } from '../dsl/image-layout.ts';
import { imageLayout } from '../dsl/image-layout.ts';
import type { Model } from '../dsl/model.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph } from '../ir/graph.ts';

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

/** Lays out the pictures of one prompt. Throws a UserError for a model that reads none. */
export const promptImages = (model: Model, graph: Graph, sizes: readonly PictureSize[]): PromptImages =>
  sizes.map((size) => imageLayout(model, graph, size, sizes.length)).reduce<PromptImages>(
    (sum, one) => ({ images: sum.images + (one.images ?? 1), tiles: sum.tiles + one.tiles, visual: sum.visual + one.visual, text: sum.text + one.text }),
    { images: 0, tiles: 0, visual: 0, text: 0 });

/** How a command says what its prompt holds: so many visual tokens, or pictures of these sizes. */
export interface PromptFlags { readonly visual?: number; readonly images?: number; readonly image?: readonly PictureSize[]; readonly text: number }

/**
 * The rows of a prompt: of pictures if their sizes are given (and the text that the processor writes around them besides the
 * prompt's own), else `visual` rows in `images` images. Throws a UserError where both are given, or where the model has
 * rows that no flag counts.
 */
export function promptSizes({ model, graph }: { readonly model: Model; readonly graph: Graph }, { visual, images, image, text }: PromptFlags, usualVisual: number): PromptImages {
  checkKinds(graph);
  const pictures = images ?? (visual === 0 ? 0 : 1);
  if (!image) return { visual: visual ?? usualVisual, text, images: pictures, tiles: pictures };
  const both = visual !== undefined ? '--visual' : images !== undefined ? '--images' : undefined;
  if (both) throw new UserError(`--image and ${both} both say how many visual tokens there are. Give the sizes of the pictures, or their number of tokens.`);
  const laid = promptImages(model, graph, image);
  return { ...laid, text: text + laid.text };
}

/** The flags count visual and text rows alone. */
function checkKinds(graph: Graph): void {
  for (const { name, kinds } of graph.sequences.values()) for (const { name: kind, count } of kinds) {
    const dim = count.variables.find((v) => v !== 'V' && v !== 'T');
    if (dim !== undefined) throw new UserError(`The sequence '${name}' has rows of the kind '${kind}', '${dim}' of them, and the command line gives the numbers of visual and text rows alone. Count such a model with costFormula of eemllm/compiler, whose sizes name every dim.`);
  }
}
