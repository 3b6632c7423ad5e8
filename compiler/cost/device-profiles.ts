/**
 * Devices as a roofline sees them: the most FLOP/s it has for each width of number, and the most bytes/s of its memory.
 *
 * Figures are dense peaks (no sparsity) from the vendors' own papers; `source` says which. What a program reaches is less.
 */
import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';
import * as v from 'valibot';

/** What the multiply-adds are done in. */
export const mathTypes = ['f32', 'f16', 'int8'] as const;
export type MathType = (typeof mathTypes)[number];

export interface DeviceProfile {
  readonly name: string;
  /** Where the figures come from. */
  readonly source: string;
  /** FLOP/s (two per multiply-add) by arithmetic; a device may lack one. */
  readonly peak: Readonly<Partial<Record<MathType, number>>>;
  /** Bytes/s between memory and the processor. */
  readonly bandwidth: number;
  /** Bytes of its memory, where that is fixed. */
  readonly memory?: number;
}

const T = 1e12, G = 1e9;
const profile = (name: string, source: string, peak: DeviceProfile['peak'], bandwidth: number, memory?: number): DeviceProfile => ({ name, source, peak, bandwidth, ...(memory !== undefined && { memory }) });

/** Built-in profiles by the name that `--device` takes. */
export const deviceProfiles: Readonly<Record<string, DeviceProfile>> = {
  'h100-sxm': profile('NVIDIA H100 SXM5 80 GB', 'NVIDIA H100 Tensor Core GPU datasheet: FP32, tensor cores FP16 and INT8 without sparsity',
    { f32: 67 * T, f16: 989.4 * T, int8: 1978.9 * T }, 3350 * G, 80 * G),
  'h200-sxm': profile('NVIDIA H200 SXM 141 GB', 'NVIDIA H200 Tensor Core GPU datasheet: FP32, tensor cores FP16 and INT8 without sparsity',
    { f32: 67 * T, f16: 989.4 * T, int8: 1978.9 * T }, 4800 * G, 141 * G),
  'a100-80gb': profile('NVIDIA A100 SXM4 80 GB', 'NVIDIA A100 Tensor Core GPU datasheet: FP32, tensor cores FP16 and INT8 without sparsity',
    { f32: 19.5 * T, f16: 312 * T, int8: 624 * T }, 2039 * G, 80 * G),
  v100: profile('NVIDIA V100 PCIe 16 GB', 'NVIDIA V100 Tensor Core GPU datasheet, PCIe: FP32, tensor cores FP16; INT8 (DP4A) as LLM-Viewer has it',
    { f32: 14 * T, f16: 112 * T, int8: 62 * T }, 900 * G, 16 * G),
  'rtx-4090': profile('NVIDIA GeForce RTX 4090', 'NVIDIA Ada GPU architecture whitepaper, appendix A: FP32, tensor cores FP16 with FP32 sums and INT8 without sparsity',
    { f32: 82.6 * T, f16: 165.2 * T, int8: 660.6 * T }, 1008 * G, 24 * G),
  'rtx-3060': profile('NVIDIA GeForce RTX 3060 12 GB', 'NVIDIA product page (3584 cores, 1.78 GHz, 192 bit at 15 Gbit/s) and the per-core rates of the GA102 whitepaper: FP32, tensor cores FP16 with FP32 sums and INT8 without sparsity',
    { f32: 12.7 * T, f16: 25.5 * T, int8: 102 * T }, 360 * G, 12 * G),
  'm2-max': profile('Apple M2 Max, 38 GPU cores', 'Apple technical specifications (cores, 400 GB/s); Apple prints no FLOP/s: 38 cores × 128 lanes × 2 × 1.398 GHz, f16 at the same rate',
    { f32: 13.6 * T, f16: 13.6 * T }, 400 * G),
  'm3-max': profile('Apple M3 Max, 40 GPU cores', 'Apple technical specifications (cores, 400 GB/s); Apple prints no FLOP/s: 40 cores × 128 lanes × 2 × 1.398 GHz, f16 at the same rate',
    { f32: 14.3 * T, f16: 14.3 * T }, 400 * G),
  'iris-xe': profile('Intel Iris Xe (96 EU, integrated)', 'Intel product brief of the Core i7-1185G7 (96 EU, 1.35 GHz, LPDDR4x-4266 on 128 bit): 16 f32 and 32 f16 FLOPs, 64 INT8 operations a clock and EU',
    { f32: 2.07 * T, f16: 4.15 * T, int8: 8.29 * T }, 68.3 * G),
};

const rate = v.pipe(v.number('a number was expected'), v.finite('a finite number was expected'), v.gtValue(0, 'a number greater than 0 was expected'));
const schema = v.strictObject({
  name: v.pipe(v.string('a name was expected'), v.minLength(1, 'a name was expected')),
  source: v.optional(v.string('a text was expected'), 'the file'),
  peak: v.pipe(
    v.strictObject({ f32: v.optional(rate), f16: v.optional(rate), int8: v.optional(rate) }),
    v.check((p) => Object.values(p).some((x) => x !== undefined), 'at least one of f32, f16 and int8 was expected')),
  bandwidth: rate,
  memory: v.optional(rate),
});

/** Reads a profile from JSON. Throws a UserError that names the field. */
export function readProfile(json: unknown, where: string): DeviceProfile {
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const [issue] = result.issues, field = v.getDotPath(issue);
    const example = '{"name": "my GPU", "peak": {"f32": 20e12, "f16": 40e12}, "bandwidth": 500e9}';
    const said = issue.type === 'strict_object' && issue.expected === 'never' ? 'no such field is known' : issue.received === 'undefined' ? 'it is missing' : issue.message;
    throw new UserError(`${where} is no device profile: ${field ? `'${field}': ` : ''}${said}. FLOP/s and bytes/s are plain numbers; an example is ${example}.`);
  }
  const { peak, memory, ...rest } = result.output;
  return { ...rest, peak: Object.fromEntries(Object.entries(peak).filter(([, x]) => x !== undefined)), ...(memory !== undefined && { memory }) };
}

/** A built-in profile. Throws a UserError that lists the known ones. */
export function profileNamed(name: string): DeviceProfile {
  const found = Object.hasOwn(deviceProfiles, name) ? deviceProfiles[name] : undefined;
  if (!found) throw new UserError(`There is no device profile '${name}'.${suggest(name, Object.keys(deviceProfiles), 'Built in are')} A profile of your own is a file that ends in .json; \`eemllm doctor --measure -o profile.json\` makes one of this machine.`);
  return found;
}

/** The peak for an arithmetic. Throws a UserError where the profile has none. */
export function peakOf(p: DeviceProfile, math: MathType): number {
  const peak = p.peak[math];
  if (peak === undefined) throw new UserError(`The profile of ${p.name} has no peak for ${math}; it has ${Object.keys(p.peak).join(' and ')}. Choose one of these.`);
  return peak;
}
