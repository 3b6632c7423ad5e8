/** Every op's reference semantics against a formula written down independently, on values small enough to check by eye. */
import { describe, expect, test } from 'vitest';
import { interpret, ops, parseGraph } from '../../compiler/ir/index.ts';
import type { Layout } from '../../compiler/ir/index.ts';

const covered = new Set<string>();
const head = `
  sequence tokens(media visual: V, text: T)
  sequence patches(media class: 1, media patch: 4)
  sequence pictures(media tile: 1)
  mask causal(tokens) = k.pos <= q.pos
  mask composite(tokens) = q.kind == text ? k.pos <= q.pos : k.pos == q.pos
  mask never(tokens) = false`;
/** Text row, two visual rows of one image, text row. */
const prompt: Layout = { tokens: [{ kind: 'text', length: 1 }, { kind: 'visual', image: 0, length: 2 }, { kind: 'text', length: 1 }] };

/** Runs a graph of the declarations and nodes given; values go in and come out as plain arrays. */
function run(text: string, given: Record<string, readonly number[]>, layout: Layout = prompt): Record<string, number[]> {
  const g = parseGraph(`graph test {${head}\n${text}\n}`);
  const collect = (nodes: typeof g.nodes): void => nodes.forEach((n) => { covered.add(n.op); if (n.body) collect(n.body.nodes); });
  collect(g.nodes);
  const inputs = Object.fromEntries(Object.entries(given).filter(([name]) => g.inputs.has(name)));
  const weights = new Map(Object.entries(given).filter(([name]) => g.weights.has(name)).map(([name, v]) => [name, Float32Array.from(v)]));
  const { outputs } = interpret(g, { layout, inputs, weights });
  return Object.fromEntries([...outputs].map(([name, t]) => [name, [...t.data]]));
}
const close = (a: readonly number[], b: readonly number[]): void => {
  expect(a.length).toBe(b.length);
  a.forEach((v, i) => expect(v, `entry ${i} of ${a} and ${b}`).toBeCloseTo(b[i]!, 5));
};
const two = { tokens: [{ kind: 'text', length: 2 }] };

