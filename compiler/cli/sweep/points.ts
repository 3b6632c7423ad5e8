/**
 * The cost of a model's variants at every combination of what is swept. A variant's graph is traced and its polynomials are
 * made once; sizes only put numbers in. What changes the graph itself (layers, options, the tower's resolution) has
 * its own polynomials, each made once too.
 */
import type { Convention } from '../../cost/conventions.ts';
import { conventions } from '../../cost/conventions.ts';
import type { Cost, CostFormula } from '../../cost/formula.ts';
import type { ProgramCost } from '../../cost/program-cost.ts';
import { rooflineTime } from '../../cost/roofline.ts';
import { compiled } from '../../cost/storage.ts';
import type { PictureSize } from '../../dsl/image-layout.ts';
import { rowsPerPicture } from '../../dsl/image-layout.ts';
import type { Model } from '../../dsl/index.ts';
import { trace } from '../../frontend/trace.ts';
import { UserError } from '../../ir/errors.ts';
import type { Graph } from '../../ir/graph.ts';
import { modelCosts } from '../../../passes/cost-program.ts';
import { costFormula } from '../../../passes/flops.ts';
import type { ChosenDevice } from '../device.ts';
import { pictureSize, promptSizes } from '../image-size.ts';
import type { ModelSource } from '../model.ts';
import { atResolution } from '../resolution.ts';
import { withOption } from './options.ts';
import type { SizeName, Swept } from './over.ts';
import { isSizeName } from './over.ts';

export interface SweepOptions {
  readonly source: ModelSource;
  /** Variants by name; the first is the baseline. */
  readonly variants: readonly string[];
  readonly convention: Convention;
  /** The last one changes fastest. */
  readonly over: readonly Swept[];
  /** Sizes that are not swept. */
  readonly fixed: { readonly visual?: number; readonly image?: PictureSize; readonly text: number; /** Pictures of the prompt, one by default. */ readonly pictures?: number };
  /** Adds the time at best on a device. */
  readonly device?: ChosenDevice;
  readonly onProgress?: (done: number, total: number) => void;
}

/** What the prompt and its pictures come to; `images` as masks count them. */
export interface PointSizes { readonly visual: number; readonly text: number; readonly images: number; readonly tiles: number; /** Dims that count rows of towers, where pictures do. */ readonly tower?: Readonly<Record<string, number>> }
export interface Point extends PointSizes {
  /** The swept values, by name, as they were given. */
  readonly at: Readonly<Record<string, string>>;
  readonly variants: readonly { readonly name: string; readonly cost: Cost<bigint>; /** Of vision and prefill on the device, if one is asked for. */ readonly seconds?: number }[];
}

interface Built { readonly model: Model; readonly graph: Graph; readonly formula: CostFormula; readonly kernels?: ProgramCost }

/** The most costs that one sweep evaluates: sizes times variants. */
const mostCosts = 1_000_000;

export function sweep({ source, variants, convention, over, fixed, device, onProgress }: SweepOptions): Point[] {
  checkNames(over, fixed);
  const points = over.reduce<Record<string, string>[]>((all, { name, values }) => all.flatMap((p) => values.map((v) => ({ ...p, [name]: v }))), [{}]);
  const total = points.length * variants.length;
  if (total > mostCosts) throw new UserError(`This sweep asks for ${points.length.toLocaleString('en')} sizes of ${variants.length} variants; at most ${mostCosts.toLocaleString('en')} costs are evaluated. Take larger steps.`);
  const known = new Map<string, Built>();
  const built = (variant: string, resolution: string | undefined): Built => {
    const key = `${resolution ?? ''} ${variant}`, old = known.get(key);
    if (old) return old;
    const model = (resolution === undefined ? source : atResolution(source, Number(resolution))).create(variant), { graph } = trace(model, { name: source.name });
    const made = { model, graph, formula: costFormula(graph, convention), ...(device && { kernels: modelCosts(graph, conventions['exact']!, { memory: { storage: compiled.f16 } }).kernels }) };
    known.set(key, made);
    return made;
  };
  let done = 0;
  return points.map((at) => {
    const options = Object.entries(at).filter(([name]) => !isSizeName(name));
    // The baseline stays as it is, unless there is nothing else.
    const exact = variants.map((v, i) => (i === 0 && variants.length > 1 ? v : options.reduce((text, [name, value]) => withOption(text, name, value), v)));
    const sizes = sizesAt(built(exact[0]!, at['resolution']), at, fixed);
    if (sizes.visual + sizes.text === 0) throw new UserError('A prompt of no visual and no text tokens costs nothing; sweep sizes from 1 on, or give --visual or --text.');
    return {
      at, ...sizes,
      variants: exact.map((text, i) => {
        const { formula, kernels } = built(text, at['resolution']), where = { dims: { V: sizes.visual, T: sizes.text, ...sizes.tower }, images: sizes.images, tiles: sizes.tiles };
        const cost = formula.at(where), seconds = device && kernels ? { seconds: rooflineTime(kernels, device.profile, where, { math: device.math }).seconds } : {};
        onProgress?.(++done, total);
        return { name: variants[i]!, cost, ...seconds };
      }),
    };
  });
}

/** Each name once, and the number of visual tokens said in one way alone. */
function checkNames(over: readonly Swept[], fixed: SweepOptions['fixed']): void {
  const names = over.map((o) => o.name), twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice !== undefined) throw new UserError(`--over ${twice}=… is given twice. Write all its values in one list: --over ${twice}=1..8,16.`);
  const ways = [...names.filter((n) => (['visual', 'image', 'resolution'] as string[]).includes(n)).map((n) => `--over ${n}`), ...(fixed.visual === undefined ? [] : ['--visual']), ...(fixed.image ? ['--image'] : [])];
  if (ways.length > 1) throw new UserError(`${ways.join(' and ')} all say how many visual tokens there are. Give one of them.`);
}

function sizesAt({ model, graph }: Built, at: Readonly<Record<string, string>>, fixed: SweepOptions['fixed']): PointSizes {
  const given = (name: SizeName): number | undefined => (at[name] === undefined ? undefined : Number(at[name]));
  const pictures = given('pictures') ?? fixed.pictures, text = given('text') ?? fixed.text, visual = given('visual') ?? fixed.visual;
  const image = at['image'] === undefined ? fixed.image : pictureSize(at['image'], '--over image');
  if (image) return promptSizes({ model, graph }, { image: new Array<PictureSize>(pictures ?? 1).fill(image), text }, 0);
  return promptSizes({ model, graph }, { text, ...(visual !== undefined && { visual }), ...(pictures !== undefined && { images: pictures }) }, (pictures ?? 1) * (rowsPerPicture(graph) ?? 576));
}
