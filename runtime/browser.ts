/** The runtime in a browser: bundles from a URL, pictures from `Blob`s, a device through `navigator.gpu`. */
import type { BundleFiles } from './bundle.ts';
import { openBundle } from './bundle.ts';
import { openDevice, type DeviceOptions, type OpenDevice } from './device.ts';
import { RuntimeError } from './errors.ts';
import type { LoadOptions } from './model.ts';
import { Model } from './model.ts';
import { fetchSource, type FetchSourceOptions } from './sources.ts';

export * from './index.ts';
export { decodeImage } from './browser-image.ts';
export { isImage } from './context.ts';
export type { DeviceOptions, OpenDevice } from './device.ts';

/** The files of a bundle behind a URL: the address of its folder, relative to the page or absolute. */
export function fetchFiles(url: string | URL, options: FetchSourceOptions = {}): BundleFiles {
  const folder = new URL(url, document.baseURI);
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  return { label: folder.href.replace(/\/$/, ''), open: (file) => fetchSource(new URL(file, folder).href, options) };
}

export interface AdapterOptions {
  /** On machines with two GPUs; browsers may ignore it. */
  readonly powerPreference?: GPUPowerPreference;
}

export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  /** What the browser tells of the device, which may be little. */
  readonly name: string;
  /** Computes on the CPU: programs with smaller tiles fit it better. */
  readonly software: boolean;
  /** Requests a device, once; see `openDevice`. */
  open(options?: DeviceOptions): Promise<OpenDevice>;
}

/** @throws RuntimeError `adapter` when the page, the browser or the machine has no WebGPU, saying which and what to do. */
export async function findAdapter(options: AdapterOptions = {}): Promise<FoundAdapter> {
  if (!globalThis.isSecureContext)
    throw new RuntimeError('adapter', `Browsers give WebGPU to secure pages only, and ${location.origin} is none. Open the page over https, or from localhost.`);
  const gpu = (navigator as Partial<Navigator>).gpu;
  if (!gpu)
    throw new RuntimeError('adapter', 'This browser has no WebGPU. Use a current Chrome, Edge, Safari or Firefox; where the browser is current, WebGPU may be switched off in its settings or by whoever manages it.');
  const adapter = await gpu.requestAdapter({ ...(options.powerPreference ? { powerPreference: options.powerPreference } : {}) });
  if (!adapter)
    throw new RuntimeError('adapter', "This browser knows WebGPU but found no adapter that it may use. Switch hardware acceleration on in the browser's settings and update the graphics driver; chrome://gpu tells what is blocked and why. Chrome on Linux may need chrome://flags/#enable-unsafe-webgpu.");
  const { info } = adapter;
  const name = info.description || [info.vendor, info.architecture || info.device].filter(Boolean).join(' ') || 'unnamed adapter';
  return { adapter, name, software: info.isFallbackAdapter, open: (o) => openDevice(adapter, o) };
}

export interface LoadedModel {
  readonly model: Model;
  readonly device: OpenDevice;
  /** Frees the model, and its device unless that was given. */
  close(): void;
}

export interface BrowserLoadOptions extends LoadOptions, AdapterOptions {
  /** Put the bundle on this device, which may hold others already, instead of on one of its own. */
  readonly device?: OpenDevice;
  readonly fetch?: typeof fetch;
}

/**
 * A bundle behind a URL on this browser's adapter, ready to answer.
 * @throws RuntimeError `adapter`, `device`, `file` when something cannot be fetched, `bundle` when it is damaged
 */
export async function loadModel(url: string | URL, options: BrowserLoadOptions = {}): Promise<LoadedModel> {
  const bundle = await openBundle(fetchFiles(url, options.fetch ? { fetch: options.fetch } : {}));
  const device = options.device ?? (await (await findAdapter(options)).open());
  try {
    const model = await device.guard(Model.load(bundle, device.device, options));
    device.check();
    return { model, device, close: () => { model.destroy(); if (!options.device) device.close(); } };
  } catch (e) {
    if (!options.device) device.close();
    throw e;
  }
}
