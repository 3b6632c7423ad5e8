/** Exact shares, and dims that are a share of another dim in whole rows. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fraction, floorName, readFloor, renameDim } from '../../compiler/ir/fraction.ts';
import { Poly } from '../../compiler/ir/poly.ts';

describe('a fraction is what its decimals say', () => {
  test.each([
    ['0.9', '9/10'], ['.5', '1/2'], ['1', '1'], ['0', '0'], ['9/10', '9/10'], ['2/4', '1/2'], ['90%', '9/10'], ['33.3%', '333/1000'], ['1e-3', '1/1000'], ['2.5E1', '25'], [' 1/3 ', '1/3'],
  ])('%s is %s', (text, is) => expect(String(Fraction.parse(text))).toBe(is));
  test.each(['', '.', '-1', '1/0', '0.5/2', '1/2%', 'half', '1e9999', 'NaN', '0x1'])("'%s' is none", (text) => expect(Fraction.parse(text)).toBeUndefined());
  test('numbers of JavaScript too, and what is left of one', () => {
    expect(String(Fraction.parse(0.1)!.rest())).toBe('9/10');
    expect(String(Fraction.parse(0.3)!.times(Fraction.parse(0.5)!))).toBe('3/20');
    expect(Fraction.parse(-0.1)).toBeUndefined();
  });
  test('texts parse back', () => fc.assert(fc.property(fc.bigInt(0n, 999n), fc.bigInt(1n, 999n), (a, b) => {
    const f = Fraction.of(a, b);
    expect(Fraction.parse(String(f))!.equals(f)).toBe(true);
    expect(f.rest().rest().equals(f)).toBe(true);
  })));
});

describe('floor(9V/10)', () => {
  const ninety = floorName(Fraction.of(9n, 10n), 'V'), rows = Poly.dim(ninety);
  test('has its value from V', () => {
    expect([0, 1, 9, 10, 576].map((V) => rows.at({ V }))).toEqual([0, 0, 8, 9, 518]);
    expect(rows.mul(rows).add(3).at({ V: 11 })).toBe(84);
    expect(() => rows.at({ T: 1 })).toThrow("The size of dim 'V' is not given");
  });
  test('follows V under another name, and at a size', () => {
    expect(String(rows.substitute({ V: Poly.dim('CV') }))).toBe('floor(9CV/10)');
    expect(rows.substitute({ V: 11 }).constant()).toBe(9);
    expect(String(rows.substitute({ T: 4 }))).toBe(ninety);
    expect(() => rows.substitute({ V: Poly.dim('V').add(1) })).toThrow("'V + 1' is no dim");
    expect(renameDim(ninety, (d) => `C${d}`)).toBe('floor(9CV/10)');
    expect(renameDim('V', (d) => `C${d}`)).toBe('CV');
  });
  test('reads back, alone and in a polynomial', () => {
    expect(readFloor('floor(V/2)')).toEqual({ share: Fraction.of(1n, 2n), dim: 'V' });
    expect(readFloor('V')).toBeUndefined();
    const p = Poly.dim('V').sub(rows).mul(rows).add(7);
    expect(Poly.parse(String(p)).equals(p)).toBe(true);
  });
});

test('the nearest integer: halves up, whatever the sign', () => {
  const half = Poly.dim('n').div(2);
  expect([3, 4, -3, -4, 0].map((n) => half.nearest({ n }))).toEqual([2n, 2n, -1n, -2n, 0n]);
  expect(Poly.dim('n').div(3).nearest({ n: -4 })).toBe(-1n);
  expect(() => half.evaluate({ n: 3 })).toThrow('1/2*n is no integer at {"n":3}.');
});
