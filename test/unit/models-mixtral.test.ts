/** Mixtral: sizes and names as published, the definition beside the published modelling, and what its experts cost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countParameters, createModel, parameters, UserError } from 'eemllm';
import { builtinConfig, familyOf, llamaConfig } from 'eemllm/models';
import { afterAll, describe, expect, test } from 'vitest';
import { findModel, openCheckpoint } from '../../compiler/cli/model.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import { conventionNamed, flops } from '../../passes/flops.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { interpret, parseGraph, printGraph, verify } from '../../compiler/ir/index.ts';
import type { Segment } from '../../compiler/ir/index.ts';
import { fuseProgram } from '../../passes/cost-program.ts';
import { fuse } from '../../passes/fuse.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';
import { distance, farthest, outputsOf } from '../support/run-case.ts';
import { StagedRun } from '../support/run-program.ts';
import { weightsOf } from '../support/tiled-reference.ts';
import { writeTinyFolder } from '../support/tiny-folders.ts';
import { mixtralCase, mixtralReference, tinyMixtral } from '../support/tiny-mixtral.ts';

const parent = mkdtempSync(join(tmpdir(), 'eemllm-mixtral-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));
const prompt: readonly Segment[] = [{ kind: 'text', length: 2 }, { kind: 'visual', image: 0, length: 4 }, { kind: 'text', length: 3 }];

describe('as published', () => {
  const model = createModel(familyOf(builtinConfig('mixtral-8x7b')!), builtinConfig('mixtral-8x7b')!);

  // Jiang et al. (arXiv 2401.04088): 47 B, of which 13 B are active; the hub counts 46,702,792,704.
  test('Mixtral-8x7B has 46,702,792,704 parameters, 12,879,925,248 of them active', () => {
    expect(countParameters(model)).toBe(46_702_792_704);
    const idle = parameters(model).filter((p) => /\.experts\.[2-7]\./.test(p.name)).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
    expect(countParameters(model) - idle).toBe(12_879_925_248);
  });

  test("names are the checkpoint's", () => {
    const shapes = new Map(parameters(model).map((p) => [p.name, p.shape.join()]));
    expect(shapes.size).toBe(3 + 32 * (4 + 1 + 8 * 3 + 2));
    expect(Object.fromEntries(['gate.weight', 'experts.7.w1.weight', 'experts.0.w2.weight', 'experts.3.w3.weight'].map((n) => [n, shapes.get(`model.layers.31.block_sparse_moe.${n}`)])))
      .toEqual({ 'gate.weight': '8,4096', 'experts.7.w1.weight': '14336,4096', 'experts.0.w2.weight': '4096,14336', 'experts.3.w3.weight': '14336,4096' });
  });

  test('a config that chooses more experts than there are is refused', () => {
    expect(() => llamaConfig({ model_type: 'mixtral', num_local_experts: 2, num_experts_per_tok: 3 })).toThrow(UserError);
    expect(llamaConfig({ model_type: 'mixtral' }).experts).toMatchObject({ num_local_experts: 8, num_experts_per_tok: 2, intermediate_size: 14336 });
  });
});

describe.each(['self', 'composite'] as const)('%s', (variant) => {
  test('the definition computes what the published modelling computes', () => {
    const c = mixtralCase(variant, prompt);
    expect(distance(mixtralReference(c, variant), Float32Array.from(interpret(c.graph, c).outputs.get('logits')!.data))).toBeLessThan(1e-5);
  });

  test('passes, staging and fusion keep it, and the graph prints and parses', () => {
    const c = mixtralCase(variant, prompt), best = optimise(c.graph), whole = outputsOf(c.graph, c);
    expect(farthest(whole, outputsOf(best, c))).toBeLessThan(1e-5);
    const printed = printGraph(best);
    expect(printGraph(parseGraph(printed))).toBe(printed);
    const staged = new StagedRun(c.graph, stageProgram(best), c);
    staged.say(c, [4, 7]);
    expect(staged.worst).toBeLessThan(1e-5);
  });
});

test('one kernel group computes gate and up of the chosen experts, and the mixing takes the residual in', () => {
  const c = mixtralCase('self', [{ kind: 'text', length: 5 }]), fused = fuse.run(optimise(c.graph));
  verify(fused, { pass: 'fuse' });
  const bodies = fused.nodes.filter((n) => n.body).map((n) => `${String(n.attrs['family'])}: ${n.body!.nodes.map((m) => m.op).join(' ')}`);
  // In the last layer one row is left.
  expect(bodies.filter((b) => /mix_experts|expert_linear|top_k/.test(b))).toEqual([
    'experts: expert_linear silu expert_linear mul', 'experts: expert_linear', 'elementwise: mix_experts add',
    'matmul: rms_norm linear top_k', 'experts: rms_norm expert_linear silu expert_linear mul', 'experts: expert_linear mix_experts add',
  ]);
  expect(fused.nodes.filter((n) => n.op === 'top_k' || n.op === 'rms_norm').map((n) => n.op)).toEqual(['rms_norm', 'top_k']);
  expect(farthest(outputsOf(c.graph, c), outputsOf(fused, c))).toBeLessThan(1e-5);
});

test('a token takes the same work in fewer kernels, and no more bytes than the values between them cost', () => {
  const staged = stageProgram(optimise(mixtralCase('self', prompt).graph)), exact = conventionNamed('exact');
  const sums = (p: typeof staged) => {
    const cost = programCost(p, exact), dims = cost.dims({ dims: { V: 4, T: 5 }, generate: 1 }), ops = cost.ops.filter((op) => op.entry === 'decode');
    const sum = (of: (op: (typeof ops)[number]) => bigint): bigint => ops.reduce((n, op) => n + of(op), 0n);
    return { flops: sum((op) => op.counts.matmul?.evaluate(dims) ?? 0n), weights: sum((op) => op.traffic.weights.evaluate(dims)), written: sum((op) => op.traffic.written.evaluate(dims)) };
  };
  const apart = sums(staged), fused = sums(fuseProgram(staged)), { hidden_size: h, num_hidden_layers: L } = tinyMixtral;
  expect(fused.flops).toBe(apart.flops);
  // Router and experts each read the gain of the norm that they share.
  expect(fused.weights).toBe(apart.weights + BigInt(4 * h * L));
  expect(fused.written).toBeLessThan(apart.written);
});

test("only the chosen experts' work is counted, and one row reads their weights alone", () => {
  const of = (config: object) => trace(createModel(familyOf({ ...tinyMixtral, ...config }), { ...tinyMixtral, ...config })).graph;
  const total = (config: object): bigint => flops(of(config), { visual: 0, text: 10 }).total;
  const { hidden_size: h, intermediate_size: m, num_hidden_layers: L } = tinyMixtral;
  // One more expert adds its column of the router, one more choice three products a row; in the last layer one row is left.
  expect(total({ num_local_experts: 8 }) - total({})).toBe(BigInt(2 * h * (10 + 1)));
  expect(total({ num_experts_per_tok: 4 }) - total({})).toBe(BigInt(2 * 3 * h * m * (10 + 1)));
  const cost = programCost(stageProgram(optimise(of({}))), conventionNamed('exact'));
  const dims = cost.dims({ dims: { V: 0, T: 10 }, generate: 1 });
  const weights = (entry: string): bigint => cost.ops.filter((op) => op.entry === entry && op.node.op === 'expert_linear').reduce((n, op) => n + op.traffic.weights.evaluate(dims), 0n);
  expect(weights('decode')).toBe(BigInt(4 * 3 * 3 * h * m * L));
  // Of the last layer prefill computes one row, of the one before ten.
  expect(weights('prefill')).toBe(BigInt(4 * (7 + 3) * 3 * h * m));
});

test('a checkpoint with the matrices of all experts in one tensor holds the same as one with a tensor for each', async () => {
  const read = async (layout: 'older' | 'newer') => {
    const folder = await writeTinyFolder(join(parent, layout), 'mixtral', { layout }), model = (await findModel(folder)).create('self'), checkpoint = await openCheckpoint(folder, trace(model).parameters);
    const weights = await weightsOf(model, checkpoint), { names } = checkpoint.files, source = checkpoint.files.source(checkpoint.nameOf('model.layers.1.block_sparse_moe.experts.3.w3.weight'));
    await checkpoint.files.close();
    return { weights, names, source };
  };
  const older = await read('older'), newer = await read('newer');
  expect(newer.names.length).toBeLessThan(older.names.length);
  expect(newer.names).toContain('model.layers.0.mlp.experts.gate_up_proj');
  expect(newer.weights).toEqual(older.weights);
  expect(newer.source).toMatchObject({ name: 'model.layers.1.mlp.experts.gate_up_proj[3, part 1]', shape: [24, 16] });

  const folder = join(parent, 'newer'), { parameters: wanted } = trace((await findModel(folder)).create('self'));
  await expect(openCheckpoint(folder, wanted.map((p) => (p.name.endsWith('.0.w1.weight') ? { ...p, shape: [20, 16] } : p)))).rejects.toThrow(/Tensor 'model\.layers\.0\.mlp\.experts\.gate_up_proj' of .* is \[5, 48, 16\], and the model's config asks for at least 1 matrices of \[40, 16\] in it/);
});
