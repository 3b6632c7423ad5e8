/** `--device` and `--math`: the device whose roofline is asked for. */
import { readFileSync } from 'node:fs';
import type { DeviceProfile, MathType } from '../cost/device-profiles.ts';
import { peakOf, profileNamed, readProfile } from '../cost/device-profiles.ts';
import { UserError } from '../ir/errors.ts';

export interface DeviceFlags { readonly device?: string; readonly math?: MathType }
/** A profile, and the arithmetic whose peak is taken. */
export interface ChosenDevice { readonly profile: DeviceProfile; readonly math: MathType }

/** The profile that `--device` names, and the arithmetic. Throws a UserError. */
export function deviceOf({ device, math }: DeviceFlags): ChosenDevice | undefined {
  if (device === undefined) {
    if (math !== undefined) throw new UserError('--math chooses among the peaks of a device; give one with --device.');
    return undefined;
  }
  const profile = device.endsWith('.json') ? readProfile(readJsonFile(device), device) : profileNamed(device);
  const chosen = math ?? (['f16', 'f32', 'int8'] as const).find((m) => profile.peak[m] !== undefined)!;
  peakOf(profile, chosen);
  return { profile, math: chosen };
}

function readJsonFile(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new UserError(`The device profile ${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`, undefined, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UserError(`The device profile ${file} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}.`, undefined, { cause });
  }
}
