/** Formulas against what the interpreter really does: every value's elements, every pair that a mask admits. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { resolvePairs } from '../../compiler/cost/resolve.ts';
import { addCounts, mapCounts, work } from '../../compiler/cost/work.ts';
import type { Graph, Node, RowSet, Segment, StepResult } from '../../compiler/ir/index.ts';
import { Session, maskKind, maskOf, partsOf } from '../../compiler/ir/index.ts';
import { evaluate } from '../../compiler/ir/mask/eval.ts';
import type { CountClass, Counts, Token } from '../../compiler/ir/ops/def.ts';
import { isView } from '../../compiler/cost/parts.ts';
import { maskAnalysis } from '../../passes/mask-analysis.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { splitKept } from '../../passes/split-kept.ts';
import { caseOf } from '../support/golden.ts';
import { randomCase } from '../support/random-graphs.ts';
import type { Case } from '../support/random-graphs.ts';
import { decodable, standing } from '../support/standing.ts';

type Numbers = Partial<Record<CountClass, number>>;
/** What one op does, from its values alone: no polynomial, no class of a mask. */
const classOf: Readonly<Record<string, CountClass>> = {
  rms_norm: 'norm', layer_norm: 'norm', rope: 'rope', silu: 'activation', gelu: 'activation', gelu_tanh: 'activation', quick_gelu: 'activation', relu: 'activation',
  mul: 'activation', embed: 'embed', argmax: 'other',
};
function countedBy(g: Graph, run: (watch: (n: Node, elements: number) => void) => StepResult): Numbers {
  const sizes = new Map<Node, number>(), out: Numbers = {};
  const result = run((n, elements) => sizes.set(n, elements));
  const tokens = (rows: RowSet): readonly Token[] => result.tokens(rows);
  const add = (cls: CountClass, n: number): void => { if (n) out[cls] = (out[cls] ?? 0) + n; };
  for (const n of g.nodes) {
    const elements = sizes.get(n)!;
    if (n.op === 'linear') { add('matmul', elements * n.inputs[0]!.type.dims[0]!); if (n.inputs[2]) add('bias', elements); }
    else if (n.op === 'add' || n.op === 'sub') add(n.inputs[1]!.type.rows ? 'residual' : 'bias', elements);
    else if (n.op === 'argmax') add('other', elements * n.inputs[0]!.type.dims[0]!);
    else if (n.op === 'attention') {
      const { expr, sequence } = maskOf(n.attrs, g), heads = Number(n.attrs['heads']), tower = sequence.kinds.every((k) => k.media);
      const keys = tokens(n.inputs[1]!.type.rows!);
      let pairs = 0;
      const seen = (t: Token): Token => ({ ...t, kind: maskKind(sequence, t.kind) });
      for (const q of tokens(n.type.rows!)) for (const k of keys) if ((!tower || q.image === k.image) && evaluate(expr, seen(q), seen(k))) pairs++;
      add('scores', pairs * (n.inputs[0]!.type.dims[0]! + n.type.dims[0]!));
      add('softmax', pairs * heads);
    } else if (classOf[n.op]) add(classOf[n.op]!, elements);
    else expect(isView(n) || ['zeros', 'broadcast', 'row_number', 'repeat_heads', 'patches', 'store', 'chosen'].includes(n.op), n.op).toBe(true);
  }
  return out;
}

/** The formulas of a graph at given sizes; classes that count nothing are left out. */
function formulaAt(g: Graph, dims: Readonly<Record<string, number>>): Numbers {
  const counts = work(g).map((w) => w.counts).reduce<Counts>(addCounts, {}), at = resolvePairs(g, { ...dims, tiles: 1 });
  return Object.fromEntries(Object.entries(mapCounts(counts, (p) => p)).map(([cls, p]) => [cls, Number(p!.evaluate(at))] as const).filter(([, n]) => n));
}

