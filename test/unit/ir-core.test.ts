import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GraphBuilder, Poly, UserError, allRows, bytes, elements, inferType, parseGraph, parseRows, printGraph, printRows, printType, rewrite, rowCount, rowSet, rowsWithin, sourceFrame, sweep, tensorType, unionRows, verify } from '../../compiler/ir/index.ts';
import type { Sequence } from '../../compiler/ir/index.ts';
import { nearest, suggest } from '../../compiler/ir/spelling.ts';
import { randomCase } from '../support/random-graphs.ts';

describe('polynomials', () => {
  const [V, T] = [Poly.dim('V'), Poly.dim('T')];
  const poly: fc.Arbitrary<Poly> = fc.array(fc.record({ num: fc.bigInt(-9n, 9n), den: fc.integer({ min: 1, max: 4 }), v: fc.nat(3), t: fc.nat(2) }), { maxLength: 4 })
    .map((terms) => terms.reduce((s, { num, den, v, t }) => { let m = Poly.of(num).div(den); for (let i = 0; i < v; i++) m = m.mul(V); for (let i = 0; i < t; i++) m = m.mul(T); return s.add(m); }, Poly.zero));
  const at = { V: 12, T: 24 }; // 12·24 clears all denominators up to 4 where a variable stands

  test('print and parse', () => {
    expect(String(V.mul(V).mul(12).add(T.mul(V).mul(3)).add(T.div(2)).sub(7))).toBe('3*T*V + 12*V^2 + 1/2*T - 7');
    fc.assert(fc.property(poly, (p) => { expect(Poly.parse(String(p)).equals(p)).toBe(true); expect(String(Poly.parse(String(p)))).toBe(String(p)); }));
  });
  test('arithmetic agrees with numbers', () => {
    fc.assert(fc.property(poly, poly, (a, b) => {
      // Whole numbers, since no denominator is more than 144's: nothing is rounded.
      const value = (p: Poly): bigint => p.mul(144).evaluate(at);
      expect(value(a.add(b))).toBe(value(a) + value(b));
      expect(a.mul(b).mul(144 * 144).evaluate(at)).toBe(value(a) * value(b));
      expect(value(a.sub(b))).toBe(value(a) - value(b));
      expect(a.sub(a).isZero).toBe(true);
      expect(a.substitute({ V: T.add(1) }).substitute({ T: 3 }).mul(144).evaluate({})).toBe(a.mul(144).evaluate({ V: 4, T: 3 }));
    }));
  });
  test('a causal square is exact', () => expect(V.triangle().evaluate({ V: 10n ** 9n })).toBe(500000000500000000n));
  test.each(['', 'V V', 'V+', '1/0', 'V^65', 'a-b-', '2 ^'])('%j is no polynomial', (text) => expect(() => Poly.parse(text)).toThrow(SyntaxError));
  test('a size that is missing, or none', () => {
    expect(() => V.evaluate({ T: 1 })).toThrow("The size of dim 'V' is not given; given are: T.");
    expect(() => V.div(2).evaluate({ V: 3 })).toThrow('1/2*V is no integer at {"V":3}.');
    expect(() => Poly.of(2 ** 60)).toThrow('safe integer');
  });
});

describe('rows and types', () => {
  const s: Sequence = { name: 'tokens', kinds: [{ name: 'visual', media: true, count: Poly.dim('V') }, { name: 'text', media: false, count: Poly.dim('T') }] };
  const rows = (text: string): ReturnType<typeof parseRows> => parseRows([s], text);
  test('names come back, in the order of the sequence', () => {
    for (const name of ['visual', 'visual+text', 'text.last', 'visual+text.context', 'text.last.context']) expect(printRows(rows(name))).toBe(name);
    expect(printRows(rows('text+visual'))).toBe('visual+text');
  });
  test.each<[string, string]>([
    ['txet', "'txet' names rows of no sequence of this graph. Did you mean 'text'? The kinds are: visual, text."],
    ['text.frist', "'.frist' of the rows 'text.frist' is not known. Known are: last, context."],
    ['visual+txt', "Sequence 'tokens' has no kind 'txt'. Did you mean 'text'? Its kinds are: visual, text."],
    ['visual+text.last', "'.last' is the last row of one kind, not of 'visual+text'."],
  ])('%s', (text, message) => expect(() => rows(text)).toThrow(message));
  test('counts', () => {
    expect(['visual+text', 'text.last', 'visual+text.context'].map((r) => String(rowCount(rows(r))))).toEqual(['T + V', '1', 'CT + CV']);
    expect(String(elements(tensorType('f16', rows('text'), [3, 4])))).toBe('12*T');
    expect(String(bytes(tensorType('f16', rows('text'), [3, 4])))).toBe('24*T');
    expect(printType(tensorType('f16', rows('text.last'), []))).toBe('f16[text.last]');
  });
  test('sets', () => {
    const within = (a: string, b: string): boolean => rowsWithin(rows(a), rows(b));
    expect([within('text.last', 'text'), within('text', 'text.last'), within('text', 'visual+text'), within('text', 'text.context'), within('text.context', 'text'), within('text.last', 'visual')]).toEqual([true, false, true, true, false, false]);
    expect(printRows(unionRows(rows('text.last'), rows('visual'))!)).toBe('visual+text');
    expect(printRows(unionRows(rows('text.last'), rows('text'))!)).toBe('text');
  });
});

