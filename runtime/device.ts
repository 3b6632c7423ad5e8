/** A WebGPU device with what the kernels can use, whose failures come back as `RuntimeError`. Browsers and Node alike. */
import { RuntimeError, reasonOf } from './errors.ts';

/** Features that some kernel family has a faster variant for; asked for wherever the adapter has them. */
export const USEFUL_FEATURES = ['shader-f16', 'subgroups', 'timestamp-query', 'chromium-experimental-subgroup-matrix'] as const;

/** Limits that decide how large a model may be and which tiles a schedule may use; raised to what the adapter has. */
export const RAISED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const;

export interface DeviceOptions {
  /** Exactly these features. Absent: all of `USEFUL_FEATURES` that the adapter has; `[]`: none, as on a modest device. */
  readonly features?: readonly string[];
  /** Exactly these limits, the rest at WebGPU's defaults. Absent: `RAISED_LIMITS` as high as the adapter has them. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Called at each error that no error scope caught, and when the device is lost. */
  readonly onError?: (error: RuntimeError) => void;
}

/** A device and the watch over it. */
export interface OpenDevice {
  readonly device: GPUDevice;
  readonly features: ReadonlySet<string>;
  readonly limits: GPUSupportedLimits;
  /** Resolves to the error when the device is lost by itself; never when it is closed or destroyed. */
  readonly lost: Promise<RuntimeError>;
  /** @throws RuntimeError the first error since the last check: `device` for a refused call, `device-lost` from then on. */
  check(): void;
  /** `work`, unless the device fails first: a lost device may leave promises open for ever. @throws RuntimeError as `check` */
  guard<T>(work: Promise<T>): Promise<T>;
  /** Destroys the device. */
  close(): void;
}

/**
 * Requests a device.
 * @throws RuntimeError `adapter` when the adapter lacks a feature or limit that was asked for, `device` when it refuses
 */
export async function openDevice(adapter: GPUAdapter, options: DeviceOptions = {}): Promise<OpenDevice> {
  const name = adapter.info.description || adapter.info.device || adapter.info.vendor || 'The adapter';
  const features = options.features ?? USEFUL_FEATURES.filter((f) => adapter.features.has(f));
  const missing = features.filter((f) => !adapter.features.has(f));
  if (missing.length > 0) {
    throw new RuntimeError('adapter', `${name} lacks ${missing.join(' and ')}, which was asked for. It has ${[...adapter.features].sort().join(', ')}. Ask for less, or choose another adapter (EEMLLM_ADAPTER).`);
  }
  const has = adapter.limits as unknown as Readonly<Record<string, number | undefined>>;
  const limits = options.limits ?? Object.fromEntries(RAISED_LIMITS.flatMap((key) => (has[key] === undefined ? [] : [[key, has[key]]])));
  for (const [key, value] of Object.entries(limits)) {
    const most = has[key];
    if (most === undefined) throw new RuntimeError('adapter', `"${key}" was asked for, and ${name} knows no such limit. Check the spelling.`);
    // An alignment is better when smaller, every other limit when larger.
    if (key.startsWith('min') ? value < most : value > most) throw new RuntimeError('adapter', `${name} allows ${key} = ${most}, but ${value} was asked for. Use a smaller model or other limits, or choose another adapter (EEMLLM_ADAPTER).`);
  }
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits: limits });
  } catch (cause) {
    throw new RuntimeError('device', `${name} gave no device: ${reasonOf(cause)}. Update the graphics driver, or choose another adapter (EEMLLM_ADAPTER).`, { cause });
  }
  return watch(device, name, options.onError);
}

function watch(device: GPUDevice, name: string, onError?: (error: RuntimeError) => void): OpenDevice {
  let closed = false;
  let lostError: RuntimeError | undefined;
  let refused: RuntimeError | undefined;
  const waiting = new Set<(error: RuntimeError) => void>();

  const report = (error: RuntimeError): void => {
    for (const fail of waiting) fail(error);
    onError?.(error);
  };
  device.addEventListener('uncapturederror', (event) => {
    event.preventDefault?.(); // or the browser prints it too
    const error = new RuntimeError('device', `WebGPU refused a call on ${name}: ${reasonOf(event.error)}. ${event.error.constructor.name === 'GPUOutOfMemoryError' ? 'Close other programs that use the GPU, or compile with smaller limits.' : 'This is a fault of the compiled bundle: report it with this message.'}`, { cause: event.error });
    refused ??= error;
    report(error);
  });
  const lost = device.lost.then((info) => {
    closed ||= info.reason === 'destroyed'; // by the device's own method
    const error = new RuntimeError('device-lost', closed ? 'The GPU device was closed while it was in use.' : `The GPU device was lost (${name}${info.message ? `: ${info.message.trim().replace(/\.$/, '')}` : ''}). Load the model again; if it happens again, update the graphics driver or use a smaller model.`);
    lostError = error;
    if (closed) for (const fail of waiting) fail(error);
    else report(error);
    return closed ? new Promise<RuntimeError>(() => undefined) : error;
  });

  const check = (): void => {
    const error = lostError ?? refused;
    refused = undefined;
    if (error) throw error;
  };
  return {
    device,
    features: device.features,
    limits: device.limits,
    lost,
    check,
    async guard<T>(work: Promise<T>): Promise<T> {
      let fail!: (error: RuntimeError) => void;
      const failure = new Promise<never>((_, reject) => (fail = reject));
      waiting.add(fail);
      try {
        if (lostError) throw lostError;
        const value = await Promise.race([work, failure]);
        check();
        return value;
      } finally {
        waiting.delete(fail);
        refused = undefined; // it has been thrown, or is older than this work
      }
    },
    close() {
      closed = true;
      device.destroy();
    },
  };
}
