/** How checkpoint tensors lie in a bundle: shared runs, interleaved pairs, rotated heads. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Block, PackedView } from '../../compiler/bundle/packing.ts';
import { Packing, blockRows, blockSource } from '../../compiler/bundle/packing.ts';
import { fromF16 } from '../../runtime/half.ts';
import { packed } from '../support/packed.ts';

const one = (name: string, rows: number, headDim?: number): Block => ({ tensors: [name], rows, ...(headDim ? { headDim } : {}) });
const q = one('layers.0.q_proj.weight', 8, 4), k = one('layers.0.k_proj.weight', 4, 4), v = one('layers.0.v_proj.weight', 4);
const only = (views: readonly PackedView[]): PackedView => { expect(views).toHaveLength(1); return views[0]!; };

describe('where tensors lie', () => {
  test('a run of another group\'s blocks is read where it lies, if a binding may begin there', () => {
    for (const [columns, shared] of [[64, true], [5, false]] as const) { // 8 rows × 64 × 4 bytes is a multiple of 256
      const p = new Packing(() => ({ kind: 'f32' }));
      p.want([k, v], columns);
      p.want([q, k, v], columns);
      const whole = only(p.find([q, k, v], columns)), part = only(p.find([k, v], columns));
      expect(whole).toMatchObject({ name: 'layers.0.q_proj+k_proj+v_proj.weight.packed', firstRow: 0, rows: 16 });
      expect(part).toMatchObject(shared ? { name: whole.name, firstRow: 8, rows: 8 } : { name: 'layers.0.k_proj+v_proj.weight.packed', firstRow: 0, rows: 8 });
      expect(p.tensors.size).toBe(shared ? 1 : 2);
    }
  });
  test('a run at the front needs no alignment; blocks in another order are no run', () => {
    const p = new Packing(() => ({ kind: 'f16' }));
    p.want([q, k, v], 5);
    expect(only(p.find([q, k], 5))).toMatchObject({ firstRow: 0, rows: 12 });
    expect(p.tensors.size).toBe(1);
    expect(only(p.find([k, q], 5)).name).not.toBe(only(p.find([q, k], 5)).name);
  });
  test('a matrix of one column is a matrix: vectors alone are said to be vectors', () => {
    const p = new Packing(() => ({ kind: 'f16' }));
    p.find([one('down_proj.weight', 3)], 1);
    p.find([one('norm.weight', 3)]);
    expect([...p.tensors.values()].map((t) => t.shape)).toEqual([[3, 1], [3]]);
  });
  test('a tensor that lies as in the checkpoint keeps its name; another layout of it gets its own', () => {
    const p = new Packing(() => ({ kind: 'f32' })), plain = one('lm_head.weight', 4);
    expect(only(p.find([plain], 3)).name).toBe('lm_head.weight');
    expect(only(p.find([one('lm_head.weight', 4, 2)], 3)).name).toBe('lm_head.weight.packed');
    expect(only(p.find([{ tensors: ['lm_head.weight', 'lm_head.weight'], rows: 4 }], 3)).name).toBe('lm_head.weight+weight.packed');
  });
});

describe('beyond the limit of a binding', () => {
  const limited = (limit: number, kind: 'f32' | 'f16' = 'f32') => new Packing(() => ({ kind }), { limit });
  const names = (p: Packing): string[] => [...p.tensors.keys()];

  test('a block is cut into slices of about equal size, which are tensors of their own', () => {
    const p = limited(1000 * 64 * 4), views = p.find([one('lm_head.weight', 2500)], 64);
    expect(views.map((v) => [v.name, v.firstRow, v.rows])).toEqual([['lm_head.weight[0:896]', 0, 896], ['lm_head.weight[896:1792]', 0, 896], ['lm_head.weight[1792:2500]', 0, 708]]);
    expect(views.map((v) => v.parts.map(({ of, first, rows }) => [of, first, rows]))).toEqual([[[0, 0, 896]], [[0, 896, 896]], [[0, 1792, 708]]]);
    expect(p.find([one('lm_head.weight', 2500)], 64)).toEqual(views);
    for (const t of p.tensors.values()) expect(t.shape[0]! * 64 * 4).toBeLessThanOrEqual(1000 * 64 * 4);
  });
  test('interleaved linears stay side by side, and heads whole', () => {
    const gated = limited(90, 'f16').find([{ tensors: ['gate.weight', 'up.weight'], rows: 5 }], 5); // 9 rows of 10 bytes
    expect(gated.map((v) => [v.name, v.rows])).toEqual([['gate+up.weight.packed[0:4]', 8], ['gate+up.weight.packed[4:5]', 2]]);
    const heads = limited(9 * 20).find([one('q_proj.weight', 12, 4)], 5);
    expect(heads.map((v) => v.parts[0])).toMatchObject([{ first: 0, rows: 8, block: { headDim: 4 } }, { first: 8, rows: 4, block: { first: 8, headDim: 4 } }]);
  });
  test('blocks that are too large together are laid apart, and read there by whoever wants some of them', () => {
    const p = limited(12 * 64 * 4);
    p.want([k, v], 64);
    p.want([q, k, v], 64);
    expect(p.find([q, k, v], 64).map((x) => x.name)).toEqual(['layers.0.q_proj+k_proj.weight.packed', 'layers.0.v_proj.weight']);
    expect(p.find([k, v], 64).map((x) => [x.name, x.firstRow, x.parts.map((y) => y.of)])).toEqual([['layers.0.q_proj+k_proj.weight.packed', 8, [0]], ['layers.0.v_proj.weight', 0, [1]]]);
    expect(names(p)).toHaveLength(2);
  });
  test('a row, a head or a vector beyond it is refused', () => {
    expect(() => limited(100).find([one('w', 4)], 64)).toThrow("A row of 'w' takes 256 bytes, more than a device may bind at once (100 bytes). Raise --binding-limit.");
    expect(() => limited(1000).find([one('w', 8, 4)], 64)).toThrow("A head of 'w' (4 rows) takes 1024 bytes");
    expect(() => limited(100).find([one('norm.weight', 64)])).toThrow("The vector 'norm.weight' takes 256 bytes");
  });
  test('whatever the limit: each row of each block once and in order, no tensor above the limit', () => {
    const block = fc.record({ names: fc.integer({ min: 1, max: 2 }), heads: fc.integer({ min: 1, max: 9 }), headDim: fc.constantFrom(undefined, 2, 4) });
    fc.assert(fc.property(fc.array(block, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 300, max: 3000 }), (list, columns, limit) => {
      const blocks = list.map(({ names: n, heads, headDim }, i): Block => ({ tensors: Array.from({ length: n }, (_, j) => `t${i}.${j}`), rows: heads * (headDim ?? 3), ...(headDim ? { headDim } : {}) }));
      const p = limited(limit), views = p.find(blocks, columns);
      const got = views.flatMap((v) => { const all = p.tensors.get(v.name)!.blocks.flatMap((b) => Array.from({ length: blockRows(b) }, (_, r) => blockSource(b, r))); return all.slice(v.firstRow, v.firstRow + v.rows); });
      expect(got).toEqual(blocks.flatMap((b) => Array.from({ length: blockRows(b) }, (_, r) => blockSource(b, r))));
      expect(views.flatMap((v) => v.parts).reduce((n, x) => n + blockRows(x.block), 0)).toBe(got.length);
      for (const t of p.tensors.values()) expect(t.shape[0]! * columns * 4).toBeLessThanOrEqual(limit);
    }), { numRuns: 100 });
  });
});

test('a rotated head puts the two halves of each pair side by side; interleaved linears alternate row by row', () => {
  expect(Array.from({ length: 8 }, (_, r) => blockSource(q, r).row)).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  expect(Array.from({ length: 4 }, (_, r) => blockSource({ tensors: ['gate', 'up'], rows: 2 }, r))).toEqual([{ tensor: 'gate', row: 0 }, { tensor: 'up', row: 0 }, { tensor: 'gate', row: 1 }, { tensor: 'up', row: 1 }]);
});

test('every row of every tensor is written once, where its block says', async () => {
  const block = fc.record({ names: fc.integer({ min: 1, max: 3 }), heads: fc.integer({ min: 1, max: 3 }), headDim: fc.constantFrom(undefined, 2, 4, 6) });
  await fc.assert(fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 5 }), fc.constantFrom<'f32' | 'f16'>('f32', 'f16'), fc.constantFrom('F32', 'F16', 'BF16'), async (list, columns, dtype, stored) => {
    const blocks = list.map(({ names, heads, headDim }, i): Block => ({ tensors: Array.from({ length: names }, (_, j) => `t${i}.${j}`), rows: heads * (headDim ?? 3), ...(headDim ? { headDim } : {}) }));
    // Whole numbers that even a bf16 holds exactly.
    const value = (tensor: string, row: number, column: number): number => { const [i, j] = tensor.slice(1).split('.').map(Number) as [number, number]; return (i * 64 + j * 16 + row * 5 + column) % 256; };
    const rows = blocks.reduce((n, b) => n + blockRows(b), 0);
    const bytes = await packed({ name: 'x', blocks, shape: [rows, columns], format: { kind: dtype } }, blocks.flatMap((b) => b.tensors.map((name) => ({ name, dtype: stored as 'F32', rows: b.rows, columns, value: (r: number, c: number) => value(name, r, c) }))));
    const wanted = blocks.flatMap((b) => Array.from({ length: blockRows(b) }, (_, r) => blockSource(b, r)).flatMap(({ tensor, row }) => Array.from({ length: columns }, (_, c) => value(tensor, row, c))));
    expect(dtype === 'f32' ? [...new Float32Array(bytes)] : Array.from(new Uint16Array(bytes), fromF16)).toEqual(wanted);
  }), { numRuns: 60 });
});

test.each([['F32', 70_000, /^Tensor 'w' holds 70000, which f16 cannot hold \(65504 at most\)\. Compile with --dtype f32\.$/], ['BF16', 2 ** 17, /holds 131072, which f16 cannot hold/], ['F32', NaN, /Tensor "w" of .* holds NaN at \[1, 0\]/], ['F16', Infinity, /holds Infinity at \[1, 0\]/], ['BF16', -Infinity, /holds -Infinity at \[1, 0\]/]] as const)('%s of %d is refused in f16', async (dtype, x, message) => {
  const weight = packed({ name: 'w', blocks: [one('w', 2)], shape: [2, 1], format: { kind: 'f16' } }, [{ name: 'w', dtype, rows: 2, columns: 1, value: (r) => (r ? x : 1) }]);
  await expect(weight).rejects.toMatchObject({ exitCode: 1, message: expect.stringMatching(message) });
});
