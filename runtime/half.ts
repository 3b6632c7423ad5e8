/**
 * Half-precision numbers. f16 is IEEE 754 binary16, bf16 is the upper half of a float32. Values travel as their bits in
 * a `Uint16Array`; rounding is to nearest, ties to even, as hardware and PyTorch do it.
 */

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** Bits of the float16 next to the float32 whose bits are `bits`. Too large becomes infinity, NaN stays NaN. */
function roundToF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const abs = bits & 0x7fffffff;
  if (abs >= 0x47800000) {
    // 65536 and beyond, infinity, NaN. A NaN keeps the top of its payload and is made quiet, never infinity.
    return abs > 0x7f800000 ? sign | 0x7e00 | ((abs >>> 13) & 0x1ff) : sign | 0x7c00;
  }
  if (abs >= 0x38800000) {
    // A normal float16: move the exponent's bias (127 to 15), round at bit 13; a carry runs into the exponent rightly.
    return sign | ((abs - 0x38000000 + 0xfff + ((abs >>> 13) & 1)) >>> 13);
  }
  if (abs <= 0x33000000) return sign; // at most 2^-25, half of the smallest subnormal: zero (the tie is even)
  const shift = 126 - (abs >>> 23);
  const mantissa = (abs & 0x7fffff) | 0x800000;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const quotient = mantissa >>> shift;
  return sign | (rest > half || (rest === half && (quotient & 1) === 1) ? quotient + 1 : quotient);
}

/** The float16 bits nearest to a number (which is first rounded to float32, as a GPU would hold it). */
export function toF16(value: number): number {
  scratch[0] = value;
  return roundToF16(scratchBits[0]!);
}

let table: Float32Array | undefined;

/** Every float16 as a float32, by its bits: 256 KiB, made once, faster than arithmetic on each element. */
function f16Table(): Float32Array {
  if (table) return table;
  const bits = new Uint32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = (h & 0x8000) << 16;
    const exponent = (h >>> 10) & 31;
    const mantissa = h & 0x3ff;
    if (exponent === 31) bits[h] = sign | 0x7f800000 | (mantissa << 13);
    else if (exponent > 0) bits[h] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    else {
      scratch[0] = mantissa / 16777216; // subnormal: mantissa × 2^-24, exact
      bits[h] = sign | scratchBits[0]!;
    }
  }
  return (table = new Float32Array(bits.buffer));
}

/** float16 bits to the number that they stand for, exactly. */
export function fromF16(bits: number): number {
  return f16Table()[bits & 0xffff]!;
}

/** float16 bits to float32 values, element for element. */
export function f16ToF32(source: Uint16Array, out: Float32Array = new Float32Array(source.length)): Float32Array {
  const values = f16Table();
  for (let i = 0; i < source.length; i++) out[i] = values[source[i]!]!;
  return out;
}

/** float32 values to float16 bits, rounded to nearest even. */
export function f32ToF16(source: Float32Array, out: Uint16Array = new Uint16Array(source.length)): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < bits.length; i++) out[i] = roundToF16(bits[i]!);
  return out;
}

/** bfloat16 bits to float32 values, element for element. */
export function bf16ToF32(source: Uint16Array, out: Float32Array = new Float32Array(source.length)): Float32Array {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < source.length; i++) bits[i] = source[i]! << 16;
  return out;
}

/** Index of the first NaN or infinity, or -1. */
export function findNonFinite(values: Float32Array): number {
  // x - x is 0 for every finite x and NaN otherwise; one subtraction and compare an element.
  for (let i = 0; i < values.length; i++) if (values[i]! - values[i]! !== 0) return i;
  return -1;
}
