/** What a whole run costs: a prompt through its entry points, then tokens one by one. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Convention } from '../../compiler/cost/conventions.ts';
import { conventions, hasFractions } from '../../compiler/cost/conventions.ts';
import { amountsAt, classSums, groupOps, inTotal, sumOf } from '../../compiler/cost/grouping.ts';
import { layerOf } from '../../compiler/cost/layers.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import type { ProgramCost, RunSizes } from '../../compiler/cost/program-cost.ts';
import { sumOver } from '../../compiler/cost/sums.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph, Node, RowSet, StepResult } from '../../compiler/ir/index.ts';
import { Poly, Session, maskKind, maskOf } from '../../compiler/ir/index.ts';
import { evaluate } from '../../compiler/ir/mask/eval.ts';
import type { Token } from '../../compiler/ir/ops/def.ts';
import { isView } from '../../compiler/cost/parts.ts';
import { openModel } from '../../compiler/load-model.ts';
import { countedProgram, fuseProgram, modelCosts } from '../../passes/cost-program.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import type { Case } from '../support/random-graphs.ts';
import { decodable, standing } from '../support/standing.ts';

const exact = conventions['exact']!;

/** What one step does, counted pair by pair and number by number: 2 FLOPs a multiply-add, 4 bytes a number. */
interface Walked { flops: number; weights: number; read: number; written: number }
function walk(g: Graph, c: Case, run: (watch: (n: Node, elements: number) => void) => StepResult): Walked {
  const sizes = new Map<Node, number>(), out: Walked = { flops: 0, weights: 0, read: 0, written: 0 };
  const result = run((n, elements) => sizes.set(n, elements)), tokens = (rows: RowSet): readonly Token[] => result.tokens(rows);
  const size = (x: Node): number => sizes.get(x) ?? tokens(x.type.rows!).length * x.type.dims.reduce((a, b) => a * b, 1);
  for (const n of g.nodes) {
    const elements = sizes.get(n)!, [q] = n.inputs;
    if (n.op === 'linear') out.flops += 2 * elements * q!.type.dims[0]!;
    if (n.op === 'attention') {
      const { expr, sequence } = maskOf(n.attrs, g), tower = sequence.kinds.every((k) => k.media), seen = (t: Token): Token => ({ ...t, kind: maskKind(sequence, t.kind) });
      let pairs = 0;
      for (const a of tokens(n.type.rows!)) for (const b of tokens(n.inputs[1]!.type.rows!)) if ((!tower || a.image === b.image) && evaluate(expr, seen(a), seen(b))) pairs++;
      out.flops += 2 * pairs * (q!.type.dims[0]! + n.type.dims[0]!);
    }
    if (isView(n) || n.op === 'row_number') continue;
    if (n.op === 'store') { out.read += 4 * size(n.inputs[1]!); out.written += 4 * size(n.inputs[1]!); continue; }
    out.written += 4 * elements;
    for (const x of new Set(n.inputs)) {
      // Positions are data of the row, and a table is read where it is asked.
      if (x.op === 'weight') out.weights += 4 * (n.op === 'embed' ? elements : c.weights.get(String(x.attrs['name']))!.length); else out.read += 4 * size(x);
    }
  }
  return out;
}
const plus = (a: Walked, b: Walked): Walked => ({ flops: a.flops + b.flops, weights: a.weights + b.weights, read: a.read + b.read, written: a.written + b.written });
const at = (cost: ProgramCost, entry: string, sizes: RunSizes): Walked => {
  const a = amountsAt(sumOf(cost.ops.filter((op) => op.entry === entry)), cost.dims(sizes));
  return { flops: Number(a.flops), weights: Number(a.weights), read: Number(a.read), written: Number(a.written) };
};