describe('linear algebra and norms', () => {
  test('linear: x·Wᵀ + b', () => {
    const text = 'input x: f32[text, 3] at prompt\n weight "w": f32[2, 3]\n weight "b": f32[2]\n %0 = linear %x, @"w", @"b"\n %1 = linear %x, @"w"\n return y = %0, z = %1';
    const { y, z } = run(text, { x: [1, 2, 3, -1, 0, 1], w: [1, 0, -1, 2, 2, 2], b: [10, 20] }, two);
    close(y!, [1 - 3 + 10, 12 + 20, -1 - 1 + 10, 0 + 20]);
    close(z!, [-2, 12, -2, 0]);
  });
  test('linear_part: the rows of the whole product that belong to a part', () => {
    const text = 'input x: f32[text, 2] at prompt\n weight "w": f32[6, 2]\n weight "b": f32[6]\n %0 = linear %x, @"w", @"b"\n %1 = linear_part %x, @"w", @"b" {part = 1, of = 3}\n return y = %0, z = %1';
    const { y, z } = run(text, { x: [1, 2, -1, 3], w: [1, 0, 0, 1, 1, 1, 2, -1, 3, 3, 0, 2], b: [1, 2, 3, 4, 5, 6] }, two);
    close(z!, [...y!.slice(2, 4), ...y!.slice(8, 10)]);
    expect(() => run(text.replace('part = 1, of = 3', 'part = 1, of = 4'), {}, two)).toThrow('a weight of 4 equal parts was expected, not f32[6, 2].');
    expect(() => run(text.replace('part = 1, of = 3', 'part = 3, of = 3'), {}, two)).toThrow('there is no part 3 of 3.');
  });
  test.each([[1, 1, 1], [3, 5, 7], [2, 4, 1], [5, 9, 2], [4, 6, 8]])('linear at the edges of its blocks: %i rows, %i columns, %i deep', (rows, N, K) => {
    const x = Array.from({ length: rows * K }, (_, i) => (i * 7) % 11 - 5), w = Array.from({ length: N * K }, (_, i) => (i * 5) % 13 - 6), b = Array.from({ length: N }, (_, i) => i);
    const { y } = run(`input x: f32[text, ${K}] at prompt\n weight "w": f32[${N}, ${K}]\n weight "b": f32[${N}]\n %0 = linear %x, @"w", @"b"\n return y = %0`, { x, w, b }, { tokens: [{ kind: 'text', length: rows }] });
    close(y!, Array.from({ length: rows * N }, (_, i) => Array.from({ length: K }, (__, k) => x[Math.floor(i / N) * K + k]! * w[(i % N) * K + k]!).reduce((a, c) => a + c, b[i % N]!)));
  });
  test('rms_norm: g·x / sqrt(mean(x²) + eps)', () => {
    const { y } = run('input x: f32[text, 2] at prompt\n weight "g": f32[2]\n %0 = rms_norm %x, @"g" {eps = 0.5}\n return y = %0', { x: [3, 4, 0, 0], g: [1, 2] }, two);
    close(y!, [3 / Math.sqrt(12.5 + 0.5), 8 / Math.sqrt(13), 0, 0]);
  });
  test('layer_norm: g·(x − mean) / sqrt(var + eps) + b', () => {
    const text = 'input x: f32[text, 2] at prompt\n weight "g": f32[2]\n weight "b": f32[2]\n %0 = layer_norm %x, @"g", @"b" {eps = 0.25}\n %1 = layer_norm %x, @"g" {eps = 0.25}\n return y = %0, z = %1';
    const { y, z } = run(text, { x: [3, 5, 1, 1], g: [1, 2], b: [0.5, -1] }, two);
    close(y!, [-1 / Math.sqrt(1.25) + 0.5, 2 / Math.sqrt(1.25) - 1, 0.5, -1]);
    close(z!, [-1 / Math.sqrt(1.25), 2 / Math.sqrt(1.25), 0, 0]);
  });
  test('rope: pairs (i, i + d/2) turned by position·theta^(−2i/d), head by head', () => {
    const text = 'input x: f32[text, 8] at prompt\n %p = row_number() {of = "position", rows = "text"}\n %0 = rope %x, %p {heads = 2, theta = 100}\n %1 = rope %x, %p {heads = 2, theta = 100, scaling = {type = "linear", factor = 2}}\n return y = %0, z = %1';
    const x = [1, 2, 3, 4, 5, 6, 7, 8], turned = (slow: number): number[] => [0, 4].flatMap((o) => {
      const [a, b] = [3 / slow, 0.3 / slow]; // text row 1 stands at position 3; frequencies 1 and 100^(-1/2)
      return [x[o]! * Math.cos(a) - x[o + 2]! * Math.sin(a), x[o + 1]! * Math.cos(b) - x[o + 3]! * Math.sin(b), x[o + 2]! * Math.cos(a) + x[o]! * Math.sin(a), x[o + 3]! * Math.cos(b) + x[o + 1]! * Math.sin(b)];
    });
    const { y, z } = run(text, { x: [...x, ...x] });
    close(y!, [...x, ...turned(1)]);
    close(z!, [...x, ...turned(2)]);
  });
  test('rope_part: the first channels of each head as rope turns a head of that width, the others as they are', () => {
    const text = 'input x: f32[text, 12] at prompt\n %p = row_number() {of = "position", rows = "text"}\n %0 = rope_part %x, %p {heads = 2, rotated = 4, theta = 100}\n return y = %0';
    const whole = 'input x: f32[text, 8] at prompt\n %p = row_number() {of = "position", rows = "text"}\n %0 = rope %x, %p {heads = 2, theta = 100}\n return y = %0';
    const x = Array.from({ length: 24 }, (_, i) => Math.sin(i + 1)), head = (i: number): number[] => x.slice(6 * i, 6 * i + 4);
    const turned = run(whole, { x: [0, 1, 2, 3].flatMap(head) }, two).y!;
    close(run(text, { x }, two).y!, [0, 1, 2, 3].flatMap((i) => [...turned.slice(4 * i, 4 * i + 4), ...x.slice(6 * i + 4, 6 * i + 6)]));
    expect(() => run(text.replace('rotated = 4', 'rotated = 8'), { x }, two)).toThrow('of heads of 6 channels an even number can be rotated, not 8.');
  });
  test('rope with the scaling of Llama 3: high frequencies stay, low ones slow down, those between are mixed', () => {
    const scaling = '{type = "llama3", factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_max_position_embeddings = 100}';
    const text = `input x: f32[text, 6] at prompt\n %p = row_number() {of = "position", rows = "text"}\n %0 = rope %x, %p {heads = 1, theta = 1000, scaling = ${scaling}}\n return y = %0`;
    const { y } = run(text, { x: [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0] });
    const smooth = (100 / (2 * Math.PI * 10) - 1) / 3;
    const f = [1, 0.1 * ((1 - smooth) / 8 + smooth), 0.01 / 8]; // wavelengths 6.3 (under 25), 63 (between), 628 (over 100)
    close(y!.slice(6), [...f.map((x) => Math.cos(3 * x)), ...f.map((x) => Math.sin(3 * x))]);
  });
});

