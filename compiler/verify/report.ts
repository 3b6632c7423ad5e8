/** What verification found, as data. */
import type { Quantity } from './compare.ts';

export interface TensorResult {
  /** Name in the golden file. */
  readonly tensor: string;
  /** Case and variant of the run that gave it; absent where no run is needed. */
  readonly case?: string;
  readonly variant?: string;
  readonly quantity: Quantity;
  readonly shape: readonly number[];
  readonly absolute: number;
  readonly relative: number;
  readonly rms: number;
  /** Which of the two the tolerance is for. */
  readonly measure: 'relative' | 'rms';
  readonly tolerance: number;
  readonly ok: boolean;
}
export interface TokensResult {
  readonly case: string;
  readonly variant: string;
  readonly expected: readonly number[];
  /** The likeliest token after the prompt and after each expected token: equal just where greedy decoding gives the expected ones. */
  readonly given: readonly number[];
  readonly equal: boolean;
}
export interface VerifyReport {
  readonly checkpoint: string;
  readonly golden: string;
  readonly backend: 'gpu' | 'interpreter';
  readonly adapter?: string;
  readonly dtype: 'f32' | 'f16';
  /** The format of quantised weights, as printed; absent where none are. */
  readonly quantised?: string;
  /** How keys and values are held; f32 if absent. */
  readonly kv?: string;
  readonly variants: readonly string[];
  readonly tensors: readonly TensorResult[];
  readonly tokens: readonly TokensResult[];
  readonly notCompared: readonly { readonly tensor: string; readonly reason: string }[];
  /** Every tensor within its tolerance, and the greedy tokens equal (which fewer bits than f32 do not guarantee). */
  readonly ok: boolean;
}

/** The part of a tensor's name that its layers share: `hidden`, `vision.hidden`, `k_cache`. */
export const familyOf = (r: TensorResult): string => {
  const name = r.case === undefined ? r.tensor : r.tensor.slice(r.case.length + 1);
  return (r.variant !== undefined && name.startsWith(`${r.variant}.`) ? name.slice(r.variant.length + 1) : name).replace(/\.\d+$/, '');
};

/** The worst of each family in each case and variant, measured by its tolerance. */
export function worstOf(results: readonly TensorResult[]): { worst: TensorResult; count: number }[] {
  const groups = new Map<string, { worst: TensorResult; count: number }>();
  for (const r of results) {
    const key = `${r.case ?? ''}\n${r.variant ?? ''}\n${familyOf(r)}`, old = groups.get(key);
    if (!old) groups.set(key, { worst: r, count: 1 });
    else groups.set(key, { worst: severity(r) > severity(old.worst) ? r : old.worst, count: old.count + 1 });
  }
  return [...groups.values()];
}
export const severity = (r: TensorResult): number => (r.tolerance > 0 ? r[r.measure] / r.tolerance : r.absolute > 0 ? Infinity : 0);
