/** What a session tells the kernels about its rows: spans of keys, new rows, the rows of towers, limits. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { placeTokens } from '../../compiler/ir/layout.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import type { Segment, SequenceDecl } from '../../runtime/context.ts';
import { checkCapacity, regionStarts, rowData, sameItem, spanData, towerSegments } from '../../runtime/context.ts';

const tokens: SequenceDecl = { name: 'tokens', kinds: [{ name: 'visual', media: true, dim: 'V', capacity: 10 }, { name: 'text', media: false, dim: 'T', capacity: 20 }] };
const text = (position: number, slot: number, length: number): Segment => ({ kind: 1, image: -1, position, slot, length });
const image = (number: number, position: number, slot: number, length: number): Segment => ({ kind: 0, image: number, position, slot, length });

describe('regions, spans and rows', () => {
  const prompt = [text(0, 0, 2), image(0, 2, 4, 3), text(5, 2, 4)];
  test('each kind has its region, in the order of the declaration', () => expect(regionStarts(tokens)).toEqual([0, 10]));
  test('a span: (slot, count, kind, image), (position, index, origin, 0)', () => {
    expect([...spanData(tokens, prompt)]).toEqual([10, 2, 1, -1, 0, 0, 0, 0, 4, 3, 0, 0, 2, 0, 2, 0, 12, 4, 1, -1, 5, 0, 5, 0]);
  });
  test('new rows: (position, kind, index, image), kind after kind', () => {
    const rows = rowData(tokens, [{ segment: prompt[0]!, from: 1, count: 1 }, { segment: prompt[1]!, from: 0, count: 3 }, { segment: prompt[2]!, from: 0, count: 2 }]);
    expect(Array.from({ length: 6 }, (_, i) => [...rows.slice(i * 4, i * 4 + 4)])).toEqual([[2, 0, 0, 0], [3, 0, 1, 0], [4, 0, 2, 0], [1, 1, 1, -1], [5, 1, 0, -1], [6, 1, 1, -1]]);
  });
  test('nothing is nothing', () => { expect([spanData(tokens, []).length, rowData(tokens, []).length]).toEqual([0, 0]); });
  test('a tower counts its positions through its kinds', () => {
    expect(towerSegments({ name: 'patches', kinds: [{ name: 'class', media: true, capacity: 1 }, { name: 'patch', media: true, capacity: 4 }] })).toEqual([
      { kind: 0, image: 0, position: 0, slot: 0, length: 1 }, { kind: 1, image: 0, position: 1, slot: 0, length: 4 },
    ]);
  });
});

test('rows carry the positions, indices and images that the interpreter gives the same layout', () => {
  const part = fc.record({ media: fc.boolean(), length: fc.integer({ min: 1, max: 5 }) });
  fc.assert(fc.property(fc.array(part, { maxLength: 7 }), (parts) => {
    const runs = parts.filter((p, i) => p.media || !(i && !parts[i - 1]!.media)); // neighbouring text is one run
    let position = 0, images = 0;
    const slots = [0, 0];
    const segments = runs.map(({ media, length }): Segment => {
      const kind = media ? 0 : 1, s = { kind, image: media ? images++ : -1, position, slot: slots[kind]!, length };
      position += length;
      slots[kind]! += length;
      return s;
    });
    const rows = rowData(tokens, segments.map((segment) => ({ segment, from: 0, count: segment.length })));
    let number = 0;
    const placed = placeTokens({ name: 'tokens', kinds: [{ name: 'visual', media: true, count: Poly.dim('V') }, { name: 'text', media: false, count: Poly.dim('T') }] },
      runs.map(({ media, length }) => (media ? { kind: 'visual', image: number++, length } : { kind: 'text', length })), false);
    const wanted = ['visual', 'text'].flatMap((name, kind) => placed.filter((t) => t.kind === name).map((t) => [t.pos, kind, t.index, t.image]));
    expect(Array.from({ length: rows.length / 4 }, (_, i) => [...rows.slice(i * 4, i * 4 + 4)])).toEqual(wanted);
  }));
});

test('more rows than there is room for are refused, with the option that makes room', () => {
  expect(() => checkCapacity(tokens, 1, 20)).not.toThrow();
  expect(() => checkCapacity(tokens, 1, 21)).toThrow('The conversation needs 21 text tokens, but this bundle was compiled for at most 20. Shorten the prompt, ask for fewer tokens or start a new conversation, or compile with --max-text 21 or more.');
  expect(() => checkCapacity(tokens, 0, 11)).toThrow('The conversation needs 11 visual tokens, but this bundle was compiled for at most 10. Use fewer or smaller images, or compile with --max-visual 11 or more.');
});

test('images are told apart by their key', () => {
  const a = { key: 'a', data: new Float32Array(1), rows: 1 }, b = { ...a, key: 'b' };
  expect([sameItem(a, { ...a }), sameItem(a, b), sameItem(3, 3), sameItem(3, a)]).toEqual([true, false, true, false]);
});
