/** Quantised rows: how far they are from what was given, where their bits lie, and what is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packedTensor } from '../../compiler/bundle/packed-weights.ts';
import type { Block } from '../../compiler/bundle/packing.ts';
import { Packing, blockRows, blockSource } from '../../compiler/bundle/packing.ts';
import { dequantiseRows, quantiseRows, storedAs } from '../../compiler/bundle/quantise.ts';
import type { QuantisedFormat, WeightFormat } from '../../compiler/ir/weight-format.ts';
import { codeWords, int4Groups, isQuantised, parseWeightFormat, printWeightFormat, rowBytes, rowWords } from '../../compiler/ir/weight-format.ts';
import { fromF16 } from '../../runtime/half.ts';
import { packed } from '../support/packed.ts';

const formats: readonly QuantisedFormat[] = [{ kind: 'int8' }, ...int4Groups.flatMap((group) => [true, false].map((symmetric) => ({ kind: 'int4' as const, group, symmetric })))];
const anyFormat = fc.constantFrom(...formats);

/** Words of rows, what they stand for, and the error that was told. */
function quantised(format: QuantisedFormat, values: ArrayLike<number>, K: number) {
  const given = Float32Array.from(values), words = new Uint32Array((given.length / K) * rowWords(format, K));
  const error = quantiseRows(format, given, K, words, 'w');
  return { given, words, error, stored: dequantiseRows(format, words, K) };
}
/** The step of element k of a row, as its words say. */
function stepOf(format: QuantisedFormat, row: Uint32Array, K: number, k: number): number {
  const at = codeWords(format, K);
  if (format.kind === 'int8') return new Float32Array(row.slice(at, at + 1).buffer)[0]!;
  const g = Math.floor(k / format.group);
  return Math.abs(fromF16(format.symmetric ? row[at + (g >> 1)]! >>> ((g & 1) * 16) : row[at + g]!));
}

describe('formats', () => {
  test('print and parse', () => {
    for (const f of [...formats, { kind: 'f32' }, { kind: 'f16' }] as const) expect(parseWeightFormat(printWeightFormat(f))).toEqual(f);
    expect(parseWeightFormat('int4')).toEqual({ kind: 'int4', group: 32, symmetric: true });
    expect(parseWeightFormat('int4:asymmetric,group=128')).toEqual({ kind: 'int4', group: 128, symmetric: false });
    for (const text of ['', 'int5', 'int8:group=32', 'int4:', 'int4:group=16', 'int4:group=32,group=64', 'int4:symmetric,asymmetric', 'int4:group=32:x', 'f16:symmetric']) expect(parseWeightFormat(text)).toBeUndefined();
  });
  test('bytes of a row', () => {
    const bytes = (text: string, K: number): number => rowBytes(parseWeightFormat(text)!, K);
    expect([bytes('f32', 90), bytes('f16', 90), bytes('int8', 90), bytes('int4', 90), bytes('int4:asymmetric', 90), bytes('int4:group=128', 90)]).toEqual([360, 180, 96, 56, 60, 52]);
    expect([bytes('int8', 4096), bytes('int4', 4096), bytes('int4:group=64', 4096), bytes('int4:group=128,asymmetric', 4096)]).toEqual([4100, 2304, 2176, 2176]);
  });
});

test('the bits of a row are where the documentation says', () => {
  const eight = quantised({ kind: 'int8' }, [127, -127, 1, -1, 64, 0], 6);
  expect([...eight.words.subarray(0, 2)].map((w) => w.toString(16))).toEqual(['ff01817f', '40']);
  expect(new Float32Array(eight.words.slice(2).buffer)[0]).toBe(1);
  // Halves of steps decide which way the sign of the scale goes: −8 is the larger extreme, 7 the other.
  const four = quantised({ kind: 'int4', group: 32, symmetric: true }, [-8, -7, -6, -5, 4, 5, 6, 7, 1], 9);
  expect([...four.words.subarray(0, 2)].map((w) => w.toString(16))).toEqual(['f3e2d1c0', '88888889']);
  expect([fromF16(four.words[2]! & 0xffff), four.words[2]! >>> 16]).toEqual([1, 0]);
  expect([...four.stored]).toEqual([-8, -7, -6, -5, 4, 5, 6, 7, 1]);
  const skew = quantised({ kind: 'int4', group: 32, symmetric: false }, [100, 101, 115, 107], 4);
  expect(skew.words[0]!.toString(16)).toBe('70f0100');
  expect([fromF16(skew.words[1]! & 0xffff), fromF16(skew.words[1]! >>> 16)]).toEqual([1, 100]);
});

