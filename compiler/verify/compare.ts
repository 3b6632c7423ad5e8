/** How far a result may be from the reference, and how far it is. */
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

export interface Difference {
  /** Largest |a − reference|; infinite where a value is missing or no number. */
  readonly absolute: number;
  /** e = largest |a − reference| / max(1, largest |reference|). */
  readonly relative: number;
  /** Where the difference is largest, as a flat index; −1 where all are equal. */
  readonly at: number;
}

/** Compares flat values of the same length. */
export function difference(a: ArrayLike<number>, reference: Numbers): Difference {
  if (a.length !== reference.length) return { absolute: Infinity, relative: Infinity, at: -1 };
  let absolute = 0, largest = 1, at = -1;
  for (let i = 0; i < reference.length; i++) {
    const d = Math.abs(a[i]! - reference[i]!);
    if (!(d <= absolute)) { absolute = Number.isNaN(d) ? Infinity : d; at = i; }
    largest = Math.max(largest, Math.abs(reference[i]!));
  }
  return { absolute, relative: absolute / largest, at };
}

/** What a tensor of a golden file is, by its name without case and variant. */
export function quantityOf(name: string): Quantity {
  if (/^(input_ids|segment_ids|position_ids|causal_mask|composite_mask|generated|images\.\d+\.rgb)$/.test(name)) return 'exact';
  if (name === 'pixel_values') return 'pixels';
  if (/^(vision\.patch_embed|text_embeds|rope\.inv_freq)$/.test(name)) return 'operator';
  if (/^(vision\.embeddings|vision\.features|projector\..*|inputs_embeds)$/.test(name)) return 'vision';
  return 'hidden';
}
