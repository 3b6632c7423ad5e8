/** TensorFlow.js' WebGPU backend on our adapter, f32 alone. Every op is a dispatch or more; attention is matMul, softmax, matMul. */
import * as tf from '@tensorflow/tfjs-core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Case, LayerCase } from '../compare/cases.ts';
import { activations, bias, causalBias, layerShapes, layerWeights, normEpsilon, productWeight, rotary, shifted, shifts } from '../compare/cases.ts';
import { keysAndValues } from '../compare/reference.ts';
import type { Ready, Runner } from '../compare/runner.ts';
import { serve } from '../compare/runner.ts';
import { browserGlobals, versionOf, watch } from './adapter.ts';

let check: () => void, backend: WebGPUBackend;

interface Built { readonly rows: Float32Array; readonly shape: readonly [number, number]; readonly upload: boolean; readonly fixed: tf.Tensor[]; readonly call: (x: tf.Tensor2D) => tf.Tensor }

/** Heads first: q `[heads, queries, d]`, k and v `[heads, keys, d]`. */
const attend = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, headDim: number, mask?: tf.Tensor): tf.Tensor => {
  const scores = tf.matMul(tf.mul(q, 1 / Math.sqrt(headDim)), k, false, true);
  return tf.matMul(tf.softmax(mask ? tf.add(scores, mask) : scores), v);
};
const byHead = (y: tf.Tensor, rows: number, heads: number, headDim: number): tf.Tensor => tf.transpose(tf.reshape(y, [rows, heads, headDim]), [1, 0, 2]);
const joined = (y: tf.Tensor, rows: number, width: number): tf.Tensor => tf.reshape(tf.transpose(y, [1, 0, 2]), [rows, width]);

function build(c: Case, variant: string): Built {
  const x = activations(c);
  if (c.kind === 'product') {
    const w = tf.tensor2d(productWeight(c), [c.outputs, c.inner]);
    return { rows: x, shape: [c.rows, c.inner], upload: false, fixed: [w], call: (y) => tf.matMul(y, w, false, true) };
  }
  if (c.kind === 'attention') {
    const width = c.heads * c.headDim, shape = [c.length, width] as [number, number], k = tf.tensor2d(shifted(x, width, shifts.keys), shape), v = tf.tensor2d(shifted(x, width, shifts.values), shape), mask = tf.tensor2d(causalBias(c.length, c.precision), [c.length, c.length]);
    const heads = (y: tf.Tensor): tf.Tensor => byHead(y, c.length, c.heads, c.headDim);
    return { rows: x, shape, upload: false, fixed: [k, v, mask], call: (q) => joined(attend(heads(q), heads(k), heads(v), c.headDim, mask), c.length, width) };
  }
  return layer(c, variant === 'split by hand');
}