describe('element by element', () => {
  const erf = (x: number): number => { let s = 0; const n = 20000; for (let i = 0; i < n; i++) s += Math.exp(-((((i + 0.5) * x) / n) ** 2)) * (x / n); return (2 / Math.sqrt(Math.PI)) * s; };
  const values = [-6, -2.6, -1, -0.01, 0, 0.5, 2.4, 2.6, 7];
  test.each<[string, (x: number) => number]>([
    ['gelu', (x) => 0.5 * x * (1 + erf(x / Math.SQRT2))],
    ['gelu_tanh', (x) => { const u = Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3); return 0.5 * x * (1 + (Math.exp(u) - Math.exp(-u)) / (Math.exp(u) + Math.exp(-u))); }],
    ['quick_gelu', (x) => x / (1 + Math.exp(-1.702 * x))],
    ['silu', (x) => x / (1 + Math.exp(-x))],
    ['relu', (x) => (x > 0 ? x : 0)],
    ['sigmoid', (x) => Math.exp(x) / (1 + Math.exp(x))],
    ['tanh', (x) => 1 - 2 / (Math.exp(2 * x) + 1)],
  ])('%s', (op, f) => {
    const { y } = run(`input x: f32[text, ${values.length}] at prompt\n %0 = ${op} %x\n return y = %0`, { x: values }, { tokens: [{ kind: 'text', length: 1 }] });
    close(y!, values.map(f));
  });
  test('scale, add, sub, mul; a vector stands for every row', () => {
    const text = 'input x: f32[text, 2] at prompt\n input z: f32[text, 2] at prompt\n weight "v": f32[2]\n %0 = scale %x {by = -0.5}\n %1 = add %x, %z\n %2 = sub %x, @"v"\n %3 = mul %x, %z\n return a = %0, b = %1, c = %2, d = %3';
    const r = run(text, { x: [1, 2, 3, 4], z: [5, 6, 7, 8], v: [10, 20] }, two);
    expect(r).toEqual({ a: [-0.5, -1, -1.5, -2], b: [6, 8, 10, 12], c: [-9, -18, -7, -16], d: [5, 12, 21, 32] });
  });
});

