/**
 * WebGPU in Node, through npm `webgpu` (Dawn): a hardware adapter where there is one, else Mesa's lavapipe where it is
 * installed, else SwiftShader out of npm. Nothing is kept on `globalThis`, so a process ends by itself.
 */
import { existsSync, readdirSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { openDevice, type DeviceOptions, type OpenDevice } from './device.ts';
import { RuntimeError, reasonOf } from './errors.ts';
import { spacePolls } from './node-polling.ts';
import { ensureLoader, findManifests, hasLoader, loadSwiftShader, withDrivers } from './node-vulkan.ts';

/** `software` is one that we do not know by name, such as Direct3D's WARP. */
export type AdapterKind = 'hardware' | 'lavapipe' | 'swiftshader' | 'software' | 'null';
export type AdapterPreference = 'auto' | Exclude<AdapterKind, 'software'>;

const PREFERENCES: readonly AdapterPreference[] = ['auto', 'hardware', 'lavapipe', 'swiftshader', 'null'];

/** What lavapipe takes on the systems where people will look for it. */
export const LAVAPIPE_ADVICE = 'Install Mesa\'s Vulkan drivers, version 23 or newer: "apt install mesa-vulkan-drivers libvulkan1" on Debian 13 or Ubuntu 24.04 (on Debian 12 from bookworm-backports), "dnf install mesa-vulkan-drivers" on Fedora';

export interface AdapterOptions {
  /** What to take. Absent or `auto`: what EEMLLM_ADAPTER says, else the best there is. */
  readonly prefer?: AdapterPreference;
}

export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  /** What the driver calls the device. */
  readonly name: string;
  readonly kind: AdapterKind;
  /** Computes on the CPU: schedules for software adapters fit it better. */
  readonly software: boolean;
  /** Why this one, as the end of a sentence. */
  readonly why: string;
  /** Dawn's toggles in use that no browser has; name them beside timings. */
  readonly toggles: readonly string[];
  /** Dawn's entry. The adapter works as long as somebody holds it. */
  readonly gpu: GPU;
  /** Requests a device, as often as wanted; see `openDevice`. */
  open(options?: DeviceOptions): Promise<OpenDevice>;
}

/**
 * Finds an adapter. The choice of Vulkan driver is made for the process: ask for one kind in one process.
 * @throws RuntimeError `adapter` when there is none of the wanted kind, saying what was tried and what to install;
 *   `value` when EEMLLM_ADAPTER holds something else than a kind
 */
export async function findAdapter(options: AdapterOptions = {}): Promise<FoundAdapter> {
  const prefer = preference(options.prefer);
  if (prefer.kind !== 'auto') return (await exactly(prefer.kind, prefer.why)) ?? notFound(prefer.kind);

  const tried: string[] = [];
  if (process.platform !== 'linux') {
    const found = await request(undefined, 'it is the adapter that this system offers');
    if (found) return found;
    throw noAdapter([`${process.platform === 'darwin' ? 'Metal' : 'Direct3D 12'} offers no adapter`]);
  }
  const manifests = findManifests();
  const given = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  if (given !== undefined) {
    await ensureLoader().catch(() => undefined); // without one, the request below finds nothing
    const found = await request(undefined, 'VK_DRIVER_FILES names its driver');
    if (found) return found;
    tried.push(`VK_DRIVER_FILES (${given}) gave no adapter`);
  } else if (manifests.hardware.length + manifests.lavapipe.length === 0) {
    tried.push('no Vulkan driver is installed on this system');
  } else {
    // A look for a GPU starts every installed driver and takes a while; without a device file there is none.
    const gpu = hasGpuFile() ? await exactly('hardware', 'it is a hardware adapter') : undefined;
    const found = gpu ?? (await exactly('lavapipe', 'no hardware adapter was found, and Mesa\'s software driver is installed'));
    if (found) return found;
    tried.push('the installed Vulkan drivers offer no adapter that WebGPU can use');
  }
  try {
    const found = await exactly('swiftshader', `${tried[0]}; SwiftShader comes from npm`);
    if (found) return found;
    tried.push('SwiftShader was loaded, but WebGPU does not accept it');
  } catch (error) {
    tried.push(reasonOf(error));
  }
  throw noAdapter(tried);
}

/** What was asked for, in code or by the environment. */
function preference(asked: AdapterPreference = 'auto'): { kind: AdapterPreference; why: string } {
  if (!PREFERENCES.includes(asked)) throw new RuntimeError('value', `prefer is ${JSON.stringify(asked)}, and one of ${PREFERENCES.join(', ')} was expected.`);
  if (asked !== 'auto') return { kind: asked, why: 'it was asked for' };
  const value = process.env.EEMLLM_ADAPTER?.trim().toLowerCase();
  if (!value) return { kind: 'auto', why: '' };
  if (!(PREFERENCES as readonly string[]).includes(value)) {
    throw new RuntimeError('value', `EEMLLM_ADAPTER is ${JSON.stringify(process.env.EEMLLM_ADAPTER)}, and one of ${PREFERENCES.join(', ')} was expected. Correct the variable or unset it.`);
  }
  return { kind: value as AdapterPreference, why: `EEMLLM_ADAPTER is ${value}` };
}

