/**
 * Pseudo-random numbers and an exponential that give the same bits on every machine: integer arithmetic and the basic
 * operations of IEEE 754 alone. `Math.exp` may differ in the last bit from one engine to the next, and one bit can turn a draw.
 */

/** sfc32 (C. Doty-Humphrey, PractRand), seeded through splitmix32. Period of at least 2^32. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  /** @param seed any integer up to 2^53 in size; both its halves count */
  constructor(seed: number) {
    let state = (Math.floor(seed / 2 ** 32) ^ 0x9e3779b9) >>> 0;
    const mix = (add: number): number => {
      state = (state + add + 0x9e3779b9) | 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return z ^ (z >>> 15);
    };
    this.a = mix(seed | 0);
    this.b = mix(0);
    this.c = mix(0);
    for (let i = 0; i < 12; i++) this.next32();
  }

  /** 32 random bits as an integer from 0 to 2^32 - 1. */
  next32(): number {
    const t = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** A number in [0, 1) with 53 random bits. */
  next(): number {
    return ((this.next32() >>> 5) * 67108864 + (this.next32() >>> 6)) / 9007199254740992;
  }
}

const LN2_HIGH = 0.6931471803691238; // ln 2 in two parts: k · LN2_HIGH is exact for the k that occur
const LN2_LOW = 1.9082149292705877e-10;

/** e^x for x ≤ 0, within 2^-50 of the truth, 0 below -745. */
export function exp(x: number): number {
  if (x < -745) return 0;
  const k = Math.round(x / 0.6931471805599453);
  const r = x - k * LN2_HIGH - k * LN2_LOW; // |r| ≤ ln(2)/2
  let sum = 1;
  for (let n = 13; n >= 1; n--) sum = 1 + (sum * r) / n; // Taylor by Horner; the rest is below 2^-57
  // Powers of two by repeated halving, so that no library function enters; k ≥ -1075.
  for (let i = k; i < 0; i++) sum *= 0.5;
  return sum;
}