describe('attention', () => {
  const softmax = (s: readonly number[]): number[] => { const e = s.map(Math.exp), sum = e.reduce((a, b) => a + b, 0); return e.map((x) => x / sum); };
  const mix = (scores: readonly number[], values: readonly (readonly number[])[]): number[] => { const p = softmax(scores); return values[0]!.map((_, i) => p.reduce((a, x, j) => a + x * values[j]![i]!, 0)); };
  // Memory order is visual, visual, text, text; positions are 1, 2, 0, 3.
  const [v1, v2, t0, t3] = [[1, 2], [3, -1], [0.5, 0], [-2, 1]] as [number[], number[], number[], number[]];
  const dot = (a: readonly number[], b: readonly number[]): number => a[0]! * b[0]! + a[1]! * b[1]!;
  const x = [...v1, ...v2, ...t0, ...t3];
  const graph = (mask: string): string => `input x: f32[visual+text, 2] at prompt\n %0 = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 0.5, mask = "${mask}"}\n return y = %0`;

  test('a mask compares positions, however the rows lie', () => {
    const rows = (q: number[], keys: number[][]): number[] => mix(keys.map((k) => 0.5 * dot(q, k)), keys);
    close(run(graph('causal'), { x }).y!, [...rows(v1, [t0, v1]), ...rows(v2, [t0, v1, v2]), ...t0, ...rows(t3, [t0, v1, v2, t3])]);
    close(run(graph('composite'), { x }).y!, [...v1, ...v2, ...t0, ...rows(t3, [t0, v1, v2, t3])]);
  });
  test('a row that may read nothing gets zero', () => close(run(graph('never'), { x }).y!, [0, 0, 0, 0, 0, 0, 0, 0]));
  test('heads of a group share a key head, which may have another size for values', () => {
    const text = 'input q: f32[text, 4] at prompt\n input k: f32[text, 2] at prompt\n input v: f32[text, 3] at prompt\n %0 = attention %q, %k, %v {heads = 2, kv_heads = 1, scale = 1, mask = "causal"}\n return y = %0';
    const k = [[1, 0], [0, 1]], v = [[1, 2, 3], [-1, 0, 5]];
    const { y } = run(text, { q: [1, 1, 2, 2, 1, 2, 3, -1], k: k.flat(), v: v.flat() }, two);
    close(y!, [...v[0]!, ...v[0]!, ...mix([1, 2], v), ...mix([3, -1], v)]);
  });
  test('two key heads', () => {
    const text = 'input x: f32[text, 4] at prompt\n %0 = attention %x, %x, %x {heads = 2, kv_heads = 2, scale = 1, mask = "causal"}\n return y = %0';
    const { y } = run(text, { x: [1, 0, 0, 2, 1, 1, 3, -1] }, two);
    close(y!, [1, 0, 0, 2, ...mix([1, 2], [[1, 0], [1, 1]]), ...mix([-2, 10], [[0, 2], [3, -1]])]);
  });
  test('queries of some rows only', () => {
    const text = 'input x: f32[visual+text, 2] at prompt\n %0 = rows %x {rows = "text.last"}\n %1 = attention %0, %x, %x {heads = 1, kv_heads = 1, scale = 0.5, mask = "causal"}\n return y = %1';
    close(run(text, { x }).y!, mix([v1, v2, t0, t3].map((k) => 0.5 * dot(t3, k)), [v1, v2, t0, t3]));
  });
  test('keys turned by their place in the image, with the query turned back by where the image begins, are keys turned by position', () => {
    const text = `input x: f32[visual+text, 4] at prompt
      %p = row_number() {of = "position", rows = "visual+text"}
      %q = rope %x, %p {heads = 2, theta = 50}
      %k = rope %x, %p {heads = 2, theta = 50}
      %0 = attention %q, %k, %x {heads = 2, kv_heads = 2, scale = 1, mask = "causal"}
      %xv = rows %x {rows = "visual"}
      %xt = rows %x {rows = "text"}
      %i = row_number() {of = "index", rows = "visual"}
      %pt = row_number() {of = "position", rows = "text"}
      %kv = rope %xv, %i {heads = 2, theta = 50}
      %kt = rope %xt, %pt {heads = 2, theta = 50}
      %kk = merge %kv, %kt
      %1 = attention %q, %kk, %x {heads = 2, kv_heads = 2, scale = 1, mask = "causal", relative = {kinds = ["visual"], theta = 50}}
      return y = %0, z = %1`;
    const layout: Layout = { tokens: [{ kind: 'text', length: 2 }, { kind: 'visual', image: 4, length: 2 }, { kind: 'text', length: 1 }, { kind: 'visual', image: 7, length: 1 }, { kind: 'text', length: 2 }] };
    const { y, z } = run(text, { x: Array.from({ length: 32 }, (_, i) => Math.sin(i * 1.7)) }, layout);
    close(z!, y!);
  });
  test('repeat_heads: each key head for its whole group', () => {
    const { y } = run('input x: f32[text, 4] at prompt\n %0 = repeat_heads %x {heads = 4, kv_heads = 2}\n return y = %0', { x: [1, 2, 3, 4, 5, 6, 7, 8] }, two);
    expect(y).toEqual([1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8, 7, 8]);
  });
});