describe('every element is within half a step', () => {
  const sized = (element: fc.Arbitrary<number>) => fc.tuple(anyFormat, fc.integer({ min: 1, max: 150 }), fc.integer({ min: 1, max: 3 })).chain(([format, K, rows]) => fc.array(element, { minLength: rows * K, maxLength: rows * K }).map((values) => ({ format, K, values })));
  const holds = ({ format, K, values }: { format: QuantisedFormat; K: number; values: readonly number[] }): void => {
    const { given, stored, words, error } = quantised(format, values, K), stride = rowWords(format, K);
    let squaredError = 0, worst = 0, largest = 0;
    given.forEach((x, i) => {
      const row = Math.floor(i / K), step = stepOf(format, words.subarray(row * stride, (row + 1) * stride), K, i % K), off = Math.abs(stored[i]! - x);
      // Sums are rounded to f32 once more, and a tie may fall either way.
      expect(off, `element ${i} of ${printWeightFormat(format)}: ${x} became ${stored[i]}, step ${step}`).toBeLessThanOrEqual((step / 2) * (1 + 1e-6) + 2e-7 * Math.abs(x));
      squaredError += off * off; worst = Math.max(worst, off); largest = Math.max(largest, Math.abs(x));
    });
    expect(error.worst).toBeCloseTo(worst, 5 - Math.ceil(Math.log10(largest + 1e-30)));
    expect(Math.sqrt(error.squaredError)).toBeLessThanOrEqual(Math.sqrt(squaredError) * 1.001 + 1e-6 * largest);
    expect(error.largest).toBe(largest);
  };
  const float = (max: number) => fc.float({ min: Math.fround(-max), max: Math.fround(max), noNaN: true });
  test('of ordinary size', () => { fc.assert(fc.property(sized(float(1)), holds), { numRuns: 150 }); });
  test('of one sign, far from 0', () => { fc.assert(fc.property(sized(fc.float({ min: 100, max: 101, noNaN: true })), holds), { numRuns: 60 }); });
  test('huge', () => { fc.assert(fc.property(sized(float(4e5)).filter((s) => s.format.kind === 'int8' || s.format.symmetric), holds), { numRuns: 60 }); });
  test('tiny', () => { fc.assert(fc.property(sized(float(1e-6)), holds), { numRuns: 60 }); fc.assert(fc.property(sized(float(1e-30)), holds), { numRuns: 30 }); });
  test('a few large ones among small ones', () => { fc.assert(fc.property(sized(fc.oneof({ weight: 20, arbitrary: float(0.01) }, { weight: 1, arbitrary: float(60) })), holds), { numRuns: 60 }); });
});

test('rows of zeros are zero, and constant rows nearly constant', () => {
  for (const format of formats) for (const K of [1, 31, 100]) {
    const zero = quantised(format, new Float32Array(2 * K), K);
    expect([...zero.stored].every((x) => x === 0)).toBe(true);
    expect(zero.error).toMatchObject({ squaredError: 0, squares: 0, worst: 0, largest: 0 });
    for (const c of [1, -0.37, 12345, 3e-5]) for (const x of quantised(format, new Float32Array(K).fill(c), K).stored) expect(Math.abs(x - c)).toBeLessThanOrEqual(Math.abs(c) * 2e-3 + 6e-8);
  }
});

test('a group that K cuts short has a scale of its own', () => {
  const { stored } = quantised({ kind: 'int4', group: 32, symmetric: true }, [...new Array<number>(32).fill(1000), 0.5, -0.25], 34);
  expect(stored[32]).toBeCloseTo(0.5, 3);
  expect(stored[33]).toBeCloseTo(-0.25, 1);
});

test('stored numbers do not change when they are stored again', () => {
  fc.assert(fc.property(anyFormat, fc.array(fc.float({ min: -2, max: 2, noNaN: true }), { minLength: 70, maxLength: 70 }), (format, values) => {
    const once = storedAs(format, Float32Array.from(values), 35), again = storedAs(format, once, 35);
    // Scales are found anew, so the second rounding may move a number by the f16 rounding of a scale, never by a step.
    once.forEach((x, i) => expect(Math.abs(again[i]! - x)).toBeLessThan(0.2));
  }), { numRuns: 40 });
});

