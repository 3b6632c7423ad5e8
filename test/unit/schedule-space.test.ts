/** Every family's space on Dawn's null backend, which compiles and validates: schedules drawn from it, or with EEMLLM_SPACE=all each of them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { defaultLimits, leastFacts } from '../../compiler/schedule/device-facts.ts';
import { familyNames } from '../../compiler/schedule/wanted.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { buildKernel } from '../support/gpu.ts';
import { drawn, trialsOf } from '../support/schedule-spaces.ts';

const everything = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
const square = (n: number, component: 'f32' | 'f16') => ({ M: n, N: n, K: n, component, result: 'f32' as const });
/** A device with nothing beyond the defaults, and two with all that kernels can use: 16×16×16 in subgroups of 32, 8×8×8 in smaller ones. */
const devices: Readonly<Record<string, { readonly facts: DeviceFacts; readonly open: { readonly features: readonly string[]; readonly limits?: Record<string, number> } }>> = {
  'the most modest device': { facts: leastFacts('gpu'), open: { features: [], limits: {} } },
  'matrices of 16': { facts: { class: 'gpu', limits: defaultLimits, features: new Set(everything), subgroups: { min: 32, max: 32 }, subgroupMatrix: [square(16, 'f16')] }, open: { features: everything } },
  'matrices of 8': { facts: { class: 'gpu', limits: defaultLimits, features: new Set(everything), subgroups: { min: 4, max: 32 }, subgroupMatrix: [square(8, 'f16'), square(8, 'f32')] }, open: { features: everything } },
};

describe.each(Object.entries(devices))('%s', (_name, { facts, open: options }) => {
  let found: FoundAdapter | undefined, open: OpenDevice;
  beforeAll(async () => { found = await findAdapter({ prefer: 'null' }); open = await found.open(options); });
  afterAll(() => { open.close(); found = undefined; });
  const draw = drawn(6);
  test.each(familyNames)(`%s: schedules compile, seed ${draw.seed}`, { timeout: 3_600_000 }, async (family) => {
    const wrong: string[] = [], trials = trialsOf(family, facts, draw);
    for (const t of trials) {
      try {
        for (const k of t.kernels()) if (k.bindings.filter((b) => b.access !== 'uniform').length <= open.limits.maxStorageBuffersPerShaderStage) await buildKernel(open.device, k);
      } catch (e) {
        wrong.push(`${t.name}: ${(e as Error).message}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(trials.length).toBeGreaterThan(0);
  });
});
