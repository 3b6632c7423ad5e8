/** Rows quantised into a state on a device, against the format's own rule. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { asHeld, headScale, heldRowWords } from '../../compiler/ir/state-format.ts';
import type { Int8Heads } from '../../compiler/ir/state-format.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import { storeHeadsKernel } from '../../compiler/wgsl/store-heads.ts';
import { heldValues } from '../../compiler/verify/held-values.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { noise } from '../support/attention.ts';
import { runKernel } from '../support/gpu.ts';

let found: FoundAdapter, opened: OpenDevice;
beforeAll(async () => { found = await findAdapter({ prefer: process.platform === 'linux' && process.arch === 'x64' ? 'swiftshader' : 'auto' }); opened = await found.open(); });
afterAll(() => opened.close());

/** Magnitudes of heads, from one whose scale would be a subnormal to one beyond what an f16 scale reaches. */
const sizes = [1, 1e-4, 30, 0, 1e7, 3e-9, 700];

test.each([[1, 1], [2, 4], [3, 11], [4, 64], [5, 14], [2, 130]])('%i heads of %i, keys and values at once', async (heads, d) => {
  const format: Int8Heads = { kind: 'int8', heads }, width = heads * d, words = heldRowWords(format, width), rows = { V: 3, T: 5 }, random = noise(heads * d);
  const numbers = (): Float32Array => Float32Array.from({ length: (rows.V + rows.T) * width }, (_, i) => random() * sizes[Math.floor(i / d) % sizes.length]!);
  const x = numbers(), y = numbers(), empty = (): Uint32Array => new Uint32Array(20 * words).fill(0x12345678), V = Poly.dim('V'), T = Poly.dim('T');
  // Three rows from slot 2 on, five from slot 12 on.
  const kernel = storeHeadsKernel({
    rows: V.add(T), values: [['x', 'keys'], ['y', 'values']].map(([from, to]) => ({
      from: { binding: from!, storage: 'f32', stride: width, offset: Poly.zero },
      to: { binding: to!, storage: format, stride: width, offset: Poly.zero, regions: [{ count: V, start: Poly.of(2) }, { count: T, start: V.add(9) }] },
    })),
  }, { dims: ['V', 'T'], features: new Set() });
  const held = await runKernel(opened.device, kernel, { buffers: { x, y, keys: empty(), values: empty() }, dims: rows, dimsOrder: ['V', 'T'] });
  for (const [given, to] of [[x, 'keys'], [y, 'values']] as const) expectHeld(format, given, held[to] as Uint32Array, width, d);
});

/** Rows 2 to 4 and 12 to 16 hold `x`, to the half of a step; nothing else was written. */
function expectHeld(format: Int8Heads, x: Float32Array, out: Uint32Array, width: number, d: number): void {
  const words = heldRowWords(format, width);
  const wanted = asHeld(format, x, width), got = heldValues(format, out.slice().buffer, width);
  for (let r = 0; r < 20; r++) {
    const from = r >= 2 && r < 5 ? r - 2 : r >= 12 && r < 17 ? r - 9 : undefined;
    if (from === undefined) { expect(out.slice(r * words, (r + 1) * words).every((w) => w === 0x12345678), `row ${r} is not written`).toBe(true); continue; }
    for (let i = 0; i < width; i++) {
      const at = from * width + i, head = x.subarray(at - (i % d), at - (i % d) + d), scale = headScale(head.reduce((m, y) => Math.max(m, Math.abs(y)), 0));
      // A division may be off by its last bits, and a code next to a tie then by one; a scale by one step of an f16.
      expect(Math.abs(got[r * width + i]! - wanted[at]!), `row ${from}, element ${i}: ${got[r * width + i]} for ${x[at]}`).toBeLessThanOrEqual(scale * 1.125);
      if (scale < 65504) expect(Math.abs(got[r * width + i]! - x[at]!)).toBeLessThanOrEqual(scale * 0.502);
    }
  }
}
