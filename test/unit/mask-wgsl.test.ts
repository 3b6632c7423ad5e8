import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseMaskExpr } from '../../compiler/ir/mask/index.ts';
import { maskBlockWgsl, maskPredicateWgsl } from '../../compiler/wgsl/mask.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { shaderFor } from '../support/masks-on-gpu.ts';
import { anyMask, kinds, likelyMask } from '../support/random-masks.ts';

describe('masks as WGSL', () => {
  const composite = parseMaskExpr('q.kind == text ? k.pos <= q.pos : k.pos == q.pos', kinds);
  test('the predicate', () => {
    expect(maskPredicateWgsl(composite, 'mask')).toBe(`fn mask(q: vec4<i32>, k: vec4<i32>) -> bool {
  return select((k.x == q.x), (k.x <= q.x), (q.y == 1i));
}
`);
  });
  test('division rounds down, and costs nothing more where the dividend cannot be negative', () => {
    expect(maskPredicateWgsl(parseMaskExpr('floor(q.index / 24) == floor((q.pos - k.pos) / 24)', kinds), 'mask')).toBe(`fn mask_floor_div(a: i32, by: i32) -> i32 {
  return a / by - select(0i, 1i, a % by < 0i);
}
fn mask(q: vec4<i32>, k: vec4<i32>) -> bool {
  return ((q.z / 24i) == mask_floor_div((q.x - k.x), 24i));
}
`);
  });
  test('a block', () => {
    expect(maskBlockWgsl(parseMaskExpr('k.pos <= q.pos', kinds), 'block')).toBe(`fn block(qlo: vec4<i32>, qhi: vec4<i32>, klo: vec4<i32>, khi: vec4<i32>) -> u32 {
  let t0 = qhi.x * (-1i);
  let t1 = qlo.x * (-1i);
  let t2 = klo.x + t0;
  let t3 = khi.x + t1;
  let t4 = t3 <= 0i;
  let t5 = t2 <= 0i;
  return select(select(0u, 1u, t5), 2u, t4);
}
`);
  });
  test('a mask that is constant', () => {
    expect(maskBlockWgsl(parseMaskExpr('true', kinds), 'block')).toContain('return select(select(0u, 1u, true), 2u, true);');
  });

  test("Dawn's null backend takes whatever the language can say", async () => {
    const found = await findAdapter({ prefer: 'null' });
    const { device, close } = await found.open();
    const fixed = ['true', 'q.pos < -1073741823', 'abs(-q.pos) > -1', '!(q.kind == text) && -q.pos < 1'].map((t) => parseMaskExpr(t, kinds));
    const masks = [composite, ...fixed, ...fc.sample(fc.oneof(anyMask, likelyMask), 100)];
    const module = device.createShaderModule({ code: shaderFor(masks) });
    const { messages } = await module.getCompilationInfo();
    expect(messages.map((m) => `${m.lineNum}:${m.linePos} ${m.message}`)).toEqual([]);
    close();
  });
});