describe('rows', () => {
  test('rows, merge, zeros, broadcast', () => {
    const text = `input x: f32[visual+text, 1] at prompt\n input ids: i32[visual+text] at prompt\n weight "w": f32[1]
      %a = rows %x {rows = "visual"}\n %b = rows %x {rows = "text"}\n %c = merge %b, %a\n %d = rows %x {rows = "text.last"}\n %e = rows %ids {rows = "text"}
      %z = zeros() {rows = "visual", width = 1}\n %m = merge %z, %b\n %w = broadcast @"w" {rows = "visual"}
      return a = %a, b = %b, c = %c, d = %d, e = %e, m = %m, w = %w`;
    expect(run(text, { x: [1, 2, 3, 4], ids: [5, 6, 7, 8], w: [9] })).toEqual({ a: [1, 2], b: [3, 4], c: [1, 2, 3, 4], d: [4], e: [7, 8], m: [0, 0, 3, 4], w: [9, 9] });
  });
  test('row_number: positions count over the prompt, indices within an image or a run of text', () => {
    const text = '%p = row_number() {of = "position", rows = "visual+text"}\n %i = row_number() {of = "index", rows = "visual+text"}\n %l = row_number() {of = "position", rows = "text.last"}\n %c = row_number() {of = "position", rows = "class+patch"}\n return p = %p, i = %i, l = %l, c = %c';
    const layout: Layout = {
      tokens: [{ kind: 'text', length: 2 }, { kind: 'visual', image: 8, length: 3 }, { kind: 'text', length: 0 }, { kind: 'visual', image: 3, length: 1 }, { kind: 'text', length: 1 }, { kind: 'text', length: 1 }],
      patches: [{ kind: 'class', image: 8, length: 1 }, { kind: 'patch', image: 8, length: 2 }, { kind: 'class', image: 3, length: 1 }, { kind: 'patch', image: 3, length: 2 }],
    };
    expect(run(text, {}, layout)).toEqual({ p: [2, 3, 4, 5, 0, 1, 6, 7], i: [0, 1, 2, 0, 0, 1, 0, 1], l: [7], c: [0, 0, 1, 2, 1, 2] });
  });
  test('embed, argmax', () => {
    const text = 'input ids: i32[text] at prompt\n weight "t": f32[3, 2]\n %0 = embed %ids, @"t"\n %1 = argmax %0\n return y = %0, z = %1';
    expect(run(text, { ids: [2, 0], t: [4, 4, 1, 9, 5, 6] }, two)).toEqual({ y: [5, 6, 4, 4], z: [1, 0] });
    expect(() => run(text, { ids: [2, 3], t: [1, 2, 3, 4, 5, 6] }, two)).toThrow("%0 (embed) of the graph 'test' cannot be computed: index 3 lies outside the table's 3 entries.");
  });
  test('patches: row by row from the top left, each as [channels, size, size]; a rest at the edge is cut off', () => {
    const text = 'input x: f32[tile, 2, 5, 4] at image\n %0 = patches %x {size = 2, rows = "patch"}\n return y = %0';
    const { y } = run(text, { x: Array.from({ length: 80 }, (_, i) => i) }, { pictures: [{ kind: 'tile', image: 0, length: 1 }, { kind: 'tile', image: 1, length: 1 }], patches: [{ kind: 'patch', image: 0, length: 4 }, { kind: 'patch', image: 1, length: 4 }] });
    expect(y!.slice(0, 16)).toEqual([0, 1, 4, 5, 20, 21, 24, 25, 2, 3, 6, 7, 22, 23, 26, 27]);
    expect(y!.slice(24, 32)).toEqual([10, 11, 14, 15, 30, 31, 34, 35]);
    expect(y!.slice(32, 36)).toEqual([40, 41, 44, 45]);
  });
  test('pixel_shuffle: the rows of each block side by side, line by line', () => {
    const text = 'sequence blocks(media block: 1)\n input x: f32[patch, 2] at image\n %0 = pixel_shuffle %x {factor = 2, rows = "block"}\n return y = %0';
    const of = (kind: string, length: number) => [0, 1].map((image) => ({ kind, image, length }));
    const { y } = run(text, { x: Array.from({ length: 16 }, (_, i) => i) }, { patches: of('patch', 4), blocks: of('block', 1) });
    expect(y).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  });
  test('gather_rows: a row of the pictures, or a learned one, by number; several with weights', () => {
    const text = `input m: i32[visual, 1] at image\n input s: i32[visual, 2] at image\n input w: f32[visual, 2] at image\n input x: f32[patch, 2] at image\n weight "l": f32[2]
      %0 = gather_rows %m, %x, @"l"\n %1 = gather_rows %s, %x, %w\n return y = %0, z = %1`;
    const { y, z } = run(text, { m: [2, -1], s: [0, 3, 1, 1], w: [0.5, 0.25, 1, 1], x: [1, 2, 3, 4, 5, 6, 7, 8], l: [9, 10] }, { ...prompt, patches: [{ kind: 'patch', image: 0, length: 4 }] });
    expect(y).toEqual([5, 6, 9, 10]);
    close(z!, [0.5 + 1.75, 1 + 2, 6, 8]);
  });
  test('as_rows: image by image, each in reading order', () => {
    const text = 'input x: f32[class+patch, 1] at image\n %0 = as_rows %x {rows = "visual"}\n return y = %0';
    const patches = [1, 2].flatMap((image) => [{ kind: 'class', image, length: 1 }, { kind: 'patch', image, length: 2 }]);
    const tokens = [{ kind: 'text', length: 1 }, { kind: 'visual', image: 1, length: 3 }, { kind: 'text', length: 1 }, { kind: 'visual', image: 2, length: 3 }];
    expect(run(text, { x: [10, 20, 11, 12, 21, 22] }, { patches, tokens }).y).toEqual([10, 11, 12, 20, 21, 22]);
    expect(() => run(text, { x: [10, 20, 11, 12, 21, 22] }, { patches, tokens: tokens.map((t) => (t.image === 2 ? { ...t, length: 2 } : t)) })).toThrow("3 + 3 rows (image by image) cannot stand one for one as the rows 'visual', which are 3 + 2.");
  });
});

