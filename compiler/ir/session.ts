/**
 * Runs the graphs of a program one after the other, as a device would: what one step stores, later steps find.
 *
 * ```
 * const session = new Session(weights);
 * session.image(vision, { layout: { patches: [...], tokens: [{ kind: 'visual', image: 0, length: 64 }] }, inputs: { pixels } });
 * session.extend(prefill, { layout: { tokens: [{ kind: 'text', length: 3 }, { kind: 'visual', image: 0, length: 64 }, { kind: 'text', length: 9 }] }, inputs: { ids } });
 * session.extend(decode, { layout: { tokens: [{ kind: 'text', length: 1 }] }, inputs: { ids } });
 * session.begin(); // another question about the same image: only what text rows stored is forgotten
 * ```
 *
 * A state holds a row by the token's `key` (layout.ts). An image's rows are stored before anyone knows where the image will
 * stand; a prompt that places the image gives its tokens their positions, and the rows are found again. A graph that
 * stores nothing is a program of one step: `interpret`.
 */
import { UserError } from './errors.ts';
import type { Graph, Node } from './graph.ts';
import { leafName } from './graph.ts';
import type { Layout, PlacedToken, Segment } from './layout.ts';
import { hasText, imagesOf, placeTokens, StepTokens } from './layout.ts';
import type { Tensor } from './ops/def.ts';
import { suggest } from './spelling.ts';
import type { StepOptions, StepResult } from './step.ts';
import { runStep } from './step.ts';
import { rowElements } from './types.ts';

/** Values of a weight by its checkpoint name, row-major; undefined if there is no such weight. */
export type Weights = ReadonlyMap<string, Float32Array | Int32Array> | ((name: string) => Float32Array | Int32Array | undefined);

/** The rows that one state holds. */
interface StateRows { readonly media: Map<string, Float32Array>; readonly text: Map<string, Float32Array> }

export class Session {
  private readonly states = new Map<string, StateRows>();
  /** What stands in the prompt so far, by sequence. */
  private readonly prompt = new Map<string, readonly Segment[]>();
  private readonly lookup: (name: string) => Float32Array | Int32Array | undefined;

  constructor(weights: Weights) { this.lookup = typeof weights === 'function' ? weights : (name) => weights.get(name); }

  /** Begins another prompt. The rows of images stay: a prompt that places one of them again finds them. */
  begin(): void {
    this.prompt.clear();
    for (const s of this.states.values()) s.text.clear();
  }

  /** Runs a graph whose rows belong to images alone, before any prompt places them. `layout` names the step's rows. */
  image(g: Graph, step: StepOptions): StepResult {
    for (const s of g.sequences.values())
      for (const segment of step.layout[s.name] ?? [])
        if (segment.image === undefined && segment.length) throw new UserError(`The graph '${g.name}' runs once an image, so its layout of sequence '${s.name}' cannot hold ${segment.length} rows of kind '${segment.kind}'.`);
    return this.run(g, step, true);
  }

  /** Appends the segments of `layout` to the prompt, and runs a graph over them: they are the step's new rows. */
  extend(g: Graph, step: StepOptions): StepResult {
    const result = this.run(g, step, false);
    for (const s of g.sequences.values()) if (hasText(s)) this.prompt.set(s.name, this.soFar(s.name, step.layout));
    return result;
  }

  private soFar(sequence: string, layout: Layout): readonly Segment[] { return [...(this.prompt.get(sequence) ?? []), ...(layout[sequence] ?? [])]; }

  private run(g: Graph, step: StepOptions, image: boolean): StepResult {
    checkLayout(g, step.layout);
    const tokens = new Map<string, StepTokens>();
    for (const s of g.sequences.values()) {
      const placed = hasText(s) && !image;
      const all = placeTokens(s, placed ? this.soFar(s.name, step.layout) : step.layout[s.name] ?? [], !placed);
      const fresh = (step.layout[s.name] ?? []).reduce((n, x) => n + x.length, 0);
      tokens.set(s.name, new StepTokens(all, all.length - fresh));
    }
    return runStep(g, step, {
      tokens: (rows) => tokens.get(rows.sequence.name)!.of(rows),
      weight: (n) => this.lookup(leafName(n)),
      read: (n, at) => this.read(n, at),
      write: (n, x, at) => this.write(n, x, at),
    });
  }

  /** The rows of a state; those that no step has stored are NaN. */
  private read(n: Node, at: readonly PlacedToken[]): Float32Array {
    const held = this.states.get(leafName(n)), w = rowElements(n.type), out = new Float32Array(at.length * w).fill(NaN);
    at.forEach((t, i) => {
      const row = (t.image < 0 ? held?.text : held?.media)?.get(t.key);
      if (row && row.length !== w) throw new UserError(`The state '${leafName(n)}' holds rows of ${row.length} entries, but this graph reads it with ${w}.`);
      if (row) out.set(row, i * w);
    });
    return out;
  }

  private write(n: Node, x: Tensor, at: readonly PlacedToken[]): void {
    let held = this.states.get(leafName(n));
    if (!held) this.states.set(leafName(n), (held = { media: new Map(), text: new Map() }));
    const w = rowElements(n.type);
    at.forEach((t, i) => (t.image < 0 ? held.text : held.media).set(t.key, Float32Array.from(x.data.subarray(i * w, (i + 1) * w))));
  }
}

function checkLayout(g: Graph, layout: Layout): void {
  const before: { readonly name: string; readonly images: readonly number[] }[] = [];
  for (const [name, segments] of Object.entries(layout)) {
    if (!g.sequences.has(name)) throw new UserError(`The layout speaks of a sequence '${name}', which the graph '${g.name}' has not.${suggest(name, g.sequences.keys(), 'Its sequences are')}`);
    const images = imagesOf(segments);
    for (const other of before) {
      const [here, there] = [images.filter((i) => other.images.includes(i)).join(', '), other.images.filter((i) => images.includes(i)).join(', ')];
      if (here !== there) throw new UserError(`The layout has the images ${there} in sequence '${other.name}', but ${here} in sequence '${name}'. Give the images of a step to every sequence in one order.`);
    }
    before.push({ name, images });
  }
}
