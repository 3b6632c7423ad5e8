/** Weights by op add up to the checkpoint; towers count what operator-level counters count. */
import { describe, expect, test } from 'vitest';
import { conventions } from '../../compiler/cost/conventions.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import { compiled, uniform } from '../../compiler/cost/storage.ts';
import { bytesOf, weightBytes } from '../../compiler/cost/traffic.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph, Node } from '../../compiler/ir/index.ts';
import { leafName, program } from '../../compiler/ir/index.ts';
import { countParameters } from 'eemllm';
import { openModel } from '../../compiler/load-model.ts';
import { builtinNames } from '../../models/index.ts';
import { countedProgram, modelCosts } from '../../passes/cost-program.ts';
import { flops } from '../../passes/flops.ts';

const exact = conventions['exact']!;
const bytes = (nodes: Iterable<Node>, bits: number): bigint => [...nodes].reduce((sum, n) => sum + bytesOf(n, uniform(bits)).evaluate({}), 0n);

test.each(builtinNames)('%s: the bytes of weights, op by op, are the checkpoint\'s', async (name) => {
  const model = (await openModel(name)).create(), { graph } = trace(model), parameters = BigInt(countParameters(model));
  // As the author wrote it: every parameter is held by the first op that reads it, or read by none.
  const written = programCost(program([graph]), exact).ops, held = written.flatMap((op) => op.holds);
  const unread = [...graph.weights.values()].filter((w) => !graph.nodes.some((n) => n.inputs.includes(w)));
  expect(new Set(held.map(leafName)).size).toBe(held.length);
  expect(bytes([...held, ...unread], 16)).toBe(2n * parameters);
  expect(weightBytes(graph, uniform(16)).evaluate({})).toBe(2n * parameters);
  // As it is compiled: what is left of them, each once, however many entry points read it.
  const { ops, kernels } = modelCosts(graph, exact), kept = new Map([...ops.program.graphs.values()].flatMap((g) => [...g.weights]));
  for (const cost of [ops, kernels]) expect(bytes(cost.ops.flatMap((op) => op.holds), 16)).toBe(bytes(kept.values(), 16));
});

test('a token reads each matrix of the decoder once, in the width that it is stored in', async () => {
  const { graph } = trace((await openModel('qwen2-0.5b')).create()), cost = programCost(countedProgram(graph, exact), exact, { memory: { storage: compiled.f16 } });
  const decode = cost.ops.filter((op) => op.entry === 'decode'), at = cost.dims({ dims: { V: 0, T: 10 }, generate: 1 }), read = decode.reduce((sum, op) => sum + op.traffic.weights.evaluate(at), 0n);
  // Tied: the head reads the table whole, the embedding one row of it. Biases and gains are f32.
  const vectors = 24n * (2n * 896n + 896n + 2n * 128n) + 896n, matrices = 494_032_768n - vectors;
  expect(read).toBe(2n * matrices + 4n * vectors + 2n * 896n);
});

/** Sums of products over the operators of a vision transformer, as PyTorch's counter has them: 2 a multiply-add. */
const vit = ({ rows, patches, width, mlp, layers, patch }: Record<'rows' | 'patches' | 'width' | 'mlp' | 'layers' | 'patch', number>): bigint => {
  const [n, P, w, f, L, p] = [rows, patches, width, mlp, layers, patch].map(BigInt) as [bigint, bigint, bigint, bigint, bigint, bigint];
  return 2n * P * 3n * p * p * w + L * (2n * n * (4n * w * w + 2n * w * f) + 4n * n * n * w);
};

describe('towers, operator by operator (open_clip model_profile.csv; PyTorch FLOP counter)', () => {
  const tower = async (name: string): Promise<bigint> => flops(trace((await openModel(name)).create()).graph, { visual: 0, text: 0, convention: 'flopcounter' }).parts.vision;
  test('CLIP ViT-L/14-336, to the last digit; with the output projection as printed', async () => {
    const ours = await tower('clip-vit-l-14-336');
    expect(ours).toBe(vit({ rows: 577, patches: 576, width: 1024, mlp: 4096, layers: 24, patch: 14 }));
    expect(Number(ours + 2n * 1024n * 768n) / 1e9).toBeCloseTo(381.92, 2);
  });
  test('CLIP ViT-L/14 at 224', async () => {
    const ours = await tower('clip-vit-l-14');
    expect(ours).toBe(vit({ rows: 257, patches: 256, width: 1024, mlp: 4096, layers: 24, patch: 14 }));
    expect(Number(ours + 2n * 1024n * 768n) / 1e9).toBeCloseTo(162.03, 2);
  });
  test('SigLIP so400m at 384, to the last digit, with its attention-pooling head', async () => {
    const ours = await tower('siglip-so400m-14-384');
    const w = 1152n, f = 4304n, n = 729n;
    // The head: one probe attends to all rows; its query, the keys and values, the product, the output, the feed-forward.
    const head = 2n * (w * w + 2n * n * w * w + w * w + 2n * w * f) + 4n * n * w;
    expect(Number(head) / 1e9).toBeCloseTo(3.9, 2);
    expect(ours).toBe(vit({ rows: 729, patches: 729, width: 1152, mlp: 4304, layers: 27, patch: 14 }) + head);
    expect(Number(ours) / 1e9).toBeCloseTo(670.35, 2);
    // No language model reads the pooled vector.
    expect(flops(trace((await openModel('siglip-so400m-14-384')).create()).graph, { visual: 0, text: 0, convention: 'dense' }).parts.vision).toBe(ours - head);
  });
  test('the tower inside LLaVA-1.5 is the tower without its last layer, unless a convention counts that too', async () => {
    const { graph } = trace((await openModel('llava-1.5-7b')).create()) as { graph: Graph }, of = (convention: string): bigint => flops(graph, { visual: 576, text: 1, convention }).parts.vision;
    expect(of('flopcounter')).toBe(await tower('clip-vit-l-14-336'));
    expect(of('dense')).toBe(vit({ rows: 577, patches: 576, width: 1024, mlp: 4096, layers: 23, patch: 14 }));
  });
});
