/** The child process of `node-probe.ts`: finds one kind of adapter, runs a small kernel on it, prints one line of JSON. */
import { reasonOf } from './errors.ts';
import { findAdapter, type AdapterPreference } from './node-adapter.ts';
import type { Probe } from './node-probe.ts';

const COUNT = 256;
const COPY_DST = 8, COPY_SRC = 4, MAP_READ = 1, STORAGE = 128; // Node has no global GPUBufferUsage
const KERNEL = `
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { out[id.x] = id.x * id.x + 7u; }`;

async function computes(device: GPUDevice): Promise<boolean> {
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code: KERNEL }) } });
  const buffer = device.createBuffer({ size: COUNT * 4, usage: STORAGE | COPY_SRC });
  const readback = device.createBuffer({ size: COUNT * 4, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] }));
  pass.dispatchWorkgroups(COUNT / 64);
  pass.end();
  encoder.copyBufferToBuffer(buffer, 0, readback, 0, COUNT * 4);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(MAP_READ);
  return new Uint32Array(readback.getMappedRange()).every((v, i) => v === i * i + 7);
}

async function look(kind: AdapterPreference): Promise<Probe> {
  const start = performance.now();
  try {
    const found = await findAdapter({ prefer: kind });
    const limits: Record<string, number> = {};
    for (const key in found.adapter.limits) {
      const value: unknown = found.adapter.limits[key as keyof GPUSupportedLimits];
      if (typeof value === 'number') limits[key] = value;
    }
    const features = [...found.adapter.features].sort();
    const opened = await found.open();
    const right = await opened.guard(computes(opened.device));
    opened.close();
    return { kind: found.kind === 'software' ? kind : found.kind, found: true, name: found.name, why: found.why, features, limits, computes: right, milliseconds: Math.round(performance.now() - start) };
  } catch (error) {
    return { kind, found: false, reason: reasonOf(error) };
  }
}

console.log(JSON.stringify(await look(process.argv[2] as AdapterPreference)));
