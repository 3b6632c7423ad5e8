/** How checkpoint tensors lie in a bundle: shared runs, interleaved pairs, rotated heads. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Checkpoint } from '../../compiler/bundle/checkpoint.ts';
import { packedTensor } from '../../compiler/bundle/pack-data.ts';
import type { Block } from '../../compiler/bundle/packing.ts';
import { Packing, blockRows, blockSource } from '../../compiler/bundle/packing.ts';
import { fromF16 } from '../../runtime/half.ts';

const one = (name: string, rows: number, headDim?: number): Block => ({ tensors: [name], rows, ...(headDim ? { headDim } : {}) });
const q = one('layers.0.q_proj.weight', 8, 4), k = one('layers.0.k_proj.weight', 4, 4), v = one('layers.0.v_proj.weight', 4);

describe('where tensors lie', () => {
  test('a run of another group\'s blocks is read where it lies, if a binding may begin there', () => {
    for (const [columns, shared] of [[64, true], [5, false]] as const) { // 8 rows × 64 × 4 bytes is a multiple of 256
      const p = new Packing(() => ({ kind: 'f32' }));
      p.want([k, v], columns);
      p.want([q, k, v], columns);
      const whole = p.find([q, k, v], columns), part = p.find([k, v], columns);
      expect(whole).toEqual({ name: 'layers.0.q_proj+k_proj+v_proj.weight.packed', firstRow: 0, rows: 16 });
      expect(part).toEqual(shared ? { name: whole.name, firstRow: 8, rows: 8 } : { name: 'layers.0.k_proj+v_proj.weight.packed', firstRow: 0, rows: 8 });
      expect(p.tensors.size).toBe(shared ? 1 : 2);
    }
  });
  test('a run at the front needs no alignment; blocks in another order are no run', () => {
    const p = new Packing(() => ({ kind: 'f16' }));
    p.want([q, k, v], 5);
    expect(p.find([q, k], 5)).toMatchObject({ firstRow: 0, rows: 12 });
    expect(p.tensors.size).toBe(1);
    expect(p.find([k, q], 5).name).not.toBe(p.find([q, k], 5).name);
  });
  test('a matrix of one column is a matrix: vectors alone are said to be vectors', () => {
    const p = new Packing(() => ({ kind: 'f16' }));
    p.find([one('down_proj.weight', 3)], 1);
    p.find([one('norm.weight', 3)]);
    expect([...p.tensors.values()].map((t) => t.shape)).toEqual([[3, 1], [3]]);
  });
  test('a tensor that lies as in the checkpoint keeps its name; another layout of it gets its own', () => {
    const p = new Packing(() => ({ kind: 'f32' })), plain = one('lm_head.weight', 4);
    expect(p.find([plain], 3).name).toBe('lm_head.weight');
    expect(p.find([one('lm_head.weight', 4, 2)], 3).name).toBe('lm_head.weight.packed');
    expect(p.find([{ tensors: ['lm_head.weight', 'lm_head.weight'], rows: 4 }], 3).name).toBe('lm_head.weight+weight.packed');
  });
});

test('a rotated head puts the two halves of each pair side by side; interleaved linears alternate row by row', () => {
  expect(Array.from({ length: 8 }, (_, r) => blockSource(q, r).row)).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  expect(Array.from({ length: 4 }, (_, r) => blockSource({ tensors: ['gate', 'up'], rows: 2 }, r))).toEqual([{ tensor: 'gate', row: 0 }, { tensor: 'up', row: 0 }, { tensor: 'gate', row: 1 }, { tensor: 'up', row: 1 }]);
});

test('every row of every tensor is written once, where its block says', async () => {
  const block = fc.record({ names: fc.integer({ min: 1, max: 3 }), heads: fc.integer({ min: 1, max: 3 }), headDim: fc.constantFrom(undefined, 2, 4, 6) });
  await fc.assert(fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 5 }), fc.constantFrom<'f32' | 'f16'>('f32', 'f16'), async (list, columns, dtype) => {
    const blocks = list.map(({ names, heads, headDim }, i): Block => ({ tensors: Array.from({ length: names }, (_, j) => `t${i}.${j}`), rows: heads * (headDim ?? 3), ...(headDim ? { headDim } : {}) }));
    const value = (tensor: string, row: number, column: number): number => { const [i, j] = tensor.slice(1).split('.').map(Number) as [number, number]; return i * 512 + j * 128 + row * 5 + column; };
    const files = { rows: async (name: string, from: number, count: number) => Float32Array.from({ length: count * columns }, (_, i) => value(name, from + Math.floor(i / columns), i % columns)) } as unknown as Checkpoint;
    const rows = blocks.reduce((n, b) => n + blockRows(b), 0), written: number[] = [];
    for await (const piece of packedTensor({ name: 'x', blocks, shape: [rows, columns], format: { kind: dtype } }, files, (n) => n).data() as AsyncIterable<Uint8Array>) {
      const own = piece.slice().buffer;
      written.push(...(dtype === 'f32' ? new Float32Array(own) : Array.from(new Uint16Array(own), fromF16)));
    }
    const wanted = blocks.flatMap((b) => Array.from({ length: blockRows(b) }, (_, r) => blockSource(b, r)).flatMap(({ tensor, row }) => Array.from({ length: columns }, (_, c) => value(tensor, row, c))));
    expect(written).toEqual(wanted);
    expect(new Set(blocks.flatMap((b) => Array.from({ length: blockRows(b) }, (_, r) => JSON.stringify(blockSource(b, r))))).size).toBe(rows);
  }), { numRuns: 60 });
});

test('a weight that f16 cannot hold is refused', async () => {
  const files = { rows: async () => Float32Array.from([1, 70_000]) } as unknown as Checkpoint;
  const data = packedTensor({ name: 'w', blocks: [one('w', 2)], shape: [2, 1], format: { kind: 'f16' } }, files, (n) => n).data() as AsyncIterable<Uint8Array>;
  await expect((async () => { for await (const _ of data); })()).rejects.toMatchObject({ exitCode: 1, message: "Tensor 'w' holds 70000, which f16 cannot hold (65504 at most). Compile with --dtype f32." });
});