describe('building', () => {
  const g = (): { b: GraphBuilder; x: ReturnType<GraphBuilder['input']>; s: Sequence } => {
    const b = new GraphBuilder('g'), s = b.sequence({ name: 'tokens', kinds: [{ name: 'visual', media: true, count: Poly.dim('V') }, { name: 'text', media: false, count: Poly.dim('T') }] });
    return { b, s, x: b.input('x', tensorType('f32', allRows(s), [4]), 'prompt') };
  };
  test('a shape that does not fit names the author\'s line and the module', () => {
    const { b, x } = g();
    b.where = { file: 'model.ts', line: 7, column: 3 }; b.path = 'layers.0';
    const attempt = (): unknown => b.op('linear', [x, b.weight('w', tensorType('f32', undefined, [4, 5]))]);
    expect(attempt).toThrow(UserError);
    expect(attempt).toThrow('model.ts:7:3: linear: a weight of [out, 4] was expected for f32[visual+text, 4], not f32[4, 5]. (in layers.0)');
    expect(() => b.weight('w', tensorType('f32', undefined, [4, 4]))).toThrow("weight 'w' is used as f32[4, 5] and as f32[4, 4]; one name has one shape.");
  });
  test('selecting looks through rows and merge', () => {
    const { b, x, s } = g(), v = rowSet(s, ['visual']), t = rowSet(s, ['text']), last = rowSet(s, ['text'], { last: true });
    const text = b.select(x, t), visual = b.op('silu', [b.select(x, v)]), all = b.merge([text, visual]);
    expect(printRows(all.type.rows!)).toBe('visual+text');
    expect(b.select(all, v)).toBe(visual);
    expect(b.select(x, allRows(s))).toBe(x);
    expect(b.select(b.select(all, t), last).inputs[0]).toBe(x);
    expect(() => b.select(text, v)).toThrow("f32[text, 4] has no rows 'visual'.");
    expect(() => b.merge([text, text])).toThrow("rows 'text' come twice.");
  });
  test('rewriting copies what is not replaced; sweeping drops what nobody reads', () => {
    const before = parseGraph('graph g {\n sequence tokens(text: T)\n input x: f32[text, 4] at prompt\n input unread: f32[text, 4] at prompt\n %0 = silu %x\n %1 = relu %0\n %2 = tanh %x\n return y = %1\n}');
    const after = rewrite(before, (n, inputs, b) => (n.op === 'silu' ? b.op('gelu', inputs) : undefined));
    verify(after);
    expect(printGraph(sweep(after))).toBe('graph g {\n  sequence tokens(text: T)\n  input x: f32[text, 4] at prompt\n\n  %0 = gelu %x : f32[text, 4]\n  %1 = relu %0 : f32[text, 4]\n  return y = %1\n}');
    expect(before.nodes).toHaveLength(3);
  });
  test('copying every node of a random graph changes nothing', () => {
    fc.assert(fc.property(randomCase(), ({ graph }) => {
      const copy = rewrite(graph, (n, inputs, b) => b.op(n.op, inputs, n.attrs, n));
      verify(copy);
      expect(printGraph(copy)).toBe(printGraph(graph));
    }), { numRuns: 20 });
  });
  test('inference checks the number of inputs and the attributes before the op looks at them', () => {
    const { b, x } = g();
    expect(() => inferType('add', [x.type], {}, b)).toThrow('takes 2 inputs, but was given 1.');
    expect(() => inferType('merge', [], {}, b)).toThrow('takes at least 1 input, but was given 0.');
    expect(() => inferType('scale', [x.type], { by: Infinity }, b)).toThrow("the attribute 'by' must be a finite number, not null.");
    expect(() => inferType('zeros', [], { rows: 'text', width: 0 }, b)).toThrow("the attribute 'width' must be an integer of at least 1, not 0.");
  });
});

describe('errors', () => {
  test('the nearest spelling', () => {
    expect([nearest('lienar', ['linear', 'scale']), nearest('Linear', ['linear']), nearest('xyz', ['linear']), nearest('viusal', ['visual', 'text'])]).toEqual(['linear', 'linear', undefined, 'visual']);
    expect(suggest('tex', ['text'], 'Known are')).toBe(" Did you mean 'text'? Known are: text.");
    expect(suggest('tex', [], 'Known are')).toBe(' Known are: none.');
  });
  test('a frame of the source, cut if the line is long', () => {
    expect(sourceFrame('one\r\n\ttwo three\n', { line: 2, column: 6 })).toBe('  2 |  two three\n    |      ^');
    const long = sourceFrame('x'.repeat(300) + 'Y' + 'x'.repeat(300), { line: 1, column: 301 }).split('\n');
    expect(long[0]!.length).toBeLessThan(180);
    expect(long[0]![long[1]!.indexOf('^')]).toBe('Y');
  });
});