describe('what cannot be quantised is refused in one sentence', () => {
  test.each([['int4', 1e6], ['int4:group=64', -5e5 * 1.2], ['int4:asymmetric', -7e4], ['int4:asymmetric', 1.2e6]])('%s of %d', (text, x) => {
    expect(() => storedAs(parseWeightFormat(text)!, Float32Array.from([0, x, 1, 2]), 4, 'layers.0.up_proj.weight')).toThrow(`Tensor 'layers.0.up_proj.weight' holds ${x}, for which the f16 scales of ${printWeightFormat(parseWeightFormat(text)!)} do not reach. Keep it in a wider format: --keep layers.0.up_proj:f32.`);
  });
  test.each([[NaN, 'NaN'], [Infinity, 'Infinity'], [-Infinity, '-Infinity']])('%d in a checkpoint', async (x, text) => {
    for (const format of formats) {
      const weight = packed({ name: 'w', blocks: [{ tensors: ['w'], rows: 2 }], shape: [2, 40], format }, [{ name: 'w', dtype: 'F32', rows: 2, columns: 40, value: (r, c) => (r === 1 && c === 1 ? x : 1) }]);
      await expect(weight).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining(`holds ${text} at [1, 1]; every weight must be a finite number.`) });
    }
  });
});

describe('in a bundle', () => {
  const rowsOf = (name: string, rows: number, columns: number): Float32Array => Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 7.3 + name.length * 3 + name.charCodeAt(1)) * (1 + (Math.floor(i / columns) % 3)));

  test('every row lies where its block says, whatever is interleaved or rotated', async () => {
    const block = fc.record({ names: fc.integer({ min: 1, max: 2 }), heads: fc.integer({ min: 1, max: 3 }), headDim: fc.constantFrom(undefined, 2, 4) });
    await fc.assert(fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 70 }), fc.constantFrom<WeightFormat>({ kind: 'f16' }, ...formats), async (list, columns, format) => {
      const blocks = list.map(({ names, heads, headDim }, i): Block => ({ tensors: Array.from({ length: names }, (_, j) => `t${i}.${j}`), rows: heads * (headDim ?? 3), ...(headDim ? { headDim } : {}) }));
      const sizes = new Map(blocks.flatMap((b) => b.tensors.map((t) => [t, b.rows] as const)));
      const noted: string[] = [], rows = blocks.reduce((n, b) => n + blockRows(b), 0), whole = { name: 'x', blocks, shape: [rows, columns], format };
      const tensor = packedTensor(whole), stride = rowBytes(format, columns);
      const bytes = new Uint8Array(await packed(whole, [...sizes].map(([name, n]) => ({ name, dtype: 'F32', rows: n, columns, value: (r, c) => rowsOf(name, n, columns)[r * columns + c]! })), (name) => noted.push(name)));
      expect(bytes.length).toBe(tensor.shape.reduce((a, b) => a * b, 1) * (tensor.dtype === 'U32' ? 4 : 2));
      expect(bytes.length).toBe(rows * stride);
      let at = 0;
      for (const b of blocks) for (let r = 0; r < blockRows(b); r++, at++) {
        const { tensor: from, row } = blockSource(b, r), given = rowsOf(from, b.rows, columns).slice(row * columns, (row + 1) * columns), own = bytes.subarray(at * stride, (at + 1) * stride);
        const got = isQuantised(format) ? dequantiseRows(format, new Uint32Array(Uint8Array.from(own).buffer), columns) : Float32Array.from(new Uint16Array(Uint8Array.from(own).buffer), fromF16);
        expect([...got]).toEqual([...storedAs(format, given, columns)]);
      }
      expect(new Set(noted).size).toBe(isQuantised(format) ? sizes.size : 0);
    }), { numRuns: 40 });
  });

  test('blocks in different formats are no one tensor, and interleaved tensors need one format', () => {
    const packing = new Packing((name) => (name.startsWith('q') ? { kind: 'f16' } : { kind: 'int8' }));
    const [q, k, v] = ['q', 'k', 'v'].map((name): Block => ({ tensors: [name], rows: 64 })) as [Block, Block, Block];
    packing.want([k, q, v], 64);
    packing.want([q, k, v], 64);
    expect(packing.find([q, k, v], 64).map((view) => view.parts.map((p) => p.of))).toEqual([[0], [1, 2]]);
    expect(packing.find([v], 64)).toMatchObject([{ name: 'k+v.packed', firstRow: 64, rows: 64 }]); // 64 · 68 bytes are a multiple of 256
    expect([...packing.tensors.values()].map((t) => [t.name, t.format.kind])).toEqual([['k+v.packed', 'int8'], ['q', 'f16']]);
    expect(() => packing.find([{ tensors: ['q', 'up'], rows: 4 }], 64)).toThrow("'q' would be stored as f16 and 'up' as int8, but one kernel reads the two row by row in turn, so they need one format.");
  });
});
