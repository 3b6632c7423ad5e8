/**
 * Which values go through memory, and how wide: the rule by which traffic is counted, as conventions are rules for FLOPs.
 *
 * Left alone, an op reads its operands and writes its result, an attention is one kernel whose scores never leave it, and
 * numbers are as wide as the graph's types say. Tools and papers count otherwise: a rule says how.
 */
import type { Node } from '../ir/graph.ts';
import type { CountClass, Counts } from '../ir/ops/def.ts';
import { Poly } from '../ir/poly.ts';
import type { Convention, Part } from './conventions.ts';
import { flopsOf } from './formula.ts';
import type { Storage } from './storage.ts';
import { bitsOf, uniform } from './storage.ts';
import type { Traffic } from './traffic.ts';
import { addTraffic, bytesOf, noTraffic, trafficOf } from './traffic.ts';

export interface MemoryRule {
  /** Bits of a number; as the types say by default. */
  readonly storage?: Storage;
  /** Parts whose numbers are of other widths. */
  readonly parts?: Readonly<Partial<Record<Part, Partial<Storage>>>>;
  /**
   * `fused` (the default): scores never go to memory. `apart`: queries times keys, softmax, and scores times values are three
   * steps, each of which reads what the one before it wrote.
   */
  readonly attention?: 'fused' | 'apart';
  /**
   * Activations that an op moves for each element that it counts of a class, in place of its own operands and result. An op
   * that counts such a class moves no weights.
   */
  readonly perElement?: Readonly<Partial<Record<CountClass, { readonly read: number; readonly written: number }>>>;
  /** Ops whose module path matches move nothing. */
  readonly without?: RegExp;
}

/** Part of an op that a device does by itself: a line of a roofline. */
export interface Step { readonly flops: Poly; readonly traffic: Traffic }

/**
 * LLM-Viewer's accounting (github.com/hahnyuan/LLM-Viewer, model_analyzer.py, March 2024), all numbers of `bits` bits: linear
 * maps read their input and write their output; scores go through memory between the two products and the softmax; a
 * norm and an addition read and write one row each; an activation reads two rows of the hidden size and writes one, taken
 * here with the two additions of its layer; rotation, embedding and the last norm move nothing; the head's weights take
 * one byte each, whatever the others take. Meant for the graph of the convention of that name.
 */
export const llmViewerMemory = (bits: number): MemoryRule => ({
  storage: uniform(bits), parts: { head: { matrices: 8 } }, attention: 'apart', without: /(^|\.)(text_)?model\.norm$/,
  perElement: { norm: { read: 1, written: 1 }, residual: { read: 2, written: 1.5 }, activation: { read: 0, written: 0 }, rope: { read: 0, written: 0 }, embed: { read: 0, written: 0 } },
});

export const storageIn = (rule: MemoryRule, part: Part): Storage | undefined => {
  const other = rule.parts?.[part];
  return other ? { ...(rule.storage ?? uniform(32)), ...other } : rule.storage;
};

/** What an op moves by a rule; its `own` traffic is what its operands and result are. */
export function trafficBy(rule: MemoryRule, node: Node, part: Part, counts: Counts, own: () => Traffic): Traffic {
  if (rule.without?.test(node.path)) return noTraffic;
  if (rule.attention === 'apart' && node.op === 'attention') return stepsOf(rule, node, part, counts).map((s) => s.traffic).reduce(addTraffic);
  const said = (Object.entries(counts) as [CountClass, Poly][]).filter(([name]) => rule.perElement?.[name]);
  if (!said.length) return own();
  const bits = bitsOf(node, storageIn(rule, part));
  const moved = (which: 'read' | 'written'): Poly => Poly.sum(said.map(([name, count]) => count.mul(rule.perElement![name]![which] * bits).div(8)));
  return { weights: Poly.zero, read: moved('read'), written: moved('written') };
}

/** The steps of an attention whose scores go to memory; FLOPs under a convention, or none. */
export function stepsOf(rule: MemoryRule, n: Node, part: Part, counts: Counts, convention?: Convention): Step[] {
  const storage = storageIn(rule, part), [q, k, v] = n.inputs as [Node, Node, Node];
  const flops = (own: Counts): Poly => (convention ? flopsOf(own, convention, part) : Poly.zero);
  const all = counts.scores!, ofQueries = all.mul(q.type.dims[0]!).div(q.type.dims[0]! + n.type.dims[0]!);
  const scores = counts.softmax!.mul(bitsOf(n, storage)).div(8), weights = Poly.zero, { written } = trafficOf(n, storage);
  return [
    { flops: flops({ scores: ofQueries }), traffic: { weights, read: bytesOf(q, storage).add(bytesOf(k, storage)), written: scores } },
    { flops: flops({ softmax: counts.softmax! }), traffic: { weights, read: scores, written: scores } },
    { flops: flops({ scores: all.sub(ofQueries) }), traffic: { weights, read: scores.add(bytesOf(v, storage)), written } },
  ];
}
