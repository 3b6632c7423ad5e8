/** onnxruntime-node's WebGPU execution provider: its own Dawn inside, the adapter by VK_DRIVER_FILES. Nothing may fall back to the CPU. */
import { createRequire } from 'node:module';
import type * as Ort from 'onnxruntime-node';
import type { Case } from '../compare/cases.ts';
import type { Ready, Runner } from '../compare/runner.ts';
import { serve } from '../compare/runner.ts';
import { f16ToF32 } from '../../runtime/half.ts';
import { ensureLoader } from '../../runtime/node-vulkan.ts';
import { versionOf } from './adapter.ts';
import { stored } from './onnx.ts';
import { ortModel, ortVariants } from './ort-graphs.ts';

const options = { checkedOnly: true, sharedCache: false };
let ort: typeof Ort;

async function prepare(c: Case, variant: string): Promise<Ready> {
  const m = ortModel(c, variant, options), type = c.precision === 'f16' ? 'float16' : 'float32';
  const session = await ort.InferenceSession.create(m.bytes, { executionProviders: ['webgpu'], graphOptimizationLevel: 'all', extra: { session: { disable_cpu_ep_fallback: '1' } }, logSeverityLevel: 3 });
  const feeds: Record<string, Ort.Tensor> = Object.fromEntries(m.inputs.map((i) => [i.name, new ort.Tensor(type, stored(i.data, c.precision) as Float32Array, i.shape)]));
  let last: Ort.Tensor | undefined;
  return {
    run: async (times) => { for (let i = 0; i < times; i++) last = (await session.run(feeds))[m.output.name]!; },
    rows: async () => (c.precision === 'f16' ? f16ToF32(new Uint16Array((last!.data as Uint16Array).slice().buffer)) : (last!.data as Float32Array)),
    release: () => session.release(),
  };
}

const runner: Runner = {
  async open() {
    if (process.platform === 'linux') await ensureLoader();
    // A native addon in CommonJS.
    ort = createRequire(import.meta.url)('onnxruntime-node') as typeof Ort;
    return {
      versions: { 'onnxruntime-node': versionOf('onnxruntime-node') }, half: true,
      notes: 'its own Dawn, disable_cpu_ep_fallback; uploads its inputs in each call and always copies results to the host, so models give the checked rows alone; until run() resolves',
    };
  },
  variants: (c) => ortVariants(c, options),
  prepare,
};
serve(runner);
