/**
 * Exact fractions, and dims that are a fraction of another dim in whole rows.
 *
 * A share of rows is written `0.9`, `9/10` or `90%` and means just that: 1 − 0.9 is 1/10, which floating point does not know.
 * Of `V` rows it leaves ⌊9V/10⌋, a dim of its own whose name says its value: `floor(9V/10)`. Whoever knows `V` knows it.
 */

export class Fraction {
  static readonly zero = new Fraction(0n, 1n);
  static readonly one = new Fraction(1n, 1n);
  /** In lowest terms, with a denominator of at least 1. */
  private constructor(readonly num: bigint, readonly den: bigint) {}

  static of(num: bigint, den: bigint): Fraction {
    let [a, b] = [num < 0n ? -num : num, den];
    while (b) [a, b] = [b, a % b];
    const by = (a || 1n) * (den < 0n ? -1n : 1n);
    return new Fraction(num / by, den / by);
  }

  /** What `0.9`, `.5`, `9/10`, `90%` and the number 0.9 say in decimals; undefined for any other text. */
  static parse(text: string | number): Fraction | undefined {
    const [, whole, decimals = '', exponent = '0', below = '1', percent] = /^(\d*)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?(?:\/(\d+))?(%)?$/.exec(String(text).trim()) ?? [];
    if (whole === undefined || whole + decimals === '' || (below !== '1' && (decimals || exponent !== '0' || percent)) || BigInt(below) === 0n) return undefined;
    const places = decimals.length - Number(exponent) + (percent ? 2 : 0), by = 10n ** BigInt(Math.abs(places));
    return places > 0 ? Fraction.of(BigInt(whole + decimals), by * BigInt(below)) : Fraction.of(BigInt(whole + decimals) * by, BigInt(below));
  }

  times(other: Fraction): Fraction { return Fraction.of(this.num * other.num, this.den * other.den); }
  /** What is left of the whole: 1 − this. */
  rest(): Fraction { return Fraction.of(this.den - this.num, this.den); }
  /** Negative, zero or positive as this is less than, equal to or greater than the other. */
  compare(other: Fraction): number { return Number(this.num * other.den - other.num * this.den); }
  equals(other: Fraction): boolean { return this.compare(other) === 0; }
  /** How many whole rows of `n` it is. */
  floorOf(n: bigint): bigint { return (n * this.num) / this.den; }
  /** `9/10`, or `2` if it is whole; `Fraction.parse` reads it. */
  toString(): string { return this.den === 1n ? `${this.num}` : `${this.num}/${this.den}`; }
}

/** The name of the dim ⌊share · dim⌋. */
export const floorName = (share: Fraction, dim: string): string => `floor(${share.num === 1n ? '' : share.num}${dim}/${share.den})`;

/** Of a dim that is a fraction of another one: which, and of which. */
export function readFloor(name: string): { readonly share: Fraction; readonly dim: string } | undefined {
  const [, num, dim, den] = /^floor\((\d*)([A-Za-z_]\w*)\/(\d+)\)$/.exec(name) ?? [];
  return dim === undefined || BigInt(den!) === 0n ? undefined : { share: Fraction.of(BigInt(num || '1'), BigInt(den!)), dim };
}

/** A dim's name with the dim inside renamed, where it is a fraction of one. */
export function renameDim(name: string, rename: (dim: string) => string): string {
  const floor = readFloor(name);
  return floor ? floorName(floor.share, rename(floor.dim)) : rename(name);
}
