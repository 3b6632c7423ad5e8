/** Throughput of single kernels with the schedules that a bundle would get. Each result is checked against plain JavaScript. */
import { matmulKernel } from '../../compiler/wgsl/matmul.ts';
import { matvecKernel } from '../../compiler/wgsl/matvec.ts';
import type { MatmulSpec } from '../../compiler/wgsl/matmul.ts';
import { shapeOf } from '../../compiler/wgsl/matmul.ts';
import type { DeviceClass } from '../../compiler/schedule/matmul-defaults.ts';
import { matmulDefault, matvecDefault } from '../../compiler/schedule/matmul-defaults.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import { attentionCase, defaultOf, noise, runAttention } from '../../test/support/attention.ts';
import { runKernels } from '../../test/support/gpu.ts';

export interface KernelRow {
  readonly work: string;
  /** Median milliseconds. */
  readonly ms: number;
  /** 10⁹ FLOPs of the graph a second (2 per multiply-add; of attention only pairs that the mask admits). */
  readonly gflops: number;
  /** Largest difference from the reference. */
  readonly worstError: number;
}

/** out = A · Wᵀ, A [M, K], W [N, K], f32. One row takes the matrix-vector family. */
export async function matmulRow(device: GPUDevice, kind: DeviceClass, [M, K, N]: readonly [number, number, number], repeat: number): Promise<KernelRow> {
  const view = (binding: string, stride: number) => ({ binding, storage: 'f32' as const, stride, offset: Poly.zero });
  const spec: MatmulSpec = {
    rows: M === 1 ? Poly.of(1) : Poly.dim('T'), K, a: view('a', K), weight: { binding: 'w', storage: 'f32' },
    groups: [{ width: N, linears: 1, value: { op: 'acc', index: 0 }, out: view('out', N) }],
  };
  const options = { dims: ['T'], features: new Set<string>() };
  const kernel = M === 1 ? matvecKernel(spec, matvecDefault(shapeOf(spec), kind), options) : matmulKernel(spec, matmulDefault(shapeOf(spec), kind), options);
  const random = noise(7), a = Float32Array.from({ length: M * K }, random), w = Float32Array.from({ length: N * K }, random);
  const { ms, outputs } = await runKernels(device, [kernel], { buffers: { a, w, out: new Float32Array(M * N) }, dims: { T: M }, repeat });
  const out = outputs['out'] as Float32Array;
  let worstError = 0;
  for (let i = 0; i < 200; i++) {
    const row = (i * 7919) % M, column = (i * 104729) % N;
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[row * K + k]! * w[column * K + k]!;
    worstError = Math.max(worstError, Math.abs(sum - out[row * N + column]!));
  }
  return { work: M === 1 ? `matvec ${K}×${N}` : `matmul ${M}×${K}×${N}`, ms, gflops: (2 * M * K * N) / ms / 1e6, worstError };
}

/** Causal attention over text, and composite attention over a picture and a question. Heads of 64. */
export async function attentionRow(device: GPUDevice, kind: DeviceClass, shape: { readonly mask: 'causal' | 'composite'; readonly visual: number; readonly text: number; readonly heads: number }, repeat: number): Promise<KernelRow> {
  const { mask, visual, text, heads } = shape, headDim = 64;
  const c = attentionCase({
    mask: mask === 'causal' ? 'k.pos <= q.pos' : 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos', heads, headDim,
    parts: [...(visual ? [{ kind: 'visual' as const, length: visual }] : []), { kind: 'text', length: text }],
    ...(mask === 'composite' ? { queryKinds: ['text'] as const } : {}),
  });
  const { ms, outputs } = await runAttention(device, c, defaultOf(c, kind), repeat);
  const width = heads * headDim, out = outputs['out'] as Float32Array;
  const worstError = c.expected.reduce((w, x, i) => Math.max(w, Math.abs(x - out[width + i]!)), 0);
  const pairs = mask === 'causal' ? ((visual + text) * (visual + text + 1)) / 2 : text * visual + (text * (text + 1)) / 2;
  return { work: `${mask} attention, ${visual} visual + ${text} text, ${heads} heads of ${headDim}`, ms, gflops: (4 * pairs * width) / ms / 1e6, worstError };
}