function layer(c: LayerCase, split: boolean): Built {
  const { hidden, heads, kvHeads, headDim } = c.widths, half = headDim / 2, q = heads * headDim, decode = c.step === 'decode', length = c.visual + c.text, rows = decode ? 1 : length, first = decode ? length : 0, queries = split ? c.text : rows;
  const data = layerWeights(c), shapes = layerShapes(c.widths), fixed: tf.Tensor[] = [], keep = <T extends tf.Tensor>(t: T): T => { fixed.push(t); return t; };
  const w = Object.fromEntries(Object.entries(shapes).map(([n, s]) => [n, keep(tf.tensor(data[n as keyof typeof data], [...s]))])) as Record<keyof typeof shapes, tf.Tensor>;
  const angles = rotary(length + 1, headDim), part = (a: Float32Array): tf.Tensor => keep(tf.tensor(a.slice(first * half, (first + rows) * half), [1, rows, half]));
  const cos = part(angles.cos), sin = part(angles.sin), mask = decode ? undefined : keep(tf.tensor(bias(c, split ? c.visual : 0, queries), [queries, length]));
  const cached = decode ? keysAndValues(c, length) : undefined;
  const past = cached && [cached.keys, cached.values].map((list) => {
    const all = new Float32Array(kvHeads * length * headDim);
    list.forEach((row, r) => { for (let i = 0; i < row.length; i++) all[(Math.floor(i / headDim) * length + r) * headDim + (i % headDim)] = row[i]!; });
    return keep(tf.tensor3d(all, [kvHeads, length, headDim]));
  });
  const multiply = (y: tf.Tensor, weight: tf.Tensor): tf.Tensor => tf.matMul(y, weight, false, true);
  const norm = (y: tf.Tensor, gain: tf.Tensor): tf.Tensor => tf.mul(tf.mul(y, tf.rsqrt(tf.add(tf.mean(tf.square(y), -1, true), normEpsilon))), gain);
  const text = (y: tf.Tensor, axis: number): tf.Tensor => (split ? (tf.split(y, [c.visual, c.text], axis)[1] as tf.Tensor) : y);
  const turn = (y: tf.Tensor, cosines: tf.Tensor, sines: tf.Tensor): tf.Tensor => {
    const [a, b] = tf.split(y, 2, -1) as [tf.Tensor, tf.Tensor];
    return tf.concat([tf.sub(tf.mul(a, cosines), tf.mul(b, sines)), tf.add(tf.mul(b, cosines), tf.mul(a, sines))], -1);
  };
  /** Every key head once for each query head that shares it. */
  const repeat = (y: tf.Tensor, n: number): tf.Tensor => (heads === kvHeads ? y : tf.reshape(tf.tile(tf.expandDims(y, 1), [1, heads / kvHeads, 1, 1]), [heads, n, headDim]));
  const call = (x: tf.Tensor2D): tf.Tensor => {
    const n = norm(x, w.inputNorm), own = byHead(multiply(n, w.v), rows, kvHeads, headDim);
    let keys = turn(byHead(multiply(n, w.k), rows, kvHeads, headDim), cos, sin), values = own;
    if (past) { keys = tf.concat([past[0]!, keys], 1); values = tf.concat([past[1]!, own], 1); }
    const count = past ? length + 1 : length, turned = turn(byHead(multiply(text(n, 0), w.q), queries, heads, headDim), text(cos, 1), text(sin, 1));
    let mixed = joined(attend(turned, repeat(keys, count), repeat(values, count), headDim, mask), queries, q);
    if (split) mixed = tf.concat([joined(repeat(tf.split(own, [c.visual, c.text], 1)[0] as tf.Tensor, c.visual), c.visual, q), mixed], 0);
    const h = tf.add(x, multiply(mixed, w.o)), m = norm(h, w.outputNorm), gate = multiply(m, w.gate);
    return tf.add(h, multiply(tf.mul(tf.mul(gate, tf.sigmoid(gate)), multiply(m, w.up)), w.down));
  };
  return { rows: activations(c).slice(first * hidden, (first + rows) * hidden), shape: [rows, hidden], upload: true, fixed, call };
}

function prepare(c: Case, variant: string): Ready {
  const b = build(c, variant), given = (): tf.Tensor2D => tf.tensor2d(b.rows, [...b.shape]), resident = b.upload ? undefined : given();
  let last: tf.Tensor | undefined;
  return {
    run: async (times) => {
      for (let i = 0; i < times; i++) {
        last?.dispose();
        last = tf.tidy(() => b.call(resident ?? given()));
      }
      backend.ensureCommandEncoderReady();
      backend.endComputePassEncoder();
      backend.submitQueue();
      await backend.queue.onSubmittedWorkDone();
      check();
    },
    rows: async (rows) => {
      const all = await last!.data(), width = all.length / last!.shape[0]!;
      return Float32Array.from(rows.flatMap((r) => Array.from(all.subarray(r * width, (r + 1) * width))));
    },
    release: () => { for (const t of [...b.fixed, resident, last]) t?.dispose(); },
  };
}

const runner: Runner = {
  async open() {
    const found = await browserGlobals(), { WebGPUBackend: Backend } = await import('@tensorflow/tfjs-backend-webgpu/dist/backend_webgpu.js');
    await import('@tensorflow/tfjs-backend-webgpu/dist/register_all_kernels.js');
    // Its own start asks for features in nested lists, which Dawn refuses.
    const { device } = await found.open({ features: ['timestamp-query'].filter((f) => found.adapter.features.has(f)) });
    backend = new Backend(device, found.adapter.info);
    tf.registerBackend('webgpu', () => backend);
    await tf.setBackend('webgpu');
    // Small tensors would be computed on the CPU.
    tf.env().set('WEBGPU_CPU_FORWARD', false);
    check = watch(device);
    return {
      versions: { '@tensorflow/tfjs-backend-webgpu': versionOf('@tensorflow/tfjs-core') }, adapter: found.name, toggles: found.toggles, half: false,
      notes: 'eager ops; weights, cache and results stay on the device; layers upload their rows in each call; until onSubmittedWorkDone',
    };
  },
  variants: (c) => (c.precision === 'f16' ? [] : c.kind === 'product' ? ['matMul'] : c.kind === 'layer' && c.mask === 'composite' ? ['split by hand', 'dense bias'] : ['matMul and softmax']),
  prepare: async (c, variant) => prepare(c, variant),
};
serve(runner);
