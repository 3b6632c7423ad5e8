/**
 * What is known of a device when a schedule is chosen for it. Spaces and legality of every kernel family ask this and
 * nothing else, so that what was tuned on one device can be checked for another that is not there.
 */

/** `software` are adapters that run on the CPU: lavapipe, SwiftShader. */
export type DeviceClass = 'gpu' | 'software';

/** The limits of a device that bound a schedule, named as in WebGPU. */
export interface ScheduleLimits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupSizeX: number;
  readonly maxComputeWorkgroupSizeY: number;
}
/** What every WebGPU device has. */
export const defaultLimits: ScheduleLimits = {
  maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupSizeX: 256, maxComputeWorkgroupSizeY: 256,
};

/** A shape of matrices that a subgroup multiplies at once: M×K by K×N, sums in `result`. As in `GPUAdapterInfo.subgroupMatrixConfigs`. */
export interface SubgroupMatrixConfig {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly component: 'f32' | 'f16' | 'u32' | 'i32' | 'u8' | 'i8';
  readonly result: 'f32' | 'f16' | 'u32' | 'i32' | 'u8' | 'i8';
}

export interface DeviceFacts {
  readonly class: DeviceClass;
  readonly limits: ScheduleLimits;
  /** WebGPU features that kernels may use. */
  readonly features: ReadonlySet<string>;
  /** Smallest and largest size of a subgroup; what WebGPU allows, 4 to 128, where it is not known. */
  readonly subgroups?: { readonly min: number; readonly max: number };
  /** None where the device has no subgroup matrices, or nobody asked. */
  readonly subgroupMatrix?: readonly SubgroupMatrixConfig[];
}

/** What is certain of any device of a class with these features: WebGPU's default limits. */
export const leastFacts = (device: DeviceClass, features: Iterable<string> = []): DeviceFacts => ({ class: device, limits: defaultLimits, features: new Set(features) });

/**
 * A device that allows whatever its features do: for kernels, which were handed a schedule that somebody chose for the
 * device, and check only what would make their text wrong.
 */
export const boundless = (features: ReadonlySet<string>): DeviceFacts => ({
  // No team is too large for the smallest of its subgroups, and all are whole in the largest.
  class: 'gpu', features, subgroups: { min: Infinity, max: 1 },
  limits: { maxComputeWorkgroupStorageSize: Infinity, maxComputeInvocationsPerWorkgroup: Infinity, maxComputeWorkgroupSizeX: Infinity, maxComputeWorkgroupSizeY: Infinity },
});

/** The sizes that a subgroup may have. */
export const subgroupSizes = (facts: DeviceFacts): { readonly min: number; readonly max: number } => facts.subgroups ?? { min: 4, max: 128 };

/** What `GPUAdapter.info` says of subgroups, as far as the browser tells. */
interface SubgroupInfo {
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
  readonly subgroupMatrixConfigs?: readonly { readonly M: number; readonly N: number; readonly K: number; readonly componentType: string; readonly resultComponentType: string }[];
}

/** The facts of an open device. */
export function factsOf(device: { readonly limits: ScheduleLimits; readonly features: ReadonlySet<string> }, info: SubgroupInfo, software: boolean): DeviceFacts {
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX, maxComputeWorkgroupSizeY } = device.limits;
  const { subgroupMinSize: min, subgroupMaxSize: max, subgroupMatrixConfigs: configs } = info;
  return {
    class: software ? 'software' : 'gpu', limits: { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX, maxComputeWorkgroupSizeY },
    features: new Set(device.features),
    ...(min && max ? { subgroups: { min, max } } : {}),
    ...(configs ? { subgroupMatrix: configs.map(({ M, N, K, componentType, resultComponentType }) => ({ M, N, K, component: componentType, result: resultComponentType }) as SubgroupMatrixConfig) } : {}),
  };
}
