import { describe, expect, test } from 'vitest';
import { Poly } from '../../compiler/ir/poly.ts';
import type { Storage, View } from '../../compiler/wgsl/kernel.ts';
import type { Lanes } from '../../compiler/wgsl/printer.ts';
import { Memory } from '../../compiler/wgsl/printer.ts';

const options = { dims: ['V', 'T'], features: new Set(['shader-f16']) };
const view = (storage: Storage, stride: number, more: Partial<View> = {}): View => ({ binding: 'b', storage, stride, offset: Poly.zero, ...more });

describe('loads', () => {
  const load = (storage: Storage, stride: number, lanes: Lanes): string => {
    const m = new Memory(options), a = m.view('x', view(storage, stride), lanes);
    return a.load('e', lanes);
  };
  test.each([
    ['f32', 8, 4, 'x_data[e >> 2u]'],
    ['f32', 6, 4, 'vec4<f32>(x_data[e >> 1u], x_data[(e + 2u) >> 1u])'],
    ['f32', 7, 2, 'vec2<f32>(x_data[e], x_data[e + 1u])'],
    ['f16', 8, 4, 'vec4<f32>(x_data[e >> 2u])'],
    ['f16', 7, 1, 'f32(x_data[e])'],
    ['f16x2', 8, 4, 'unpack4(x_data[e >> 2u])'],
    ['f16x2', 6, 2, 'unpack2x16float(x_data[e >> 1u])'],
    ['f16x2', 7, 1, 'unpack2x16float(x_data[e >> 1u])[e & 1u]'],
  ] as const)('%s rows of %i elements, %i at once', (storage, stride, lanes, text) => expect(load(storage, stride, lanes)).toBe(text));

  test('a single component of a binding that others read as vectors', () => {
    const m = new Memory(options);
    m.view('x', view('f32', 8), 4);
    expect(m.view('y', view('f32', 8), 1).load('e', 1)).toBe('x_data[e >> 2u][e & 3u]');
    expect(m.head()).toContain('var<storage, read> x_data: array<vec4<f32>>;');
  });
  test('the least aligned use decides how a binding is declared', () => {
    const m = new Memory(options), x = m.view('x', view('f32', 8), 4);
    m.view('y', view('f32', 6), 4);
    expect(x.loadFour('base', 'k')).toBe('vec4<f32>(x_data[base + k * 2u], x_data[base + k * 2u + 1u])');
  });
});

describe('stores', () => {
  const store = (storage: Storage, stride: number, width: number): { text: string; head: string } => {
    const m = new Memory(options), a = m.view('x', view(storage, stride), 4, { width });
    const text = a.store('at', 'v', 4, { column: 'c', width }).join(' ');
    return { text, head: m.head() };
  };
  test('whole vectors where the width allows', () => expect(store('f32', 8, 8).text).toBe('x_data[at >> 2u] = v;'));
  test('a ragged edge is guarded piece by piece', () =>
    expect(store('f32', 8, 6).text).toBe('x_data[at >> 2u][at & 3u] = v.xy.x; x_data[at >> 2u][(at & 3u) + 1u] = v.xy.y; if (c + 2u < 6u) { x_data[(at + 2u) >> 2u][(at + 2u) & 3u] = v.zw.x; x_data[(at + 2u) >> 2u][((at + 2u) & 3u) + 1u] = v.zw.y; }'));
  test('f16 saturates', () => expect(store('f16', 8, 8).text).toBe('x_data[at >> 2u] = vec4<f16>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));'));
  test('packed halves of one word that belong to two rows are written by atomics', () => {
    const { text, head } = store('f16x2', 7, 7);
    expect(text).toMatch(/^put_x_data\(at, clamp\(v\.x, .*if \(c \+ 1u < 7u\) \{ put_x_data\(at \+ 1u/);
    expect(head).toContain('array<atomic<u32>>');
  });
  test('packed halves of even rows are written whole', () => expect(store('f16x2', 6, 6).head).toContain('array<u32>'));
});

describe('rows', () => {
  test('begin at the offset, in the units of the declaration', () => {
    const m = new Memory(options), a = m.view('x', view('f32', 8, { offset: Poly.dim('V'), column: 4 }), 4);
    expect(a.element('r', 'c')).toBe('(d.V + r) * 8u + 4u + c');
    expect(a.rowUnit('r')).toBe('(d.V + r) * 2u + 1u');
  });
  test('of a state lie kind after kind', () => {
    const m = new Memory(options), [V, T] = [Poly.dim('V'), Poly.dim('T')];
    const a = m.view('x', view('f32', 4, { regions: [{ count: V, start: Poly.of(3) }, { count: T, start: Poly.of(90).sub(T) }] }), 4);
    expect(a.slot('r')).toBe('select(0u - d.T + 90u + r - (d.V), 3u + r, r < d.V)');
  });
});

describe('bindings', () => {
  test('stand once each, written ones and those of the arena read_write, the dims last', () => {
    const m = new Memory({ ...options, readWrite: new Set(['arena']) });
    m.view('a', { ...view('f32', 4), binding: 'arena' }, 4);
    m.vector('bias', 'weights', 'f32', 4, 8);
    m.view('residual', view('f32', 4), 4);
    m.view('out', view('f32', 4), 4, { width: 4 });
    m.poly(Poly.dim('T'));
    expect(m.bindings()).toEqual([{ name: 'arena', access: 'read_write' }, { name: 'weights', access: 'read' }, { name: 'b', access: 'read_write' }, { name: 'dims', access: 'uniform' }]);
    expect(m.head()).toContain('struct Dims { V: u32, T: u32 }');
  });
  test('variables are named after roles, so that the text does not hang on the buffers', () => {
    const text = (binding: string): string => { const m = new Memory(options); m.view('a', { ...view('f32', 4), binding }, 4); return m.head(); };
    expect(text('layer.0')).toBe(text('layer.1'));
  });
});

describe('mistakes', () => {
  const m = new Memory({ dims: ['T'], features: new Set() });
  test.each([
    ['a dim that the entry lacks', () => m.poly(Poly.dim('V')), "The size V needs the dim 'V'; the dims of this entry are T."],
    ['f16 without its feature', () => m.view('a', view('f16', 4), 4), "'b' is stored as f16, which needs the feature shader-f16; store it as f16x2 for this device."],
    ['two storages', () => { m.view('a', view('f32', 4), 4); m.view('a', view('f16x2', 4), 4); }, "The binding 'b' is used as f32 and as f16x2; one allocation has one storage in a kernel."],
    ['two ways to read', () => m.entries('a', 'b', 'vec4<i32>'), "The binding 'b' is read as vec4<i32> and as f32; a kernel reads a buffer in one way."],
  ] as const)('%s', (_name, f, message) => expect(f).toThrow(message));
});
