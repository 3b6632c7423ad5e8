/** Text-in, text-out tests of passes, whose texts are also executed: golden and right. */
import { expect } from 'vitest';
import type { Graph, Layout, Segment } from '../../compiler/ir/index.ts';
import { parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import type { Pass } from '../../passes/pass.ts';
import type { Case } from './random-graphs.ts';
import { generator } from './random-graphs.ts';
import { farthest, outputsOf } from './run-case.ts';

/** Text, an image, text; two images; no image; one token. Image rows by the sequence's first media kind. */
export const layouts: readonly (readonly Segment[])[] = [
  [{ kind: 'text', length: 2 }, { kind: 'visual', image: 0, length: 3 }, { kind: 'text', length: 3 }],
  [{ kind: 'visual', image: 0, length: 2 }, { kind: 'text', length: 2 }, { kind: 'visual', image: 1, length: 3 }, { kind: 'text', length: 2 }],
  [{ kind: 'text', length: 4 }],
  [{ kind: 'text', length: 1 }],
];

/** Rows per image of the towers that a test's graph may hold. */
type Towers = Readonly<Record<string, readonly { readonly kind: string; readonly length: number }[]>>;

/** Random inputs and weights that fit a graph. */
export function caseOf(graph: Graph, prompt: readonly Segment[], towers: Towers = {}, seed = 1): Case {
  const images = [...new Set(prompt.flatMap((s) => (s.image === undefined ? [] : [s.image])))], random = generator(seed);
  const layout: Layout = { tokens: prompt, ...Object.fromEntries(Object.entries(towers).map(([name, kinds]) => [name, images.flatMap((image) => kinds.map((k) => ({ ...k, image })))])) };
  const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  const inputs = Object.fromEntries([...graph.inputs].map(([name, { type }]) => {
    const rows = (layout[type.rows!.sequence.name] ?? []).filter((s) => type.rows!.kinds.includes(s.kind)).reduce((n, s) => n + s.length, 0);
    const length = rows * size(type.dims);
    return [name, type.dtype === 'i32' ? Int32Array.from({ length }, () => Math.floor(random.uniform() * 2)) : Float32Array.from({ length }, random.normal)];
  }));
  return { graph, layout, inputs, weights: new Map([...graph.weights].map(([name, n]) => [name, Float32Array.from({ length: size(n.type.dims) }, random.normal)])) };
}

/**
 * Runs passes on a text and gives the text after the last one, without module paths. Both texts are run by the
 * interpreter on several layouts and must agree.
 */
export function after(passes: readonly Pass[], text: string, towers: Towers = {}): string {
  const g = parseGraph(text);
  const out = passes.reduce((x, p) => {
    const made = p.run(x);
    verify(made, { pass: p.name });
    return made;
  }, g);
  const printed = printGraph(out, { paths: false });
  for (const prompt of layouts) {
    const c = caseOf(g, prompt.filter((s) => g.sequences.get('tokens')!.kinds.some((k) => k.name === s.kind)), towers);
    expect(farthest(outputsOf(g, c), outputsOf(parseGraph(printed), c))).toBeLessThan(1e-5);
  }
  return printed;
}
