import { performance } from 'node:perf_hooks';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { OpenDevice } from '../../runtime/device.ts';
import { findAdapter, type FoundAdapter } from '../../runtime/node-adapter.ts';
import { probeAdapters } from '../../runtime/node-probe.ts';
import { findManifests } from '../../runtime/node-vulkan.ts';

const hasSwiftShader = process.platform === 'linux' && process.arch === 'x64';
const hasLavapipe = process.platform === 'linux' && findManifests().lavapipe.length > 0;
const STORAGE = 128;

afterEach(() => vi.unstubAllEnvs());

/** Every probe is a process of its own that has to end by itself before `probeAdapters` returns. */
describe('adapters compute', () => {
  test.runIf(hasSwiftShader)('SwiftShader, out of npm', async () => {
    const [probe] = await probeAdapters(['swiftshader']);
    expect(probe).toMatchObject({ kind: 'swiftshader', found: true, computes: true, name: expect.stringContaining('SwiftShader') });
  });

  test.runIf(hasSwiftShader)('SwiftShader, where the system has no Vulkan driver and no cache yet', async () => {
    vi.stubEnv('EEMLLM_CACHE', `/tmp/eemllm-test-${process.pid}/cache`);
    vi.stubEnv('VK_DRIVER_FILES', '/nowhere/driver.json');
    const [probe] = await probeAdapters(['auto']);
    expect(probe).toMatchObject({ kind: 'swiftshader', found: true, computes: true, why: expect.stringContaining('SwiftShader comes from npm') });
    const { rm } = await import('node:fs/promises');
    await rm(`/tmp/eemllm-test-${process.pid}`, { recursive: true });
  });

  test.runIf(hasLavapipe)('lavapipe, where Mesa is installed', async () => {
    const [probe] = await probeAdapters(['lavapipe']);
    expect(probe).toMatchObject({ kind: 'lavapipe', found: true, computes: true, features: expect.arrayContaining(['shader-f16', 'subgroups']) });
  });
});

describe('adapters that cannot be had', () => {
  test('a misspelt EEMLLM_ADAPTER is told', async () => {
    vi.stubEnv('EEMLLM_ADAPTER', 'swiftshadr');
    await expect(findAdapter()).rejects.toMatchObject({
      name: 'RuntimeError', exitCode: 1, code: 'value',
      message: 'EEMLLM_ADAPTER is "swiftshadr", and one of auto, hardware, lavapipe, swiftshader, null was expected. Correct the variable or unset it.',
    }); // prettier-ignore
  });

  test.runIf(process.platform === 'linux')('no adapter at all', async () => {
    vi.stubEnv('VK_DRIVER_FILES', '/nowhere/driver.json');
    vi.stubEnv('EEMLLM_CACHE', '/proc/nowhere');
    const [probe] = await probeAdapters(['auto']);
    expect(probe).toMatchObject({ found: false, reason: expect.stringMatching(/^No WebGPU adapter was found: VK_DRIVER_FILES .* gave no adapter; SwiftShader cannot be used: .*Set EEMLLM_CACHE.*Install Mesa's Vulkan drivers/) });
  });

  test('a driver that hangs is given up', async () => {
    const [probe] = await probeAdapters(['null'], 1);
    expect(probe).toMatchObject({ found: false, reason: expect.stringContaining('did not answer within 0.001 s') });
  });
});

describe('devices', () => {
  let found: FoundAdapter;
  const opened: OpenDevice[] = [];
  const open = async (...args: Parameters<FoundAdapter['open']>) => {
    found ??= await findAdapter({ prefer: 'null' });
    const device = await found.open(...args);
    opened.push(device);
    return device;
  };
  afterEach(() => opened.splice(0).forEach((d) => d.close()));

  test('EEMLLM_ADAPTER chooses where the code does not', async () => {
    vi.stubEnv('EEMLLM_ADAPTER', ' NULL ');
    expect(await findAdapter()).toMatchObject({ kind: 'null', software: false, why: 'EEMLLM_ADAPTER is null' });
  });

  test('have every useful feature and the highest limits, unless told otherwise', async () => {
    const full = await open();
    expect([...full.features]).toEqual(expect.arrayContaining(['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix']));
    const modest = await open({ features: [], limits: { maxStorageBufferBindingSize: 1 << 20 } });
    expect(modest.features.has('shader-f16')).toBe(false);
    const kernel = 'enable f16; @compute @workgroup_size(1) fn main() { _ = 1h; }';
    for (const [d, fine] of [[full, true], [modest, false]] as const) {
      d.device.pushErrorScope('validation');
      d.device.createShaderModule({ code: kernel });
      expect((await d.device.popErrorScope()) === null).toBe(fine);
    }
  });

  test('refuse what the adapter lacks, naming it', async () => {
    await expect(open({ features: ['shader-f64'] })).rejects.toMatchObject({ code: 'adapter', message: expect.stringContaining('lacks shader-f64') });
    await expect(open({ limits: { maxBufferSize: 2 ** 52 } })).rejects.toThrow(/allows maxBufferSize = \d+, but 4503599627370496 was asked for/);
    await expect(open({ limits: { maxBuferSize: 1 } })).rejects.toThrow(/knows no such limit/);
  });

  test('report errors that no scope caught, once', async () => {
    const onError = vi.fn();
    const d = await open({ onError });
    await expect(d.guard((async () => { d.device.createBuffer({ size: 16, usage: 0 }); await d.device.queue.onSubmittedWorkDone(); await new Promise((r) => setTimeout(r, 50)); })())).rejects.toMatchObject({ code: 'device', message: expect.stringContaining('usages must not be 0') }); // prettier-ignore
    expect(onError).toHaveBeenCalledTimes(1);
    expect(() => d.check()).not.toThrow();
    expect(await d.guard(Promise.resolve(5))).toBe(5);
  });

  test('that are lost fail what waits for them, and everything after', async () => {
    const d = await open();
    const waiting = d.guard(new Promise<never>(() => undefined));
    d.device.destroy();
    await expect(waiting).rejects.toMatchObject({ code: 'device-lost', exitCode: 1 });
    expect(() => d.check()).toThrow(expect.objectContaining({ code: 'device-lost' }));
    await expect(d.guard(Promise.resolve(1))).rejects.toMatchObject({ code: 'device-lost' });
  });
});

test.runIf(hasSwiftShader)('a long wait leaves the processor to the adapter', async () => {
  const found = await findAdapter({ prefer: 'swiftshader' });
  const { device, close } = await found.open();
  const module = device.createShaderModule({ code: `
    @group(0) @binding(0) var<storage, read_write> a: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3u) { var s = 0.0; for (var i = 0u; i < 30000u; i++) { s = s * 0.999 + f32(i ^ g.x); } a[g.x] = s; }` });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const buffer = device.createBuffer({ size: 64 * 64 * 4, usage: STORAGE });
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(64);
  pass.end();
  device.queue.submit([encoder.finish()]);
  const before = performance.eventLoopUtilization();
  await device.queue.onSubmittedWorkDone();
  const { utilization, idle, active } = performance.eventLoopUtilization(before);
  expect(idle + active).toBeGreaterThan(10); // else the kernel is too short to show anything
  expect(utilization).toBeLessThan(0.6); // without pauses between the polls it is 1
  close();
});
