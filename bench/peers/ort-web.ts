/** onnxruntime-web's WebGPU execution provider on our adapter. Run with `--liftoff-only`: Node 20 stalls while V8 optimises its wasm. */
import * as ort from 'onnxruntime-web/webgpu';
import type { Case } from '../compare/cases.ts';
import type { Ready, Runner } from '../compare/runner.ts';
import { serve } from '../compare/runner.ts';
import { f16ToF32 } from '../../runtime/half.ts';
import { browserGlobals, versionOf, watch } from './adapter.ts';
import { stored } from './onnx.ts';
import { ortModel, ortVariants } from './ort-graphs.ts';

const options = { checkedOnly: false, sharedCache: true };
const usage = 0x4 /* COPY_SRC */ | 0x8 /* COPY_DST */ | 0x80 /* STORAGE */;
let check: (() => void) | undefined;

async function prepare(c: Case, variant: string): Promise<Ready> {
  const m = ortModel(c, variant, options), type = c.precision === 'f16' ? 'float16' : 'float32', bytes = c.precision === 'f16' ? 2 : 4;
  const session = await ort.InferenceSession.create(m.bytes, {
    executionProviders: [{ name: 'webgpu', preferredLayout: 'NHWC' }], preferredOutputLocation: 'gpu-buffer', graphOptimizationLevel: 'all',
    extra: { session: { disable_cpu_ep_fallback: '1' } }, logSeverityLevel: 3,
  });
  const device = await ort.env.webgpu.device as GPUDevice, made: GPUBuffer[] = [];
  check ??= watch(device);
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const buffer = (shape: readonly number[], data?: Float32Array): GPUBuffer => {
    const b = device.createBuffer({ size: Math.ceil((size(shape) * bytes) / 16) * 16, usage });
    if (data) { const s = stored(data, c.precision); device.queue.writeBuffer(b, 0, s.buffer as ArrayBuffer, s.byteOffset, Math.floor(s.byteLength / 4) * 4); }
    made.push(b);
    return b;
  };
  const onDevice = (b: GPUBuffer, shape: readonly number[]) => ort.Tensor.fromGpuBuffer(b, { dataType: type, dims: shape });
  const fixed: Record<string, ort.Tensor> = {}, fetches: Record<string, ort.Tensor> = {}, uploads: [string, Float32Array | Uint16Array, readonly number[]][] = [];
  for (const i of m.inputs) {
    if (i.fixed) fixed[i.name] = onDevice(buffer(i.shape, i.data), i.shape);
    else uploads.push([i.name, stored(i.data, c.precision), i.shape]);
  }
  for (const s of m.shared) {
    const b = buffer(s.shape, s.data);
    fixed[s.name] = onDevice(b, s.shape);
    fetches[s.present] = onDevice(b, s.shape);
  }
  const result = buffer(m.output.shape);
  fetches[m.output.name] = onDevice(result, m.output.shape);
  const run = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const given = Object.fromEntries(uploads.map(([name, data, shape]) => [name, new ort.Tensor(type, data as Float32Array, shape)]));
      await session.run({ ...fixed, ...given }, fetches);
    }
    await device.queue.onSubmittedWorkDone();
    check!();
  };
  const rows = async (wanted: readonly number[]): Promise<Float32Array> => {
    const staging = device.createBuffer({ size: result.size, usage: 0x1 | 0x8 }), encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(result, 0, staging, 0, result.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(0x1);
    const raw = staging.getMappedRange().slice(0), all = c.precision === 'f16' ? f16ToF32(new Uint16Array(raw)) : new Float32Array(raw), width = m.output.shape[2]!;
    staging.destroy();
    return Float32Array.from(wanted.flatMap((r) => Array.from(all.subarray(r * width, (r + 1) * width))));
  };
  return { run, rows, release: async () => { await session.release(); for (const b of made) b.destroy(); } };
}

const runner: Runner = {
  async open() {
    const found = await browserGlobals();
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = 'error';
    return {
      versions: { 'onnxruntime-web': versionOf('onnxruntime-web') }, adapter: found.name, toggles: [...found.toggles, 'node --liftoff-only'], half: found.adapter.features.has('shader-f16'),
      notes: 'weights, results and the cache stay on the device; layers upload their rows in each call, products and attention have theirs there; until onSubmittedWorkDone',
    };
  },
  variants: (c) => ortVariants(c, options),
  prepare,
};
serve(runner);
