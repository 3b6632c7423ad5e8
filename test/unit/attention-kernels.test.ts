import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AttentionExchangeSchedule } from '../../compiler/schedule/attention-exchange.ts';
import { attentionDefault, attentionSpace, whyNotAttention } from '../../compiler/schedule/attention-schedule.ts';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { defaultLimits, leastFacts } from '../../compiler/schedule/device-facts.ts';
import { attentionKernels, attentionShape } from '../../compiler/wgsl/attention.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import { cases, exchangeSchedules, oddSchedules } from '../support/attention-cases.ts';
import { attentionCase, defaultOf, kernelsOf } from '../support/attention.ts';
import { buildKernel } from '../support/gpu.ts';

let found: FoundAdapter, f32: OpenDevice, f16: OpenDevice, exchanging: OpenDevice;
beforeAll(async () => {
  found = await findAdapter({ prefer: 'null' });
  // WebGPU's default limits: what every device allows. One device without features, one with f16, one with subgroups too.
  [f32, f16, exchanging] = [await found.open({ features: [], limits: {} }), await found.open({ features: ['shader-f16'], limits: {} }), await found.open({ features: ['shader-f16', 'subgroups'], limits: {} })];
});
afterAll(() => { f32.close(); f16.close(); exchanging.close(); });

/** A device whose subgroups have just this size. */
const ofSubgroups = (size: number): DeviceFacts => ({ ...leastFacts('software', ['shader-f16', 'subgroups']), subgroups: { min: size, max: size } });

describe('every kernel validates on a device with default limits', () => {
  for (const [i, [name, options]] of Object.entries(cases).entries()) {
    test(name, async () => {
      const c = attentionCase(options), device = c.features.length ? f16.device : f32.device;
      for (const schedule of [defaultOf(c, 'software'), defaultOf(c, 'gpu'), ...Object.values(oddSchedules)])
        for (const kernel of kernelsOf(c, schedule)) {
          expect(kernel.bindings.filter((b) => b.access !== 'uniform').length).toBeLessThanOrEqual(8);
          await buildKernel(device, kernel);
        }
      for (const lanes of [4, 8]) for (const schedule of Object.values(exchangeSchedules(lanes)).filter((_, n, all) => n === (i + lanes) % all.length)) for (const kernel of kernelsOf(c, schedule, ofSubgroups(lanes))) {
        expect(kernel.wgsl).not.toMatch(/Barrier|var<workgroup>/);
        expect(kernel.features.includes('subgroups')).toBe(kernel.family === 'attention');
        await buildKernel(exchanging.device, kernel);
      }
    });
  }

  test('in all storages of queries, keys and results', async () => {
    for (const q of ['f32', 'f16', 'f16x2'] as const) for (const kv of ['f32', 'f16', 'f16x2'] as const) for (const out of ['f32', 'f16', 'f16x2'] as const) {
      const c = attentionCase({ mask: 'k.pos <= q.pos', parts: [{ kind: 'text', length: 3 }], headDim: 32, queryKinds: ['text'], storage: { q, kv, out } });
      const device = c.features.length ? f16.device : f32.device;
      for (const schedule of [defaultOf(c, 'software'), oddSchedules['split keys']!]) for (const kernel of kernelsOf(c, schedule)) {
        expect(kernel.features).toEqual(kernel.wgsl.includes('f16>') || kernel.wgsl.includes('<f16') ? ['shader-f16'] : []);
        await buildKernel(device, kernel);
      }
    }
  });

  test('with everything bound read_write that may be', async () => {
    const c = attentionCase({ mask: 'k.pos <= q.pos', parts: [{ kind: 'text', length: 3 }], headDim: 32, queryKinds: ['text'] });
    for (const kernel of attentionKernels(c.spec, defaultOf(c, 'software'), { dims: c.dimsOrder, features: new Set(), readWrite: new Set(['q', 'k', 'v', 'out']) })) {
      expect(kernel.bindings.filter((b) => b.access === 'read').map((b) => b.name).sort()).toEqual(['rows', 'spans']);
      await buildKernel(f32.device, kernel);
    }
  });

  test('for heads of every usual size', async () => {
    for (const headDim of [8, 11, 14, 16, 32, 40, 64, 72, 80, 88, 96, 112, 128, 160, 192, 256]) {
      const c = attentionCase({ mask: 'k.pos <= q.pos', parts: [{ kind: 'text', length: 1 }], heads: 2, headDim, queryKinds: ['text'] });
      for (const device of ['software', 'gpu'] as const) for (const kernel of kernelsOf(c, defaultOf(c, device))) await buildKernel(f32.device, kernel);
    }
  });
});

test('a sample of the schedules that a tuner may try validates', async () => {
  const c = attentionCase(cases['composite, image in the past']!);
  const space = attentionSpace(attentionShape(c.spec), leastFacts('gpu'));
  expect(space.length).toBeGreaterThan(100);
  for (let i = 0; i < space.length; i += 23) for (const kernel of kernelsOf(c, space[i]!)) await buildKernel(f32.device, kernel);
}, 60_000);

