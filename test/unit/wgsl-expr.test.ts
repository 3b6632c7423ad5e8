import { expect, test } from 'vitest';
import { unaryFunctions } from '../../compiler/ir/ops/elementwise.ts';
import { declareElement, erfDenominator, erfNumerator, floatLiteral } from '../../compiler/wgsl/expr.ts';
import { Memory } from '../../compiler/wgsl/printer.ts';

const f = Math.fround;

test('erf is within 5e-7 of the truth, rounded to f32 at every step', () => {
  const horner = (c: readonly number[], t: number): number => c.slice(1).reduce((s, a) => f(f(s * t) + f(a)), f(c[0]!));
  const erf = (x: number): number => { const z = Math.max(-4, Math.min(4, x)), t = f(z * z); return f(f(z * horner(erfNumerator, t)) / horner(erfDenominator, t)); };
  let worst = 0;
  for (let i = -60000; i <= 60000; i++) {
    const x = f(i / 10000 + 1e-6), gelu = unaryFunctions['gelu']!(x * Math.SQRT2);
    worst = Math.max(worst, Math.abs(erf(x) - ((2 * gelu) / (x * Math.SQRT2) - 1)));
  }
  expect(worst).toBeLessThan(5e-7);
});

test('an expression prints as one WGSL expression, its functions once', () => {
  const m = new Memory({ dims: [], features: new Set() });
  const silu = (index: number) => ({ op: 'unary' as const, fn: 'silu' as const, x: { op: 'acc' as const, index } });
  const print = declareElement({ op: 'mul', a: silu(0), b: { op: 'add', a: silu(1), b: { op: 'vector', binding: 'b', storage: 'f32', offset: 8 } } }, m, 4, 64);
  expect(print('row', 'column', ['acc0', 'acc1'])).toBe('(silu_4(acc0) * (silu_4(acc1) + vector_data[(column + 8u) >> 2u]))');
  expect(m.head().match(/fn silu_4/g)).toHaveLength(1);
  expect(m.head()).toContain('fn sigmoid_4(x: vec4<f32>) -> vec4<f32> {\n  return 1.0 / (1.0 + exp(min(-x, vec4<f32>(80.0))));\n}');
});

test('numbers print as f32 literals, and only finite ones', () => {
  expect([0.1, 2, -3e-20, 1e30].map(floatLiteral)).toEqual(['0.10000000149011612', '2.0', '-2.9999999047965676e-20', '1.0000000150474662e+30']);
  expect(() => floatLiteral(Infinity)).toThrow('no finite f32');
});

test('an epilogue that reads a linear which is not there says so', () => {
  const print = declareElement({ op: 'acc', index: 2 }, new Memory({ dims: [], features: new Set() }), 4, 64);
  expect(() => print('row', 'column', ['acc0', 'acc1'])).toThrow('The epilogue reads linear 2, but there are 2.');
});
