/** Verification on the reference interpreter: the very graphs that are lowered to kernels, staged and fused. */
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
    const images = imagesOf(prompt), seen: StepResult[] = [], { vision } = this.entries, prefill = this.entry('prefill');
    if (vision) images.forEach((image, i) => seen.push(this.session.image(vision, { layout: this.imageLayout(vision, i, image.rows), inputs: this.inputs(vision, [], [image.data]) })));
    const read = this.session.extend(prefill, {
      layout: { [this.main.name]: segmentsOf(prompt, this.text, this.media) }, inputs: this.inputs(prefill, idsOf(prompt), images.map((i) => i.data)),
    });
    const names = new Set(seen.flatMap((r) => [...r.outputs.keys()]));
    return new Map([...[...names].map((name) => [name, join(seen.map((r) => r.outputs.get(name)!.data as Float32Array))] as const), ...outputsOf(read)]);
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

  /** One image: all rows of every tower, and its rows in the prompt's sequence. */
  private imageLayout(g: Graph, image: number, rows: number): Layout {
    return Object.fromEntries([...g.sequences.values()].map((s): [string, Segment[]] => [
      s.name, hasText(s) ? [{ kind: this.media, image, length: rows }] : s.kinds.map((k) => ({ kind: k.name, image, length: k.count.constant() ?? rows })),
    ]));
  }
  private inputs(g: Graph, ids: readonly number[], images: readonly Float32Array[]): Record<string, ArrayLike<number>> {
    return Object.fromEntries([...g.inputs].map(([name, n]) => [name, n.type.dtype === 'i32' ? ids : images.length ? join(images) : []]));
  }
  private entry(name: EntryName): Graph {
    const g = this.entries[name];
    if (!g) throw new Error(`The compiled model has no entry point '${name}'.`);
    return g;
  }
}

const outputsOf = (r: StepResult): [string, Float32Array | Int32Array][] => [...r.outputs].map(([name, x]) => [name, x.data as Float32Array | Int32Array]);