test('closed forms are what a walk over every step counts: an image, a prompt, then token after token', () => {
  fc.assert(fc.property(standing, fc.integer({ min: 0, max: 3 }), ({ c, V, A, T }, G) => {
    fc.pre(decodable(c) && T > G);
    const program = stageProgram(optimise(c.graph)), cost = programCost(program, exact), session = new Session(c.weights), text = T - G;
    const inputs = (g: Graph, range: readonly [number, number]) => Object.fromEntries([...g.inputs].map(([name, n]) => [name, n.type.rows!.kinds.includes('text') ? c.inputs[name]!.slice(...range) : c.inputs[name]!]));
    const { tokens, ...towers } = c.layout, media = tokens!.filter((s) => s.image !== undefined), sizes = { dims: { V, A, T: text }, generate: G };
    const vision = program.graphs.get('vision'), prefill = program.graphs.get('prefill')!, decode = program.graphs.get('decode')!;
    if (vision && !media.length) return;
    const step = (g: Graph, how: 'image' | 'extend', layout: Case['layout'], range: readonly [number, number]) =>
      walk(g, c, (watch) => session[how](g, { layout, inputs: inputs(g, range), watch: (n, v) => watch(n, v.data.length) }));
    if (vision) expect(at(cost, 'vision', sizes)).toEqual(step(vision, 'image', { ...towers, tokens: media }, [0, 0]));
    expect(at(cost, 'prefill', sizes)).toEqual(step(prefill, 'extend', { ...towers, tokens: [...media, { kind: 'text', length: text }] }, [0, text]));
    let all: Walked = { flops: 0, weights: 0, read: 0, written: 0 };
    for (let i = 0; i < G; i++) all = plus(all, step(decode, 'extend', { tokens: [{ kind: 'text', length: 1 }] }, [text + i, text + i + 1]));
    expect(at(cost, 'decode', sizes)).toEqual(all);
  }), { numRuns: Number(process.env['PASS_RUNS'] ?? 100) });
});

/** FLOPs by part of vision and prefill, beside those of the one pass that is not cut into entry points. */
function bothWays(g: Graph, convention: Convention, sizes: RunSizes): { part: string; staged: bigint; whole: bigint }[] {
  const { ops } = modelCosts(g, convention), dims = ops.dims(sizes);
  const parts = new Map(groupOps(ops.ops.filter((op) => op.entry !== 'decode'), 'part').map((p) => [p.name, amountsAt(p.amounts, dims).flops]));
  return Object.entries(costFormula(g, convention).at(sizes).parts).map(([part, whole]) => ({ part, staged: parts.get(part) ?? 0n, whole }));
}
test.each(['self', 'composite', 'ee-mllm-f:layers=0-2', 'shortv:layers=1-3', 'vtw:k=2', 'fastv:k=2,r=0.5', 'image-islands:window=4'])('%s: vision and prefill together are the one pass that is not cut into entry points, by every convention', async (variant) => {
  const { graph } = trace((await openModel('examples/shapes/checkpoint')).create(variant));
  for (const convention of Object.values(conventions))
    for (const images of [1, 3]) for (const { part, staged, whole } of bothWays(graph, convention, { dims: { V: 64 * images, T: 11 }, images })) {
      // Three rounded shares of the decoder make its sum, where a convention takes a mean.
      const off = staged - whole, most = hasFractions(convention) ? 1n : 0n;
      expect(off <= most && off >= -most, `${convention.name}, ${part}: ${staged} and ${whole}`).toBe(true);
    }
});
test('random models: entry points compute no more than one pass does, and kernels do the work of their ops', () => {
  fc.assert(fc.property(standing, fc.constantFrom(...Object.values(conventions)), ({ c, V, A, T }, convention) => {
    fc.pre(decodable(c));
    // Less, where one pass cannot say that it wants all rows of one kind and the last row of another.
    const sizes = { dims: { V, A, T } };
    for (const { part, staged, whole } of bothWays(c.graph, convention, sizes)) expect(staged <= whole + (hasFractions(convention) ? 1n : 0n), `${convention.name}, ${part}: ${staged} and ${whole}`).toBe(true);
    const staged = countedProgram(c.graph, exact), apart = programCost(staged, exact), fused = programCost(fuseProgram(staged), exact);
    for (const entry of apart.entries) expect(at(fused, entry, sizes).flops).toBe(at(apart, entry, sizes).flops);
  }), { numRuns: 60 });
});

