/** Vulkan drivers on Linux: which are installed, and SwiftShader (Chromium's software driver) out of an npm package. */
import { readdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { RuntimeError, reasonOf } from './errors.ts';
import { cacheFolders, chromiumArchives, unpackOnce, type ChromiumArchives } from './node-unpack.ts';

/** RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE: Dawn, which opens `libvulkan.so.1` by name, then gets the library that is loaded. */
const DLOPEN_FLAGS = 2 | 0x100 | 0x1000;

/** The variables that tell a Vulkan loader its drivers; loaders before 1.3.207 read the second alone. */
const DRIVER_VARIABLES = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'] as const;

/** Installed driver manifests by what they drive. */
export interface Manifests {
  readonly hardware: readonly string[];
  readonly lavapipe: readonly string[];
}

/** The manifests in the folders that the Vulkan loader searches, and in the one where container hosts put NVIDIA's. */
export function findManifests(): Manifests {
  const standard = [
    join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'vulkan/icd.d'),
    '/etc/vulkan/icd.d',
    join(process.env.XDG_DATA_HOME || join(homedir(), '.local/share'), 'vulkan/icd.d'),
    ...(process.env.XDG_DATA_DIRS || '/usr/local/share:/usr/share').split(':').map((dir) => join(dir, 'vulkan/icd.d')),
  ];
  const list = (dir: string): string[] => {
    try {
      return readdirSync(dir).filter((f) => f.endsWith('.json')).map((f) => join(dir, f));
    } catch {
      return []; // no such folder: no drivers in it
    }
  };
  const all = [...standard, '/usr/local/nvidia/share/vulkan/icd.d'].flatMap(list);
  const is = (pattern: RegExp) => (path: string) => pattern.test(path.slice(path.lastIndexOf('/') + 1));
  return {
    hardware: all.filter((path) => !is(/^(lvp|vk_swiftshader|gfxstream)/)(path)),
    lavapipe: all.filter(is(/^lvp/)),
  };
}

/**
 * Runs `work` with the Vulkan loader pointed at these manifests (undefined: left as it is). The loader reads the
 * variables when an instance is made, so they are set back afterwards and child processes do not inherit them.
 */
export async function withDrivers<T>(manifests: readonly string[] | undefined, work: () => Promise<T>): Promise<T> {
  if (!manifests) return work();
  const before = DRIVER_VARIABLES.map((key) => process.env[key]);
  for (const key of DRIVER_VARIABLES) process.env[key] = manifests.join(':');
  try {
    return await work();
  } finally {
    DRIVER_VARIABLES.forEach((key, i) => {
      if (before[i] === undefined) delete process.env[key];
      else process.env[key] = before[i];
    });
  }
}

/** Loads a shared library into the process. Undefined on success, else the reason. */
function load(path: string): string | undefined {
  try {
    process.dlopen({ exports: {} }, path, DLOPEN_FLAGS);
  } catch (error) {
    // A library that is no Node addon is loaded all the same, and this is how Node complains about it.
    const reason = reasonOf(error);
    return /did not self-register/.test(reason) ? undefined : reason;
  }
  return undefined;
}

/** Is there a Vulkan loader: the system's, or one that was loaded before? */
export function hasLoader(): boolean {
  return load('libvulkan.so.1') === undefined;
}

export interface SwiftShader {
  /** Manifest of the driver, for `withDrivers`. */
  readonly manifest: string;
  /** Vulkan loader that came with it. */
  readonly loader: string;
}

/** Makes sure that a Vulkan loader is in the process: SwiftShader's where the system has none. */
export async function ensureLoader(): Promise<void> {
  if (!hasLoader()) await loadSwiftShader();
}

/**
 * Unpacks SwiftShader out of npm `@sparticuz/chromium` (3 MB packed, 15 MB unpacked, once a version) and loads its Vulkan
 * loader. Needs no root.
 * @throws RuntimeError `adapter` on other systems than Linux on x64, without the package, or where it cannot be loaded
 */
export async function loadSwiftShader(): Promise<SwiftShader> {
  const fail = (what: string, cause?: unknown) => new RuntimeError('adapter', `SwiftShader cannot be used: ${what}.`, { cause });
  if (process.platform !== 'linux' || process.arch !== 'x64') throw fail(`the npm package has it for Linux on x64, and this is ${process.platform} on ${process.arch}. Use a GPU here`);
  let archives: ChromiumArchives;
  try {
    archives = chromiumArchives();
  } catch (cause) {
    throw fail('the npm package @sparticuz/chromium is not installed. Run "npm install @sparticuz/chromium"', cause);
  }
  const refusals: string[] = [];
  for (const cache of cacheFolders()) {
    try {
      const folder = await unpackOnce(cache, 'swiftshader', archives.file('swiftshader.tar.br'), async (packed, temporary, folder) => {
        await archives.untar(packed, temporary);
        // The loader wants the driver's path whole, or it searches the system for it.
        const icd = { file_format_version: '1.0.0', ICD: { library_path: join(folder, 'libvk_swiftshader.so'), api_version: '1.0.5' } };
        writeFileSync(join(temporary, 'icd.json'), JSON.stringify(icd));
      });
      // Folders may be mounted so that nothing in them can be executed: then the next one may do.
      const reason = load(join(folder, 'libvulkan.so.1'));
      if (!reason) return { manifest: join(folder, 'icd.json'), loader: join(folder, 'libvulkan.so.1') };
      refusals.push(reason);
    } catch (error) {
      refusals.push(`${cache}: ${reasonOf(error)}`);
    }
  }
  throw fail(`it could not be unpacked or loaded (${refusals.join('; ')}). Set EEMLLM_CACHE to a folder that you may write and execute from`);
}