test('fused ops compute their body, and give each result', () => {
  const text = `input x: f32[text, 2] at prompt\n weight "w": f32[2, 2]\n state "s": f32[text.context, 2]
    %0 = fused(%x, @"w", &"s") {family = "matmul"} {
      %a = linear $0, $1
      %b = relu %a
      %c = store $2, %b {state = "s"}
      return %a, %b, %c
    }
    %1 = result %0 {index = 1}
    %2 = result %0 {index = 2}
    return a = %0, b = %1, c = %2`;
  expect(run(text, { x: [1, -1, 2, 3], w: [1, 0, 0, 1] }, two)).toEqual({ a: [1, -1, 2, 3], b: [1, 0, 2, 3], c: [1, 0, 2, 3] });
});

describe('mixtures of experts', () => {
  const weights = 'weight "a": f32[2, 1]\n weight "b": f32[2, 1]\n weight "c": f32[2, 1]', given = { a: [1, 2], b: [10, 20], c: [100, 200] };
  test('top_k: the largest first, the earlier of equals first', () => {
    expect(run('input x: f32[text, 4] at prompt\n %0 = top_k %x {top = 3}\n return y = %0', { x: [1, 5, 5, 2, -1, -3, -2, -2] }, two).y).toEqual([1, 2, 3, 0, 2, 3]);
    expect(() => run('input x: f32[text, 2] at prompt\n %0 = top_k %x {top = 3}\n return y = %0', {}, two)).toThrow('cannot choose 3 of 2 entries.');
  });
  test('expert_linear: each row by the matrices that it has chosen, a row for all choices or a part for each, with biases or without', () => {
    const text = `input x: f32[text, 1] at prompt\n input n: i32[text, 2] at prompt\n ${weights}\n weight "p": f32[2]\n weight "q": f32[2]\n weight "r": f32[2]\n %0 = expert_linear %x, %n, @"a", @"b", @"c" {experts = 3}\n %1 = expert_linear %x, %n, @"a", @"b", @"c", @"p", @"q", @"r" {experts = 3}\n return y = %0, z = %1`;
    const { y, z } = run(text, { x: [3, 5], n: [2, 0, 1, 2], ...given, p: [0.5, 0.25], q: [0, 0], r: [-1, -2] }, two);
    expect(y).toEqual([300, 600, 3, 6, 50, 100, 500, 1000]);
    expect(z).toEqual([299, 598, 3.5, 6.25, 50, 100, 499, 998]);
    const own = `input x: f32[text, 2] at prompt\n input n: i32[text, 2] at prompt\n ${weights}\n %0 = expert_linear %x, %n, @"a", @"b", @"c" {experts = 3}\n return y = %0`;
    expect(run(own, { x: [3, 4], n: [2, 0], ...given }, { tokens: [{ kind: 'text', length: 1 }] }).y).toEqual([300, 600, 4, 8]);
    expect(() => run(own, { x: [3, 4], n: [3, 0], ...given }, { tokens: [{ kind: 'text', length: 1 }] })).toThrow('a row chooses expert 3, and there are experts 0 to 2.');
    expect(() => run(own.replace('f32[text, 2]', 'f32[text, 3]'), {}, two)).toThrow('take rows of 1, or 2 times as many for as many choices');
    expect(() => run(own.replace('experts = 3', 'experts = 4'), {}, two)).toThrow('takes a matrix of each of 4 experts');
  });
  test('mix_experts: by the softmax over the chosen scores, which is that over all scores divided by its sum there', () => {
    const { y } = run('input x: f32[text, 4] at prompt\n input n: i32[text, 2] at prompt\n input s: f32[text, 3] at prompt\n %0 = mix_experts %x, %n, %s\n return y = %0', { x: [1, 2, 30, 40], n: [2, 0], s: [0.5, 9, 1.5] }, { tokens: [{ kind: 'text', length: 1 }] });
    const e = [0.5, 9, 1.5].map(Math.exp), all = e.map((v) => v / (e[0]! + e[1]! + e[2]!)), chosen = all[2]! + all[0]!;
    close(y!, [(all[2]! * 1 + all[0]! * 30) / chosen, (all[2]! * 2 + all[0]! * 40) / chosen]);
  });
});

