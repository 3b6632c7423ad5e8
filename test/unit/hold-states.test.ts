/** Formats of states: their bytes and rounding, the pass that gives them, and what follows in graphs and costs. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memoryNeed } from '../../compiler/cost/memory.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { asHeld, headScale, heldRowBytes, parseStateFormat, printStateFormat } from '../../compiler/ir/state-format.ts';
import type { Program } from '../../compiler/ir/program.ts';
import { parseGraph } from '../../compiler/ir/parse.ts';
import { printGraph } from '../../compiler/ir/print.ts';
import { heldValues } from '../../compiler/verify/held-values.ts';
import { openModel } from '../../compiler/load-model.ts';
import { compiledProgram } from '../../passes/cost-program.ts';
import { noise } from '../support/attention.ts';
import { heldRows } from '../support/held-rows.ts';
import { shapesCheckpoint } from '../support/shapes.ts';

const held = async (variant: string, kv: 'f32' | 'f16' | 'int8'): Promise<Program> => compiledProgram(trace((await openModel(shapesCheckpoint)).create(variant)).graph, { kv });
const states = (p: Program) => new Map([...p.graphs.values()].flatMap((g) => [...g.states]));

describe('formats', () => {
  test('print and parse', () => {
    for (const text of ['f32', 'f16', 'int8:heads=1', 'int8:heads=32']) expect(printStateFormat(parseStateFormat(text)!)).toBe(text);
    for (const text of ['', 'int8', 'int8:heads=0', 'int8:heads=2.5', 'int4', 'f16:heads=2']) expect(parseStateFormat(text), text).toBeUndefined();
  });
  test('bytes of a row: codes in whole words a head, scales in pairs', () => {
    expect(heldRowBytes({ kind: 'f16' }, 4096)).toBe(8192);
    expect(heldRowBytes({ kind: 'int8', heads: 32 }, 4096)).toBe(4096 + 64);
    expect(heldRowBytes({ kind: 'int8', heads: 3 }, 33)).toBe(3 * 12 + 8);
  });
  test('an element is off by half a scale at most, and reads back as it was rounded', () => {
    fc.assert(fc.property(fc.nat(), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 9 }), fc.double({ min: -12, max: 20, noNaN: true }), (seed, heads, d, size) => {
      const random = noise(seed), width = heads * d, x = Float32Array.from({ length: 2 * width }, () => random() * 2 ** size), format = { kind: 'int8' as const, heads };
      const y = asHeld(format, x, width);
      for (let at = 0; at < x.length; at += d) {
        const scale = headScale(x.subarray(at, at + d).reduce((m, v) => Math.max(m, Math.abs(v)), 0));
        for (let i = at; i < at + d; i++) expect(Math.abs(y[i]! - x[i]!)).toBeLessThanOrEqual(scale * 0.5000001);
      }
      expect([...heldValues(format, heldRows(format, x, width).buffer, width)].map((v) => v + 0)).toEqual([...y].map((v) => v + 0));
    }));
  });
});

describe('the pass', () => {
  test('keys and values get the format with their number of heads, and the text form keeps it', async () => {
    for (const kv of ['f16', 'int8'] as const) for (const [, g] of (await held('composite', kv)).graphs) {
      for (const n of g.states.values()) expect(n.attrs['format']).toBe(kv === 'f16' ? 'f16' : 'int8:heads=2');
      expect(printGraph(parseGraph(printGraph(g)))).toBe(printGraph(g));
    }
  });
  test('a state that other ops read stays as it is', async () => {
    const formats = [...states(await held('self', 'int8'))].map(([name, n]) => [name.replace(/layers\.\d+/, 'layers.*'), n.attrs['format']]);
    expect(new Set(formats.map((f) => f.join(' ').replace(/.*memory /, 'memory')))).toEqual(new Set(['language_model.model.layers.*.self_attn.k int8:heads=2', 'language_model.model.layers.*.self_attn.v int8:heads=2', 'memory']));
  });
  test('a write of f16 stays in the epilogue; quantised rows get a kernel of their own', async () => {
    const alone = async (kv: 'f32' | 'f16' | 'int8'): Promise<number> => (await held('composite', kv)).graphs.get('decode')!.nodes.filter((n) => n.op === 'store').length;
    expect([await alone('f32'), await alone('f16'), await alone('int8')]).toEqual([0, 0, 10]);
  });
  test('wrong formats are told', () => {
    const graph = (format: string): string => `graph g {\n  sequence s(t: T)\n  state "k": f32[t.context, 6] {format = "${format}"}\n\n  return\n}`;
    expect(() => parseGraph(graph('int7'))).toThrow(/'int7' is no format of a state/);
    expect(() => parseGraph(graph('int8:heads=4'))).toThrow(/do not split into 4 heads/);
  });
});

test('memory counts the bytes of the format', async () => {
  const need = async (kv: 'f32' | 'f16' | 'int8') => memoryNeed(await held('composite', kv), { dims: { V: 64, T: 9 } });
  const [f32, f16, int8] = [await need('f32'), await need('f16'), await need('int8')];
  // 5 layers, keys and values, 2 heads of 32.
  expect([f32.visualMemory, f16.visualMemory, int8.visualMemory]).toEqual([64n * 10n * 256n, 64n * 10n * 128n, 64n * 10n * 68n]);
  expect([f32.kvCache, f16.kvCache, int8.kvCache]).toEqual([9n * 10n * 256n, 9n * 10n * 128n, 9n * 10n * 68n]);
});