test('exchange is offered for adapters that run on a CPU and tell the size of their subgroups, as large as those', async () => {
  const c = attentionCase(cases['composite, image in the past']!), shape = attentionShape(c.spec);
  const offered = (facts: DeviceFacts) => attentionSpace(shape, facts).filter((s) => s.form === 'exchange');
  for (const lanes of [4, 8]) {
    expect(offered(ofSubgroups(lanes)).length).toBeGreaterThan(8);
    for (const s of offered(ofSubgroups(lanes))) {
      expect(s.lanes).toBe(lanes);
      for (const kernel of kernelsOf(c, s, ofSubgroups(lanes))) await buildKernel(exchanging.device, kernel);
    }
  }
  expect(offered(leastFacts('software', ['subgroups']))).toEqual([]);
  expect(offered({ ...ofSubgroups(8), features: new Set() })).toEqual([]);
  expect(offered({ ...ofSubgroups(8), class: 'gpu' })).toEqual([]);
  expect(attentionSpace({ ...shape, headDim: 2048, valueDim: 2048 }, ofSubgroups(8)).filter((s) => s.form === 'exchange')).toEqual([]);
}, 60_000);

describe('the text holds no more than the mask needs', () => {
  const textOf = (o: Parameters<typeof attentionCase>[0]): string => { const c = attentionCase(o); return kernelsOf(c, defaultOf(c, 'gpu'))[0]!.wgsl; };
  const parts = [{ kind: 'visual' as const, length: 3 }, { kind: 'text' as const, length: 2 }];

  test('a full mask asks nothing and reads no row data', () => {
    const text = textOf({ mask: 'true', parts });
    expect(text).not.toMatch(/mask_|rows\[|tokens\[/);
  });
  test('kinds that no query may read are passed over', () => {
    const text = textOf({ mask: 'k.kind == text && k.pos <= q.pos', parts, queryKinds: ['text'] });
    expect(text).toContain('if (!(place.z == 1i)) { continue; }');
  });
  test('kinds that every query may read are read whole', () => {
    const text = textOf({ mask: 'k.kind == visual || k.pos <= q.pos', parts });
    expect(text).toContain('if (place.z == 0i) { whole = 2u; }');
    expect(text).not.toContain('k.y');
  });
  test('the composite mask is causal for text queries', () => {
    const text = textOf({ mask: 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos', parts, queryKinds: ['text'] });
    expect(text).toContain('return (k.x <= q.x);');
  });
  test('no text depends on a number of tokens', () => {
    expect(textOf({ mask: 'k.pos <= q.pos', parts })).toBe(textOf({ mask: 'k.pos <= q.pos', parts: [...parts, { kind: 'text', length: 90 }] }));
  });
});

test('schedules that cannot run are refused with the reason', () => {
  const c = attentionCase({ mask: 'true', parts: [{ kind: 'text', length: 3 }], headDim: 128 }), good = defaultOf(c, 'gpu');
  expect(() => kernelsOf(c, { ...good, lanes: 128 })).toThrow(/512 invocations exceed the device's 256/);
  expect(() => kernelsOf(c, { ...good, rowsPerThread: 32 })).toThrow(/bytes of workgroup memory exceed the device's 16384/);
  expect(() => kernelsOf(c, { ...good, valueGroups: 3 })).toThrow(/3 value groups do not share 16 lanes evenly/);
  expect(() => attentionKernels(c.spec, { ...good, splits: 2, splitRows: 64 }, { dims: c.dimsOrder, features: new Set() })).toThrow(/needs scratch memory/);
  expect(kernelsOf(c, { ...good, lanes: 32, rowGroups: 16, rowsPerThread: 1 }, { ...leastFacts('gpu'), limits: { ...defaultLimits, maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024 } })).toHaveLength(1);
});

test('exchange is refused where lanes are in no common subgroup, with the reason', () => {
  const shape = attentionShape(attentionCase({ mask: 'true', parts: [{ kind: 'text', length: 3 }], headDim: 64 }).spec), good = exchangeSchedules(8)['split keys']!;
  const whyNot = (change: Partial<AttentionExchangeSchedule>, facts = ofSubgroups(8)): string | undefined => whyNotAttention({ ...good, ...change }, shape, facts);
  expect(whyNot({})).toBeUndefined();
  expect(whyNot({ lanes: 16 })).toBe('A team of 16 lanes does not fit into a subgroup, which may have 8 only.');
  expect(whyNot({ lanes: 12 })).toMatch(/power of two from 4 to 32/);
  expect(whyNot({ keysPerThread: 0 })).toMatch(/keysPerThread is 0/);
  expect(whyNot({ splitRows: 2 })).toMatch(/too few for 4 splits/);
  expect(whyNot({}, leastFacts('software', ['subgroups']))).toMatch(/size of the device's subgroups is not known/);
  expect(whyNot({}, { ...ofSubgroups(8), features: new Set() })).toMatch(/need the feature subgroups/);
});

test('defaults exist for huge heads too', () => {
  for (const headDim of [512, 1000, 2048]) for (const device of ['software', 'gpu'] as const)
    expect(() => attentionDefault({ heads: 1, kvHeads: 1, headDim, valueDim: headDim, vector: 4, fewQueries: false, masked: true }, leastFacts(device))).not.toThrow();
});