/** One kind and no other; undefined when WebGPU offers none. */
async function exactly(kind: Exclude<AdapterKind, 'software'>, why: string): Promise<FoundAdapter | undefined> {
  if (kind === 'null') return request('null', why);
  if (process.platform !== 'linux' && kind === 'hardware') return request('hardware', why);
  if (kind === 'swiftshader') {
    const { manifest } = await loadSwiftShader();
    return request(kind, why, [manifest]);
  }
  const drivers = findManifests()[kind];
  if (drivers.length === 0) return undefined;
  await ensureLoader().catch(() => undefined); // without one, Dawn finds nothing
  return request(kind, why, drivers);
}

/** Every instance that was made. Dawn's threads outlive a device that is closed, and die of an instance that is collected under them. */
const instances: GPU[] = [];

const NULL_OPTIONS = ['backend=null', 'enable-dawn-features=allow_unsafe_apis'];
/** Subgroup matrices need the first, f16 on NVIDIA under Linux the second; timestamps come exact without the third. */
const ENABLED = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia'];
const DISABLED = ['timestamp_quantization'];

/**
 * Asks Dawn for an adapter, of `kind` where given. Undefined when there is none.
 * @throws RuntimeError `adapter` when the binding itself cannot be loaded
 */
async function request(kind: AdapterKind | undefined, why: string, drivers?: readonly string[]): Promise<FoundAdapter | undefined> {
  const { create } = await import('webgpu').catch((cause: unknown) => {
    throw new RuntimeError('adapter', `The npm package "webgpu" cannot be loaded (${reasonOf(cause)}). Run "npm install"; it has builds for Linux and Windows on x64 and arm64 and for macOS.`, { cause });
  });
  spacePolls();
  const isNull = kind === 'null';
  const flags = isNull ? NULL_OPTIONS : [`enable-dawn-features=${ENABLED.join(',')}`, `disable-dawn-features=${DISABLED.join(',')}`];
  const gpu = create(flags);
  instances.push(gpu);
  const ask = () => withDrivers(drivers, () => gpu.requestAdapter({ powerPreference: 'high-performance' }));
  const adapter = await ask();
  if (!adapter) return undefined;
  const actual = isNull ? 'null' : kindOf(adapter.info);
  if (kind && kind !== actual) return undefined;
  let used = false;
  return {
    adapter,
    name: isNull ? 'Dawn null backend' : adapter.info.description || adapter.info.device || adapter.info.vendor,
    kind: actual,
    software: !isNull && actual !== 'hardware',
    why,
    toggles: isNull ? ['allow_unsafe_apis'] : [...ENABLED, ...DISABLED.map((t) => `no ${t}`)],
    gpu,
    async open(options) {
      // WebGPU gives one device an adapter.
      const fresh = used ? ((await ask()) ?? adapter) : adapter;
      const opened = await openDevice(fresh, options);
      used = true;
      return opened;
    },
  };
}

function kindOf(info: GPUAdapterInfo): AdapterKind {
  if (/swiftshader/i.test(`${info.architecture} ${info.device} ${info.description}`)) return 'swiftshader';
  if (/llvmpipe/i.test(`${info.device} ${info.description}`)) return 'lavapipe';
  return info.isFallbackAdapter ? 'software' : 'hardware';
}

/** Has the kernel a device file of a GPU: DRM's render nodes, NVIDIA's, or WSL's? */
function hasGpuFile(): boolean {
  if (existsSync('/dev/nvidiactl') || existsSync('/dev/dxg')) return true;
  try {
    return readdirSync('/dev/dri').some((f) => f.startsWith('renderD'));
  } catch {
    return false;
  }
}

function notFound(kind: AdapterKind): never {
  const manifests = findManifests();
  const advice =
    kind === 'lavapipe' ? (manifests.lavapipe.length > 0 ? 'its driver is installed, but WebGPU does not accept it; Mesa must be version 23 or newer' : `its driver is not installed. ${LAVAPIPE_ADVICE}`)
    : kind === 'hardware' ? `no GPU answers${process.platform === 'linux' && !hasLoader() ? ', and there is no Vulkan loader (libvulkan.so.1)' : ''}. Install your GPU's Vulkan driver, or unset EEMLLM_ADAPTER to use a software adapter`
    : 'WebGPU does not accept it';
  throw new RuntimeError('adapter', `There is no ${kind} adapter here: ${advice}.${worker()}`);
}

/** The error when nothing at all was found; `tried` says what happened, in order. */
export function noAdapter(tried: readonly string[]): RuntimeError {
  return new RuntimeError('adapter', `No WebGPU adapter was found: ${tried.join('; ').replace(/\.$/, '')}. ${LAVAPIPE_ADVICE}, or install a GPU driver; "eemllm doctor" shows what is there.${worker()}`);
}

function worker(): string {
  return isMainThread ? '' : ' This is a worker thread, whose environment Vulkan does not see: look for the adapter in the main thread.';
}
