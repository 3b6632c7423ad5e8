import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bf16ToF32, f16ToF32, f32ToF16, findNonFinite, fromF16, toF16 } from '../../../runtime/half.ts';

/** The definition, in float64: the nearest of all finite float16 values, ties to the even mantissa. */
function nearest(x: number): number {
  if (Number.isNaN(x)) return NaN;
  const a = Math.abs(x);
  const sign = Object.is(x, -0) || x < 0 ? -1 : 1;
  if (a >= 65520) return sign * Infinity;
  const exponent = Math.max(-14, Math.floor(Math.log2(a || 1e-30)));
  const unit = 2 ** (exponent - 10);
  const q = a / unit;
  const low = Math.floor(q);
  const rest = q - low;
  return sign * (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low) * unit;
}

describe('float16', () => {
  test('every bit pattern survives the way to float32 and back', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const back = f32ToF16(f16ToF32(all));
    for (let i = 0; i < 65536; i++) {
      const isNaN16 = (i & 0x7c00) === 0x7c00 && (i & 0x3ff) !== 0;
      if (isNaN16) expect((back[i]! & 0x7c00) === 0x7c00 && (back[i]! & 0x3ff) !== 0).toBe(true);
      else if (back[i] !== i) expect(back[i]).toBe(i);
    }
  });

  test('rounds to nearest, ties to even, subnormals and overflow included', () => {
    const tricky = fc.oneof(
      fc.float({ noNaN: true }),
      fc.float({ min: Math.fround(-7e-5), max: Math.fround(7e-5), noNaN: true }),
      // Halfway between neighbours, and just beside it.
      fc.tuple(fc.integer({ min: 0, max: 0x7bff }), fc.constantFrom(-1, 0, 1)).map(([h, d]) => {
        const f = new Float32Array([(fromF16(h) + fromF16(h + 1 > 0x7bff ? h : h + 1)) / 2]);
        new Uint32Array(f.buffer)[0]! += d;
        return f[0]!;
      }),
    );
    fc.assert(fc.property(tricky, (x) => Object.is(fromF16(toF16(x)), nearest(x))), { numRuns: 5000 });
  });

  test('knows the edges', () => {
    const cases: [number, number][] = [
      [0, 0], [-0, 0x8000], [1, 0x3c00], [65504, 0x7bff], [65519.996, 0x7bff], [65520, 0x7c00], [-1e30, 0xfc00], [Infinity, 0x7c00],
      [2 ** -24, 1], [2 ** -25, 0], [2 ** -25 * 1.0001, 1], [2 ** -14, 0x400], [2 ** -14 - 2 ** -25, 0x400], [1e-40, 0],
    ]; // prettier-ignore
    for (const [x, bits] of cases) expect(toF16(x), String(x)).toBe(bits);
    expect(fromF16(toF16(NaN))).toBeNaN();
  });
});

test('bfloat16 is the upper half of float32', () => {
  expect([...bf16ToF32(Uint16Array.of(0x3f80, 0xc000, 0x0000, 0x7f80))]).toEqual([1, -2, 0, Infinity]);
});

test('the first value that is not finite is found', () => {
  expect(findNonFinite(Float32Array.of(1, -3e38, 0))).toBe(-1);
  expect(findNonFinite(Float32Array.of(1, NaN, Infinity))).toBe(1);
  expect(findNonFinite(Float32Array.of(-Infinity))).toBe(0);
});