test('keep of no row is a view; chosen rows are those of the parts that go on', () => {
  const x = [10, 20, 30, 40];
  expect(run('input x: f32[visual+text, 1] at prompt\n %0 = keep %x {kind = "visual", share = "0"} : f32[text, 1]\n return y = %0', { x })).toEqual({ y: [30, 40] });
  expect(() => run('input x: f32[visual+text, 1] at prompt\n %0 = keep %x {kind = "visual", share = "1/3"} : f32[visual+text, 1]\n return y = %0', { x })).toThrow("which 1/3 of its 'visual' rows go on is chosen at run time");
  const parts = `graph parts {
    sequence tokens(media visual_1 of visual: V - floor(V/2), media visual of visual: floor(V/2), text: T)
    mask own(tokens) = q.kind == visual && q.kind == k.kind && k.pos <= q.pos
    input x: f32[visual_1+visual+text, 1] at prompt
    %0 = chosen %x {rows = "visual"}
    %1 = attention %x, %x, %x {heads = 1, kv_heads = 1, scale = 0, mask = "own"}
    return y = %0, z = %1
  }`;
  const g = parseGraph(parts), layout = { tokens: [{ kind: 'visual_1', image: 0, length: 2 }, { kind: 'visual', image: 0, length: 1 }, { kind: 'text', length: 1 }] };
  for (const n of g.nodes) covered.add(n.op);
  const { outputs } = interpret(g, { layout, inputs: { x }, weights: new Map() });
  // A mask sees one kind in both parts.
  expect([...outputs].map(([name, t]) => [name, [...t.data]])).toEqual([['y', [30]], ['z', [10, 15, 20, 0]]]);
});

test('every op of the table has been tried here', () => expect([...ops.keys()].filter((name) => !covered.has(name))).toEqual([]));
