/** Tokens that the kernels `argmax` and `sample` choose, beside those of the runtime's `Sampler`, on one adapter. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import type { Kernel, Storage, View } from '../../compiler/wgsl/kernel.ts';
import { argmaxKernel } from '../../compiler/wgsl/argmax.ts';
import { keptWidth, sampleKernel } from '../../compiler/wgsl/sample.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { Random } from '../../runtime/random.ts';
import type { SamplingOptions } from '../../runtime/sampling.ts';
import { chosenToken, Sampler } from '../../runtime/sampling.ts';
import { buildKernel } from './gpu.ts';

/** Logits, and how to draw from them with which random number; `undefined` takes the likeliest. */
interface Asked { readonly logits: Float32Array; readonly options: SamplingOptions; readonly random?: number }

/** A sampler whose next random number is given. */
function samplerWith(options: SamplingOptions, random: number): Sampler {
  return Object.assign(new Sampler(options), { random: { next: () => random } });
}

/** Sums in f32 may put the cut, or the place of the draw, on the other side of a token's edge, by about this share. */
const near = 3e-5;
/** True if the token's share of the draw, by the definition, reaches to within `near` of the random number. */
function isNear(logits: Float32Array, { temperature = 1, topK = 0, topP = 1 }: SamplingOptions, random: number, token: number): boolean {
  const top = Math.max(...logits), weights = Array.from(logits, (l) => Math.exp((l - top) / temperature)), sum = (ids: readonly number[]): number => ids.reduce((s, i) => s + weights[i]!, 0);
  let ids = [...weights.keys()];
  if (topK || topP < 1) ids.sort((a, b) => weights[b]! - weights[a]! || a - b);
  if (topK) ids = ids.slice(0, topK);
  return [topP * (1 - near), topP, topP * (1 + near)].some((p) => {
    const goal = p * sum(ids);
    let before = 0;
    const kept = topP < 1 ? ids.filter((i) => { const inside = before < goal; before += weights[i]!; return inside; }) : ids, at = kept.indexOf(token), all = sum(kept);
    return at >= 0 && sum(kept.slice(0, at)) / all <= random + near && sum(kept.slice(0, at + 1)) / all >= random - near;
  });
}

