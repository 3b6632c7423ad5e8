/** Compiles kernels, all at once; each file is checked against its hash first. */
import type { Bundle } from './bundle.ts';
import { readChecked } from './bundle.ts';
import { RuntimeError, reasonOf } from './errors.ts';
import type { Target } from './manifest.ts';

// The flag by value: Node has no global GPUShaderStage.
const compute = 0x4;

export interface Compiled { readonly pipeline: GPUComputePipeline; readonly layout: GPUBindGroupLayout }

/** What a scope catches around calls that wait for nothing: scopes nest by call, and weights may be uploaded at the same time. */
export async function caught(device: GPUDevice, filter: GPUErrorFilter, work: () => void): Promise<GPUError | null> {
  device.pushErrorScope(filter);
  let scope: Promise<GPUError | null>;
  try {
    work();
  } finally {
    scope = device.popErrorScope();
  }
  return scope;
}

/** Both values, or the first failure, once neither is under way. */
async function settled<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}

/** @throws RuntimeError `device` when the device refuses a kernel, `bundle` when a kernel file was changed. */
export async function createPipelines(bundle: Bundle, target: Target, device: GPUDevice, wanted: Iterable<string>): Promise<Map<string, Compiled>> {
  const types = { read: 'read-only-storage', read_write: 'storage', uniform: 'uniform' } as const;
  // All of them end before the first failure is told: whoever hears of it may close the device, and Dawn's threads die of that.
  const made = await Promise.allSettled([...new Set(wanted)].map(async (id) => {
    const kernel = target.kernels[id];
    if (!kernel) throw new RuntimeError('bundle', `${bundle.label}: a dispatch names the kernel '${id}', which the bundle does not have. Compile it anew.`);
    const code = new TextDecoder().decode(await readChecked(bundle, kernel));
    let module!: GPUShaderModule, layout!: GPUBindGroupLayout, making!: Promise<GPUComputePipeline>;
    const scope = caught(device, 'validation', () => {
      module = device.createShaderModule({ label: id, code });
      layout = device.createBindGroupLayout({ label: id, entries: kernel.bindings.map((access, binding) => ({ binding, visibility: compute, buffer: { type: types[access] } })) });
      making = device.createComputePipelineAsync({ label: id, layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module } });
    });
    try {
      const [pipeline, invalid] = await settled(making, scope);
      if (invalid) throw invalid;
      return [id, { pipeline, layout }] as const;
    } catch (cause) {
      const { messages } = await module.getCompilationInfo();
      const first = messages.find((m) => m.type === 'error');
      throw new RuntimeError('device', `The device does not accept the kernel ${bundle.label}/${kernel.file}: ${first ? `line ${first.lineNum}, column ${first.linePos}: ${first.message}` : reasonOf(cause)}.`, { cause });
    }
  }));
  const failed = made.find((m) => m.status === 'rejected');
  if (failed) throw failed.reason;
  return new Map(made.flatMap((m) => (m.status === 'fulfilled' ? [m.value] : [])));
}
