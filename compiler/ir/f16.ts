const f32 = new Float32Array(1), bits = new Uint32Array(f32.buffer);

/** The nearest f16 value (IEEE 754 binary16), ties to even, as a number; infinite from 65,520 on. */
export function roundToF16(x: number): number {
  if (!Number.isFinite(x)) return x;
  f32[0] = x;
  // Steps between neighbours are 2^-10 of the exponent's power of two, and 2^-24 among the smallest.
  const exponent = Math.max(((bits[0]! >>> 23) & 255) - 127, -14), step = 2 ** (exponent - 10);
  // Adding 1.5·2^52 steps leaves no bits below one step in an f64.
  const magic = 1.5 * 2 ** 52 * step, r = x + magic - magic;
  return Math.abs(r) > 65504 ? Math.sign(r) * Infinity : r;
}
