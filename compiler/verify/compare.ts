/** How far a result may be from the reference, and how far it is. */
import type { QuantiseRules } from '../../passes/quantise.ts';
import type { QuantisedFormat } from '../ir/weight-format.ts';
import type { StateFormatKind } from '../ir/state-format.ts';
import { isQuantised } from '../ir/weight-format.ts';
import type { Numbers } from './golden.ts';

/**
 * What a tensor is, as to its tolerance (test/fixtures/README.md): `exact` for whole numbers, `pixels` for prepared
 * pictures, `operator` for one op on given input, `vision` for the way to the decoder's input, `hidden` for the rest.
 */
export type Quantity = 'exact' | 'pixels' | 'operator' | 'vision' | 'hidden';
/** Largest error e of each quantity, with f32 weights and with f16 weights. */
export const tolerances: Readonly<Record<Quantity, Readonly<Record<'f32' | 'f16', number>>>> = {
  exact: { f32: 0, f16: 0 },
  pixels: { f32: 1e-6, f16: 1e-6 },
  operator: { f32: 1e-5, f16: 5e-3 },
  vision: { f32: 5e-5, f16: 1e-2 },
  hidden: { f32: 1e-4, f16: 3e-2 },
};
/**
 * Largest RMS error of what quantised weights compute. Measured on the fixtures, whose weights are random, so that nothing
 * evens out and errors grow from layer to layer: 0.02 to 0.05 with int8, 0.25 to 0.65 with int4. A wrong kernel gives 1 and more.
 */
export const quantisedTolerance: Readonly<Record<QuantisedFormat['kind'], number>> = { int8: 0.1, int4: 0.8 };

/**
 * Largest RMS error of what was computed from keys and values that were rounded. Measured on the fixtures: up to 0.0012 with f16, 0.02
 * with int8.
 */
export const heldTolerance: Readonly<Record<StateFormatKind, number>> = { f32: 0, f16: 2e-3, int8: 0.04 };

/** What a quantity may be off by: in its largest error e, or where quantised weights had a part in it, in the RMS of all its elements. */
export interface Tolerance { readonly measure: 'relative' | 'rms'; readonly limit: number }
/** Without rules of its own only the decoder is quantised: what comes before it is as exact as ever. `kv`: how keys and values are held, which only the decoder reads. */
export function toleranceOf(quantity: Quantity, dtype: 'f32' | 'f16', rules?: QuantiseRules, kv: StateFormatKind = 'f32'): Tolerance {
  const formats = [...(quantity === 'hidden' ? [rules?.format] : []), ...(rules?.keep ?? []).map((r) => r.format)].filter((f) => f !== undefined).filter(isQuantised);
  const held = quantity === 'hidden' && dtype === 'f32' ? heldTolerance[kv] : 0;
  if ((!formats.length && !held) || quantity === 'exact' || quantity === 'pixels') return { measure: 'relative', limit: tolerances[quantity][dtype] };
  return { measure: 'rms', limit: Math.max(held, ...formats.map((f) => quantisedTolerance[f.kind])) };
}

export interface Difference {
  /** Largest |a − reference|; infinite where a value is missing or no number. */
  readonly absolute: number;
  /** e = largest |a − reference| / max(1, largest |reference|). */
  readonly relative: number;
  /** √(Σ (a − reference)² / Σ reference²); infinite where a value is missing or no number. */
  readonly rms: number;
  /** Where the difference is largest, as a flat index; −1 where all are equal. */
  readonly at: number;
}

/** Compares flat values of the same length. */
export function difference(a: ArrayLike<number>, reference: Numbers): Difference {
  if (a.length !== reference.length) return { absolute: Infinity, relative: Infinity, rms: Infinity, at: -1 };
  let absolute = 0, largest = 1, at = -1, squares = 0, squared = 0;
  for (let i = 0; i < reference.length; i++) {
    const d = Math.abs(a[i]! - reference[i]!);
    if (!(d <= absolute)) { absolute = Number.isNaN(d) ? Infinity : d; at = i; }
    largest = Math.max(largest, Math.abs(reference[i]!));
    squares += reference[i]! ** 2;
    squared += d * d;
  }
  return { absolute, relative: absolute / largest, rms: absolute === 0 ? 0 : Number.isFinite(absolute) && squares > 0 ? Math.sqrt(squared / squares) : Infinity, at };
}

/** What a tensor of a golden file is, by its name without case and variant. */
export function quantityOf(name: string): Quantity {
  if (/^(input_ids|segment_ids|position_ids|pixel_attention_mask|causal_mask|composite_mask|generated|images\.\d+\.rgb)$/.test(name)) return 'exact';
  if (name === 'pixel_values') return 'pixels';
  if (/^(vision\.patch_embed|text_embeds|rope\.inv_freq)$/.test(name)) return 'operator';
  if (/^(vision\.embeddings|vision\.features|projector\..*|inputs_embeds)$/.test(name)) return 'vision';
  return 'hidden';
}