export function samplingSuite(kind: 'swiftshader' | 'lavapipe'): void {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: kind }); open = await found.open(); });
  afterAll(() => { open.close(); found = undefined; });

  /** What the device chooses, question by question, all submitted before anything is read. */
  async function choose(width: number, asked: readonly Asked[]): Promise<number[]> {
    const { device } = open, options = { dims: [], features: open.features };
    const view = (binding: string, stride: number, storage: Storage = 'f32'): View => ({ binding, storage, stride, offset: Poly.zero });
    const row = view('x', width), next = view('next', 1, 'i32');
    const kernels = [argmaxKernel({ row, width, out: next }, options), sampleKernel({ row, width, next, draw: 'draw', kept: view('kept', keptWidth(width)) }, options)];
    const make = (size: number, usage: number): GPUBuffer => device.createBuffer({ size: Math.ceil(size / 16) * 16, usage });
    const storage = 128 | 8 | 4 /* STORAGE | COPY_DST | COPY_SRC */;
    const buffers: Record<string, GPUBuffer> = { x: make(4 * width, storage), next: make(4, storage), draw: make(16, storage), kept: make(4 * keptWidth(width), storage) };
    const results = make(4 * asked.length, 1 | 8 /* MAP_READ | COPY_DST */);
    const ready = await Promise.all(kernels.map(async (k: Kernel) => {
      const { layout, pipeline } = await buildKernel(device, k);
      return { pipeline, group: device.createBindGroup({ layout, entries: k.bindings.map((b, binding) => ({ binding, resource: { buffer: buffers[b.name]! } })) }) };
    }));
    asked.forEach(({ logits, options: o, random }, i) => {
      device.queue.writeBuffer(buffers['x']!, 0, logits as Float32Array<ArrayBuffer>);
      const draw = random === undefined ? undefined : samplerWith(o, random).draw();
      if (draw) device.queue.writeBuffer(buffers['draw']!, 0, draw);
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      for (const { pipeline, group } of draw ? ready : ready.slice(0, 1)) { pass.setPipeline(pipeline); pass.setBindGroup(0, group); pass.dispatchWorkgroups(1); }
      pass.end();
      encoder.copyBufferToBuffer(buffers['next']!, 0, results, 4 * i, 4);
      device.queue.submit([encoder.finish()]);
    });
    await open.guard(results.mapAsync(1));
    const tokens = [...new Int32Array(results.getMappedRange().slice(0, 4 * asked.length))];
    for (const b of [results, ...Object.values(buffers)]) b.destroy();
    return tokens;
  }

  /** Logits as a model gives them: a few large, most small, some equal, some forbidden. */
  function logitsOf(width: number, random: Random): Float32Array {
    const steps = random.next() < 0.3 ? 4 : 4096, sharp = 1 + 8 * random.next();
    return Float32Array.from({ length: width }, () => {
      const u = random.next();
      return u < 0.02 ? -Infinity : Math.round((-sharp * Math.log(1 - random.next() + 1e-6) - 5) * steps) / steps;
    });
  }

  const filters: readonly SamplingOptions[] = [
    { temperature: 1 }, { temperature: 0.2 }, { temperature: 3 }, { temperature: 1, topK: 1 }, { temperature: 0.8, topK: 2 }, { temperature: 1.5, topK: 40 }, { temperature: 2, topK: 1_000_000 },
    { temperature: 1, topP: 0.9 }, { temperature: 5, topP: 0.5 }, { temperature: 1, topP: 1e-6 }, { temperature: 0.7, topK: 20, topP: 0.8 }, { temperature: 4, topK: 7, topP: 0.999 },
  ];

  test.each([1, 3, 98, 331, 5003])('of %i logits', async (width) => {
    const random = new Random(width), asked: Asked[] = [];
    for (let i = 0; i < (width > 1000 ? 3 : 8); i++) {
      const logits = logitsOf(width, random);
      logits[Math.floor(random.next() * width)] = 3; // something to choose
      asked.push({ logits, options: {} });
      for (const options of filters) for (const r of [0, random.next(), random.next(), 1 - 2 ** -53]) asked.push({ logits, options, random: r });
    }
    const tokens = await choose(width, asked);
    let other = 0;
    asked.forEach(({ logits, options, random: r }, i) => {
      if (tokens[i] === (r === undefined ? new Sampler(options) : samplerWith(options, r)).next(logits)) return;
      // At its very ends a draw falls on tokens whose weight f32 may not know.
      if (r !== undefined && r > near && r < 1 - near) other++;
      const why = `${JSON.stringify(options)}, random ${r}: token ${tokens[i]}`;
      expect(r, why).toBeDefined(); // the likeliest is the same
      expect(isNear(logits, options, r!, tokens[i]!), why).toBe(true);
    });
    expect(other / asked.length).toBeLessThan(0.01);
  });

  test('equal logits fall to the smaller id, also at the edge of a filter', async () => {
    const width = 700, logits = new Float32Array(width).fill(2), asked: Asked[] = [];
    for (let i = 0; i < 20; i++) for (const options of [{ temperature: 1 }, { temperature: 1, topK: 10 }, { temperature: 1, topP: 0.25 }]) asked.push({ logits, options, random: (i + 0.5) / 20 });
    expect(await choose(width, asked)).toEqual(asked.map(({ options, random }) => samplerWith(options, random!).next(logits)));
  });

  test('what cannot be drawn from is told as the host tells it', async () => {
    const bad = [[1, NaN, 2, Infinity], [1, Infinity, NaN], [3, 1, Infinity], [-Infinity, -Infinity], [NaN]].map((l) => Float32Array.from(l));
    for (const options of [{}, { temperature: 1 }, { temperature: 1, topK: 2 }]) for (const logits of bad) {
      const [code] = await choose(logits.length, [{ logits, options, random: 0.5 }]);
      const told = (work: () => unknown): string => { try { work(); } catch (e) { return (e as Error).message; } return 'nothing'; };
      expect(told(() => chosenToken(code!, logits.length)), String(logits)).toBe(told(() => new Sampler(options).next(logits)));
    }
  });
}
