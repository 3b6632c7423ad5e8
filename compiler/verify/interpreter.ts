/** Verification on the reference interpreter: the very graphs that are lowered to kernels, staged and fused. */
import type { ImageInput } from '../../runtime/context.ts';
import type { EntryName } from '../../runtime/manifest.ts';
import { GraphBuilder } from '../ir/builder.ts';
import type { Graph } from '../ir/graph.ts';
import { hasText } from '../ir/layout.ts';
import type { Layout, Segment } from '../ir/layout.ts';
import type { Sequence } from '../ir/rows.ts';
import { rowElements } from '../ir/types.ts';
import { Session } from '../ir/session.ts';
import type { StepResult } from '../ir/step.ts';
import type { Engine, Outputs, Prompt, StateRows } from './engine.ts';
import { idsOf, imagesOf, join, segmentsOf } from './engine.ts';

export class InterpreterEngine implements Engine {
  private session: Session;
  private readonly main: Sequence;
  private readonly text: string;
  private readonly media: string;

  constructor(private readonly entries: Readonly<Partial<Record<EntryName, Graph>>>, private readonly weights: ReadonlyMap<string, Float32Array>) {
    this.session = new Session(weights);
    this.main = [...this.entry('prefill').sequences.values()].find(hasText)!;
    this.text = this.main.kinds.find((k) => !k.media)!.name;
    this.media = this.main.kinds.find((k) => k.media)?.name ?? '';
  }

  async prefill(prompt: Prompt): Promise<Outputs> {
    this.session = new Session(this.weights);
    const images = imagesOf(prompt), seen: StepResult[] = [], { tile, vision } = this.entries, prefill = this.entry('prefill');
    if (vision) images.forEach((image, i) => {
      for (let t = 0, n = image.tiles ?? 1, size = image.data.length / n; tile && t < n; t++)
        seen.push(this.session.image(tile, { layout: this.tileLayout(tile, [tileNumber(i, t)]), inputs: this.inputs(tile, [], [{ ...image, data: image.data.subarray(t * size, (t + 1) * size) }]) }));
      seen.push(this.session.image(vision, { layout: this.imageLayout(vision, i, image), inputs: this.inputs(vision, [], [image]) }));
    });
    const read = this.session.extend(prefill, {
      layout: { [this.main.name]: segmentsOf(prompt, this.text, this.media) }, inputs: this.inputs(prefill, idsOf(prompt), images),
    });
    const names = new Set(seen.flatMap((r) => [...r.outputs.keys()]));
    return new Map([...[...names].map((name) => [name, join(seen.flatMap((r) => (r.outputs.get(name)?.data as Float32Array | undefined) ?? []))] as const), ...outputsOf(read)]);
  }

  async decode(token: number): Promise<Outputs> {
    const decode = this.entry('decode');
    return new Map(outputsOf(this.session.extend(decode, { layout: { [this.main.name]: [{ kind: this.text, length: 1 }] }, inputs: this.inputs(decode, [token], []) })));
  }

  async state(name: string): Promise<StateRows> {
    const graph = this.entry('prefill'), leaf = graph.states.get(name), peek = GraphBuilder.like({ ...graph, name: 'states' });
    if (!leaf) return new Map();
    peek.output(name, peek.leaf(peek.states, leaf));
    const result = this.session.extend(peek.finish(), { layout: {} }), { data, type } = result.outputs.get(name)!;
    const rows = result.tokens(type.rows!), width = rowElements(type);
    return new Map(type.rows!.kinds.map((kind) => {
      const first = rows.findIndex((t) => t.kind === kind), count = rows.filter((t) => t.kind === kind).length;
      return [kind, count ? Float32Array.from((data as Float32Array).subarray(first * width, (first + count) * width)) : new Float32Array()];
    }));
  }

  /** One image: all rows of every tower (of each of its tiles), and its rows in the prompt's sequence. */
  private imageLayout(g: Graph, image: number, { rows, tiles, sources, positions }: ImageInput): Layout {
    const main = [{ kind: this.media, image, length: rows }];
    return { ...this.tileLayout(g, sources ? Array.from({ length: tiles ?? 1 }, (_, t) => tileNumber(image, t)) : [image], positions?.length), [this.main.name]: main };
  }
  /** All rows of every tower, picture after picture; `patches` of kinds that the picture counts. */
  private tileLayout(g: Graph, pictures: readonly number[], patches = 0): Layout {
    return Object.fromEntries([...g.sequences.values()].filter((s) => !hasText(s)).map((s): [string, Segment[]] => [s.name, pictures.flatMap((image) => s.kinds.map((k) => ({ kind: k.name, image, length: k.count.constant() ?? patches })))]));
  }
  private inputs(g: Graph, ids: readonly number[], images: readonly ImageInput[]): Record<string, ArrayLike<number>> {
    const gathers = g.nodes.filter((n) => n.op === 'gather_rows'), all = (of: (i: ImageInput) => Float32Array | Int32Array | undefined) => (images.length ? join(images.map((i) => of(i)!)) : []);
    return Object.fromEntries([...g.inputs].map(([name, n]) => [name, gathers.some((x) => x.inputs[0] === n) ? all((i) => i.sources?.sources)
      : gathers.some((x) => x.inputs.includes(n)) ? all((i) => i.sources?.weights) : n.type.dtype !== 'i32' ? all((i) => i.data) : hasText(n.type.rows!.sequence) ? ids : all((i) => i.positions)]));
  }
  private entry(name: EntryName): Graph {
    const g = this.entries[name];
    if (!g) throw new Error(`The compiled model has no entry point '${name}'.`);
    return g;
  }
}

/** Tiles of images are numbered apart from images. */
const tileNumber = (image: number, tile: number): number => (image + 1) * 1_000_000 + tile;

const outputsOf = (r: StepResult): [string, Float32Array | Int32Array][] => [...r.outputs].map(([name, x]) => [name, x.data as Float32Array | Int32Array]);