describe('LLaVA-1.5 7B', async () => {
  const source = await openModel('llava-1.5-7b'), sizes: RunSizes = { dims: { V: 576, T: 64 }, generate: 100 };
  const costs = modelCosts(trace(source.create('composite')).graph, exact), dims = costs.ops.dims(sizes);
  test('layers of tower and decoder are told apart, and groups add up', () => {
    const layers = groupOps(costs.ops.ops, 'layer'), names = layers.map((g) => g.name);
    expect(names.filter((n) => n.startsWith('vision layer'))).toEqual(Array.from({ length: 23 }, (_, i) => `vision layer ${i}`));
    expect(names.filter((n) => n.startsWith('decoder layer'))).toEqual(Array.from({ length: 32 }, (_, i) => `decoder layer ${i}`));
    const total = sumOf(costs.ops.ops).flops;
    for (const by of ['part', 'op', 'layer', 'entry'] as const) expect(Poly.sum(groupOps(costs.ops.ops, by).map((g) => g.amounts.flops)).equals(total)).toBe(true);
    expect(Poly.sum(classSums(costs.ops.ops, exact).map((c) => c.flops)).equals(total)).toBe(true);
  });
  test('a decoded token reads every weight of the decoder and the head once, and the whole context', () => {
    const one = sumOf(costs.ops.ops.filter((op) => op.entry === 'decode')), h = 4096n, m = 11008n, L = 32n;
    const matrices = L * (4n * h * h + 3n * h * m) + 32000n * h;
    expect(one.flops.evaluate(costs.ops.dims({ ...sizes, generate: 1 }))).toBe(2n * matrices + 4n * h * L * (576n + 64n + 1n));
    expect(one.flops.evaluate(dims)).toBe(100n * 2n * matrices + 4n * h * L * (100n * 640n + 5050n));
    expect(one.weights.evaluate(dims)).toBe(100n * 4n * (matrices + L * 2n * h + h + h)); // norms, and the embedding of one token
  });
  test('integers stay exact where floating point rounds', () => {
    const huge = { dims: { V: 2 ** 31, T: 2 ** 31 - 1 }, generate: 2 ** 31 }, S = 2n ** 32n - 1n, G = 2n ** 31n;
    const self = modelCosts(trace(source.create('self')).graph, exact).ops, scores = Poly.sum(self.ops.filter((op) => op.node.op === 'attention' && op.part === 'decoder').map((op) => op.flops));
    expect(scores.evaluate(self.dims(huge))).toBe(4n * 4096n * (31n * (S * (S + 1n)) / 2n + S + 32n * (G * S + (G * (G + 1n)) / 2n)));
  });
  test('conventions that count the decoder alone have a total of it alone', () => {
    expect(new Set(inTotal(costs.ops.ops, conventionNamed('shortv')).map((op) => op.part))).toEqual(new Set(['decoder']));
  });
});

test('sums over a range are polynomials', () => {
  const p = Poly.parse('3*i^3*T + 1/2*i^2 + i*V + 7'), sum = sumOver(p, 'i', Poly.dim('n'));
  for (const n of [0, 1, 2, 7, 40]) for (const T of [1, 4]) {
    let want = 0;
    for (let i = 1; i <= n; i++) want += 3 * i ** 3 * T + i ** 2 / 2 + i * 5 + 7;
    expect(Number(sum.mul(2).evaluate({ n, T, V: 5 })) / 2).toBe(want);
  }
});

test.each([
  ['language_model.model.layers.12.self_attn.q_proj', { stack: 'language_model.model.layers', index: 12 }],
  ['vision_tower.vision_model.encoder.layers.3', { stack: 'vision_tower.vision_model.encoder.layers', index: 3 }],
  ['model.layers.0.experts.5.w1', { stack: 'model.layers', index: 0 }],
  ['multi_modal_projector.linear_1', undefined], ['', undefined],
])('the layer of %s', (path, layer) => { expect(layerOf(path)).toEqual(layer); });
