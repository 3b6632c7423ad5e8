/**
 * Bytes that a graph moves and holds, as polynomials: weights read, activations read and written, and what the states
 * (KV cache, visual memory) take at a given number of context rows. Types say how wide a number is, unless a storage does.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { movesOf } from '../ir/ops/index.ts';
import { Poly } from '../ir/poly.ts';
import { sequenceKind } from '../ir/rows.ts';
import { elements } from '../ir/types.ts';
import { isPerImage } from './pairs.ts';
import type { Storage } from './storage.ts';
import { bitsOf, formatted } from './storage.ts';
import { tiles } from './work.ts';

/** Bytes. Keys and values that are read from a state, and written into one, count with the activations. */
export interface Traffic {
  readonly weights: Poly;
  readonly read: Poly;
  readonly written: Poly;
}
export const noTraffic: Traffic = { weights: Poly.zero, read: Poly.zero, written: Poly.zero };
export const addTraffic = (a: Traffic, b: Traffic): Traffic => ({ weights: a.weights.add(b.weights), read: a.read.add(b.read), written: a.written.add(b.written) });
/** All bytes that are moved. */
export const movedBytes = (t: Traffic): Poly => t.weights.add(t.read).add(t.written);

/** A number of elements of a value in bytes. A tower's rows are those of one picture. */
function inBytes(count: Poly, x: Node, storage: Storage | undefined): Poly {
  const own = formatted(x);
  const size = own ? count.mul(own.bytes).div(own.elements) : bitsOf(x, storage) % 8 ? count.mul(bitsOf(x, storage)).div(8) : count.mul(bitsOf(x, storage) / 8);
  return isPerImage(x.type.rows) ? size.mul(tiles) : size;
}

const sizes = new WeakMap<Node, Poly>();
/** Bytes of a value. */
export function bytesOf(n: Node, storage?: Storage): Poly {
  if (storage) return inBytes(elements(n.type), n, storage);
  let size = sizes.get(n);
  if (!size) sizes.set(n, size = inBytes(elements(n.type), n, undefined));
  return size;
}

/** What computing one node moves: each input once and the result once, unless the op table says otherwise. */
export function trafficOf(n: Node, storage?: Storage): Traffic {
  const { reads, writes } = movesOf(n);
  let weights = Poly.zero, read = Poly.zero;
  n.inputs.forEach((x, i) => {
    if (n.inputs.indexOf(x) !== i || reads[i]!.isZero) return;
    const moved = inBytes(reads[i]!, x, storage);
    if (x.op === 'weight') weights = weights.add(moved); else read = read.add(moved);
  });
  return { weights, read, written: writes.isZero ? Poly.zero : inBytes(writes, n, storage) };
}

/** What each op inside a fused node moves for it: a value from outside at its first reader, results where they are made. */
export function trafficInside(n: Node, storage?: Storage): Map<Node, Traffic> {
  const { params, nodes, results } = n.body!, met = new Set<Node>();
  return new Map(nodes.map((m) => {
    const { reads, writes } = movesOf(m);
    let weights = Poly.zero, read = Poly.zero;
    m.inputs.forEach((p, i) => {
      const k = params.indexOf(p);
      if (k < 0 || met.has(p) || reads[i]!.isZero) return;
      met.add(p);
      const moved = inBytes(reads[i]!, n.inputs[k]!, storage);
      if (n.inputs[k]!.op === 'weight') weights = weights.add(moved); else read = read.add(moved);
    });
    return [m, { weights, read, written: results.includes(m) ? inBytes(writes, m.op === 'store' ? n.inputs[params.indexOf(m.inputs[0]!)]! : m, storage) : Poly.zero }];
  }));
}

/** Bytes that all ops of a graph move, one after the other. */
export const traffic = (g: Graph, storage?: Storage): Traffic => g.nodes.map((n) => trafficOf(n, storage)).reduce(addTraffic, noTraffic);

/** Bytes of the weights that a graph reads, each counted once. */
export const weightBytes = (g: Graph, storage?: Storage): Poly => Poly.sum([...g.weights.values()].map((n) => bytesOf(n, storage)));
/** Numbers in the weights that a graph reads. */
export const weightCount = (g: Graph): bigint => [...g.weights.values()].reduce((sum, n) => sum + n.type.dims.reduce((a, d) => a * BigInt(d), 1n), 0n);

/** Bytes of the states at `CV`, `CT`, … context rows: rows of images (the visual memory), and of text (the rest of the KV cache). */
export function stateBytes(graphs: Iterable<Graph>, storage?: Storage): { readonly media: Poly; readonly text: Poly } {
  const states = new Map([...graphs].flatMap((g) => [...g.states]));
  let media = Poly.zero, text = Poly.zero;
  for (const n of states.values())
    for (const kind of n.type.rows!.kinds) {
      const part = bytesOf({ ...n, type: { ...n.type, rows: { ...n.type.rows!, kinds: [kind] } } }, storage);
      if (sequenceKind(n.type.rows!.sequence, kind).media) media = media.add(part); else text = text.add(part);
    }
  return { media, text };
}
