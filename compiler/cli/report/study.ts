/** From a model and what the command line says of its prompt to everything that a report tells of it. */
import type { DeviceProfile, MathType } from '../../cost/device-profiles.ts';
import type { Convention } from '../../cost/conventions.ts';
import type { PictureSize } from '../../dsl/image-layout.ts';
import { rowsPerPicture } from '../../dsl/image-layout.ts';
import type { Model } from '../../dsl/index.ts';
import { trace } from '../../frontend/trace.ts';
import { UserError } from '../../ir/errors.ts';
import type { Graph } from '../../ir/graph.ts';
import { plural } from '../../report/format.ts';
import type { PromptSizes, Study } from '../../report/study.ts';
import { studyVariant } from '../../report/study.ts';
import type { PromptFlags } from '../image-size.ts';
import { promptSizes } from '../image-size.ts';
import type { ModelSource } from '../model.ts';
import { atResolution, resolutionOf } from '../resolution.ts';
import { sweep } from '../sweep/points.ts';
import type { SizeAxis } from './axis.ts';
import { sizeAxis } from './axis.ts';

export interface StudyOptions {
  /** What the report calls the model. */
  readonly title: string;
  /** The first is the baseline. */
  readonly variants: readonly string[];
  readonly prompt: PromptFlags;
  /** Sizes to compare, as on the command line. */
  readonly sizes?: string;
  readonly generate: number;
  readonly convention: Convention;
  readonly device: { readonly profile: DeviceProfile; readonly math: MathType };
  readonly command: string;
  readonly onProgress?: (done: number, total: number) => void;
}

interface Traced { readonly name: string; readonly model: Model; readonly graph: Graph }

export function makeStudy(source: ModelSource, { title, variants, prompt, sizes: list, generate, convention, device, command, onProgress }: StudyOptions): Study {
  const traced = (of: ModelSource, name: string): Traced => { const model = of.create(name); return { name, model, graph: trace(model, { name: source.name }).graph }; };
  const first = traced(source, variants[0]!), axis = sizeAxis(source, first, { ...(list !== undefined && { sizes: list }), ...(prompt.visual !== undefined && { visual: prompt.visual }) });
  const inDetail = axis.name === 'resolution' && !prompt.image ? atResolution(source, axis.asked[0]!) : source;
  const models = variants.map((name, i) => (i === 0 && inDetail === source ? first : traced(inDetail, name)));
  const { sizes, pictures } = promptInDetail(source, models[0]!, axis, prompt);
  if (sizes.visual + sizes.text === 0) throw new UserError('A prompt of no visual and no text tokens costs nothing; give --visual or --text.');
  const total = variants.length * (1 + axis.values.length);
  const studies = models.map(({ name, graph }, i) => { const study = studyVariant(name, graph, convention, sizes); onProgress?.(i + 1, total); return study; });
  const points = sweep({
    source, variants, convention, over: [{ name: axis.name, values: axis.values.map(String) }], onProgress: (done) => onProgress?.(variants.length + done, total),
    fixed: { text: prompt.text, ...(axis.name === 'pictures' ? { image: pictures?.[0] ?? square(resolutionOf(source)!) } : axis.name === 'visual' ? prompt.images !== undefined && { pictures: prompt.images } : { pictures: pictures?.length ?? 1 }) },
  });
  return {
    model: title, sizes, sizesText: sizesText(sizes, pictures, hasText(models[0]!.graph)), convention, generate, device, command, variants: studies,
    answers: hasText(models[0]!.graph),
    bySize: { axis: axis.says, unit: axis.unit, label: axis.unit === 'px' ? `${axis.says}, px` : axis.says, points: points.map((p, i) => ({ ...p, x: axis.values[i]!, asked: axis.asked.includes(axis.values[i]!), costs: p.variants.map((v) => v.cost) })) },
  };
}

const hasText = (g: Graph): boolean => [...g.sequences.values()].some((s) => s.kinds.some((k) => !k.media));
const square = (side: number): PictureSize => ({ width: side, height: side });

/** The prompt that is drawn in detail: what was asked for, else the first size of the axis. Pictures are told where their size is known. */
function promptInDetail(source: ModelSource, { model, graph }: Traced, axis: SizeAxis, prompt: PromptFlags): { sizes: PromptSizes; pictures?: readonly PictureSize[] } {
  const { image, text } = prompt, [side] = axis.asked as [number], images = prompt.images ?? 1;
  if (image) return { sizes: promptSizes({ model, graph }, prompt, 0), pictures: image };
  const squares = (n: number, s: number): PictureSize[] => Array.from({ length: n }, () => square(s));
  const tiled = axis.name === 'image' ? squares(images, side) : axis.name === 'pictures' ? squares(prompt.images ?? side, resolutionOf(source)!) : undefined;
  if (tiled) return { sizes: promptSizes({ model, graph }, { image: tiled, text }, 0), pictures: tiled };
  if (axis.name === 'resolution') return { sizes: promptSizes({ model, graph }, { visual: images * rowsPerPicture(graph)!, images, text }, 0), pictures: squares(images, side) };
  return { sizes: promptSizes({ model, graph }, { ...prompt, visual: prompt.visual ?? side }, 0) };
}

/** `576 visual tokens (a picture of 336×336 px) and 64 text tokens`. */
function sizesText({ visual, text, images, tiles }: PromptSizes, pictures: readonly PictureSize[] | undefined, withText: boolean): string {
  const sizes = [...new Set(pictures?.map((p) => `${p.width}×${p.height} px`))].join(' and ');
  const said = pictures ? ` (${pictures.length > 1 ? plural(pictures.length, 'picture') : 'a picture'} of ${sizes}${tiles > pictures.length ? `, ${plural(tiles, 'tile')}` : ''})` : images > 1 ? ` in ${plural(images, 'image')}` : '';
  return `${plural(visual, 'visual token')}${said}${withText ? ` and ${plural(text, 'text token')}` : ''}`;
}
