/**
 * Bytes that a graph moves and holds, as polynomials: weights read, activations read and written, and what the states
 * (KV cache, visual memory) take at a given number of context rows. Types say how wide a number is.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { movesOf } from '../ir/ops/index.ts';
import { Poly } from '../ir/poly.ts';
import { sequenceKind } from '../ir/rows.ts';
import { bytes, dtypeBytes } from '../ir/types.ts';
import { isPerImage } from './pairs.ts';
import { images } from './work.ts';

export interface Traffic {
  readonly weights: Poly;
  readonly read: Poly;
  readonly written: Poly;
}

const sizes = new WeakMap<Node, Poly>();
/** Bytes of a value. */
export function bytesOf(n: Node): Poly {
  let size = sizes.get(n);
  if (!size) {
    size = bytes(n.type);
    if (isPerImage(n.type.rows)) size = size.mul(images);
    sizes.set(n, size);
  }
  return size;
}

/** What computing one node moves: each input once and the result once, unless the op table says otherwise. */
export function trafficOf(n: Node): Traffic {
  const { reads, writes } = movesOf(n);
  let weights = Poly.zero, read = Poly.zero;
  n.inputs.forEach((x, i) => {
    if (n.inputs.indexOf(x) !== i) return;
    const moved = scaled(x, reads[i]!.mul(dtypeBytes[x.type.dtype]));
    if (x.op === 'weight') weights = weights.add(moved); else read = read.add(moved);
  });
  return { weights, read, written: scaled(n, writes.mul(dtypeBytes[n.type.dtype])) };
}
/** A tower's rows are those of one picture. */
const scaled = (x: Node, size: Poly): Poly => (isPerImage(x.type.rows) ? size.mul(images) : size);

/** Bytes that all ops of a graph move, one after the other. */
export const traffic = (g: Graph): Traffic => g.nodes.map(trafficOf).reduce(
  (a, b) => ({ weights: a.weights.add(b.weights), read: a.read.add(b.read), written: a.written.add(b.written) }),
  { weights: Poly.zero, read: Poly.zero, written: Poly.zero });

/** Bytes of the weights that a graph reads, each counted once. */
export const weightBytes = (g: Graph): Poly => Poly.sum([...g.weights.values()].map(bytesOf));
/** Numbers in the weights that a graph reads. */
export const weightCount = (g: Graph): bigint => [...g.weights.values()].reduce((sum, n) => sum + n.type.dims.reduce((a, d) => a * BigInt(d), 1n), 0n);

/** Bytes of the states at `CV`, `CT`, … context rows: rows of images (the visual memory), and of text (the rest of the KV cache). */
export function stateBytes(graphs: Iterable<Graph>): { readonly media: Poly; readonly text: Poly } {
  const states = new Map([...graphs].flatMap((g) => [...g.states]));
  let media = Poly.zero, text = Poly.zero;
  for (const { type } of states.values())
    for (const kind of type.rows!.kinds) {
      const part = bytes({ ...type, rows: { ...type.rows!, kinds: [kind] } });
      if (sequenceKind(type.rows!.sequence, kind).media) media = media.add(part); else text = text.add(part);
    }
  return { media, text };
}
