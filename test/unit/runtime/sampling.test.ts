import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exp, Random } from '../../../runtime/random.ts';
import { argmax, Sampler, type SamplingOptions } from '../../../runtime/sampling.ts';

const logits = fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 40 }).map((l) => Float32Array.from(l, (v) => Math.round(v * 16) / 16)); // no two so close that exp makes them equal

/** Ids that may be drawn, by the definition, with their probabilities. */
function allowed(l: Float32Array, { temperature = 0, topK = 0, topP = 1 }: SamplingOptions): Map<number, number> {
  const top = Math.max(...l);
  let list = [...l].map((v, i) => ({ i, p: Math.exp((v - top) / temperature) })).filter((e) => e.p > 0).sort((a, b) => b.p - a.p || a.i - b.i); // prettier-ignore
  if (topK > 0) list = list.slice(0, topK);
  const total = list.reduce((s, e) => s + e.p, 0);
  let sum = 0;
  const end = list.findIndex((e) => (sum += e.p / total) >= topP - 1e-9);
  if (end >= 0) list = list.slice(0, end + 2); // one more: the definition's own rounding may differ at the boundary
  const kept = list.reduce((s, e) => s + e.p, 0);
  return new Map(list.map((e) => [e.i, e.p / kept]));
}

test('greedy takes the first of the largest', () => {
  expect(argmax(Float32Array.of(1, 3, 3, -Infinity))).toBe(1);
  fc.assert(fc.property(logits, (l) => new Sampler().next(l) === l.indexOf(Math.max(...l))));
});

test('no draw leaves the filters', () => {
  const options = fc.record({ temperature: fc.double({ min: 0.05, max: 3, noNaN: true }), topK: fc.nat(8), topP: fc.double({ min: 0.01, max: 1, noNaN: true }), seed: fc.integer() });
  fc.assert(
    fc.property(logits, options, (l, o) => {
      const sampler = new Sampler(o);
      const may = allowed(l, o);
      for (let i = 0; i < 20; i++) expect(may.has(sampler.next(l))).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test.each<SamplingOptions>([{ temperature: 1 }, { temperature: 0.5, topK: 3 }, { temperature: 2, topK: 4, topP: 0.999 }])('draws come as often as their probabilities: %j', (options) => {
  const l = Float32Array.of(0, 1, 2, -1, 1.5, -Infinity);
  const sampler = new Sampler({ ...options, seed: 11 });
  const counts = new Map<number, number>();
  const n = 40_000;
  for (let i = 0; i < n; i++) {
    const id = sampler.next(l);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  for (const [id, p] of allowed(l, options)) expect(Math.abs((counts.get(id) ?? 0) / n - p)).toBeLessThan(0.012); // some five standard deviations
});

test('top-k of a large vocabulary is what sorting gives', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.integer(), (topK, seed) => {
      const random = new Random(seed);
      const l = Float32Array.from({ length: 300 }, () => Math.round(random.next() * 40) / 4); // many ties
      const best = new Set([...l.keys()].sort((a, b) => l[b]! - l[a]! || a - b).slice(0, topK));
      const sampler = new Sampler({ temperature: 5, topK, seed });
      for (let i = 0; i < 30; i++) expect(best.has(sampler.next(l))).toBe(true);
    }),
  );
});

describe('random numbers', () => {
  test('are these, on every machine', () => {
    const r = new Random(42);
    expect([r.next32(), r.next32(), r.next32()]).toMatchInlineSnapshot(`
      [
        2256871619,
        352704449,
        1081242612,
      ]
    `);
    const s = new Sampler({ temperature: 1, seed: 7 });
    const l = Float32Array.from({ length: 50 }, (_, i) => ((i * 37) % 50) / 10);
    expect(Array.from({ length: 10 }, () => s.next(l))).toMatchInlineSnapshot(`
      [
        4,
        17,
        39,
        43,
        4,
        8,
        16,
        4,
        39,
        31,
      ]
    `);
  });
  test('are spread evenly, and differ by seed', () => {
    const bins = new Array<number>(16).fill(0);
    const r = new Random(1);
    for (let i = 0; i < 16000; i++) bins[Math.floor(r.next() * 16)]!++;
    const chi2 = bins.reduce((s, b) => s + (b - 1000) ** 2 / 1000, 0);
    expect(chi2).toBeLessThan(37.7); // 99.9 % of the distribution with 15 degrees of freedom
    const seeds = [0, 1, -1, 2 ** 32, 2 ** 53 - 1, -(2 ** 40)];
    expect(new Set(seeds.map((s) => new Random(s).next())).size).toBe(seeds.length);
  });
  test('a seed is drawn and told when none is given', () => {
    const l = Float32Array.from({ length: 99 }, (_, i) => i % 7);
    const one = new Sampler({ temperature: 1 });
    const two = new Sampler({ temperature: 1, seed: one.seed });
    expect(Array.from({ length: 9 }, () => one.next(l))).toEqual(Array.from({ length: 9 }, () => two.next(l)));
  });
});

test('exp is right to 15 digits', () => {
  for (let x = 0; x > -700; x -= 0.37) expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(2e-15);
  expect(exp(-1e9)).toBe(0);
  expect(exp(-Infinity)).toBe(0);
});

describe('what cannot be drawn from', () => {
  test.each<[number[], RegExp]>([
    [[1, NaN, 2], /Logit 1 of 3 is NaN/],
    [[1, Infinity], /Logit 1 of 2 is Infinity/],
    [[-Infinity, -Infinity], /None of the 2 logits/],
    [[], /None of the 0 logits/],
  ])('%j', (l, message) => {
    for (const temperature of [0, 1]) expect(() => new Sampler({ temperature }).next(Float32Array.from(l))).toThrow(expect.objectContaining({ code: 'sampling', message: expect.stringMatching(message) }));
  });
  test.each<[SamplingOptions, RegExp]>([
    [{ temperature: -1 }, /temperature is -1/],
    [{ temperature: NaN }, /temperature is NaN/],
    [{ topK: 1.5 }, /topK is 1.5/],
    [{ topP: 0 }, /topP is 0/],
    [{ topP: 1.1 }, /topP is 1.1/],
    [{ seed: 0.5 }, /seed is 0.5/],
  ])('%j', (options, message) => expect(() => new Sampler(options)).toThrow(message));
});