test('definitions and optimised graphs, at random sizes', () => {
  fc.assert(fc.property(standing, ({ c, V, A, T }) => {
    fc.pre(decodable(c));
    for (const g of [c.graph, maskAnalysis.run(c.graph), optimise(c.graph)]) {
      const inputs = Object.fromEntries(Object.entries(c.inputs).filter(([name]) => g.inputs.has(name)));
      const counted = countedBy(g, (watch) => new Session(c.weights).extend(g, { layout: c.layout, inputs, watch: (n, v) => watch(n, v.data.length) }));
      expect(formulaAt(g, { V, A, T })).toEqual(counted);
    }
  }), { numRuns: Number(process.env['PASS_RUNS'] ?? 100) });
});

test('rows that are chosen on the way: the formulas of what is left, at random sizes', () => {
  const chosen = fc.record({ c: randomCase({ chooses: true }), V: fc.integer({ min: 0, max: 9 }), A: fc.integer({ min: 0, max: 4 }), T: fc.integer({ min: 1, max: 5 }) });
  fc.assert(fc.property(chosen, ({ c, V, A, T }) => {
    fc.pre(decodable(c));
    const g = splitKept.run(c.graph), tokens = g.sequences.get('tokens')!, patches = g.sequences.get('patches');
    const dims = { V: patches ? patches.kinds.reduce((n, k) => n + k.count.at({}), 0) : V, A: patches ? 0 : A, T };
    const prompt = ['visual', 'audio', 'text'].flatMap((kind, image) => partsOf(tokens, kind).map((k): Segment => ({ kind: k.name, length: k.count.at(dims), ...(kind === 'text' ? {} : { image }) })));
    const towers: Parameters<typeof caseOf>[2] = patches ? { pictures: [{ kind: 'tile', length: 1 }], patches: patches.kinds.map((k) => ({ kind: k.name, length: k.count.at({}) })) } : {};
    const { layout, inputs, weights } = caseOf(g, prompt.filter((x) => x.length), towers);
    for (const made of [g, maskAnalysis.run(g), optimise(g)]) {
      const counted = countedBy(made, (watch) => new Session(weights).extend(made, { layout, inputs: Object.fromEntries(Object.entries(inputs).filter(([name]) => made.inputs.has(name))), watch: (n, v) => watch(n, v.data.length) }));
      expect(formulaAt(made, dims)).toEqual(counted);
    }
  }), { numRuns: Number(process.env['PASS_RUNS'] ?? 100) });
});

test('staged programs: an image, a prompt, a token', () => {
  fc.assert(fc.property(standing, ({ c, V, A, T }) => {
    fc.pre(decodable(c) && T > 1);
    const program = stageProgram(optimise(c.graph)), session = new Session(c.weights);
    const inputs = (g: Graph, text: readonly [number, number]): Record<string, ArrayLike<number>> => Object.fromEntries([...g.inputs].map(([name, n]) =>
      [name, n.type.rows!.kinds.includes('text') ? c.inputs[name]!.slice(...text) : c.inputs[name]!]));
    const { tokens, ...towers } = c.layout, media = tokens!.filter((s) => s.image !== undefined);
    const vision = program.graphs.get('vision');
    const run = (g: Graph, image: boolean, layout: Case['layout'], text: readonly [number, number]) => countedBy(g, (watch) =>
      session[image ? 'image' : 'extend'](g, { layout, inputs: inputs(g, text), watch: (n, v) => watch(n, v.data.length) }));
    // One step for all media: in the standing layout each of them is one image.
    if (vision && media.length) expect(formulaAt(vision, { V, A, T: 0, CV: V, CA: A, CT: 0 })).toEqual(run(vision, true, { ...towers, tokens: media }, [0, 0]));
    const prefill = program.graphs.get('prefill')!, decode = program.graphs.get('decode')!;
    if (!media.length && vision) return;
    expect(formulaAt(prefill, { V, A, T: T - 1, CV: V, CA: A, CT: T - 1 })).toEqual(run(prefill, false, { ...towers, tokens: [...media, { kind: 'text', length: T - 1 }] }, [0, T - 1]));
    expect(formulaAt(decode, { V: 0, A: 0, T: 1, CV: V, CA: A, CT: T })).toEqual(run(decode, false, { tokens: [{ kind: 'text', length: 1 }] }, [T - 1, T]));
  }), { numRuns: Number(process.env['PASS_RUNS'] ?? 100) });
});
