/** Random predicates, sequences and blocks for the property tests of masks. */
import fc from 'fast-check';
import type { MaskExpr, MaskKind, Op, Token, TokenField } from '../../compiler/ir/mask/index.ts';
import { apply, bool, int, k, kind, q, variable } from '../../compiler/ir/mask/index.ts';
import type { MaskSegment } from '../../compiler/ir/mask/index.ts';

export const kinds: readonly MaskKind[] = [{ name: 'visual', hasImages: true }, { name: 'text', hasImages: false }, { name: 'audio', hasImages: true }];
export const twoKinds = kinds.slice(0, 2);

const intField = fc.constantFrom<TokenField>('pos', 'index', 'image', 'pos');
const token = fc.constantFrom('q' as const, 'k' as const);
const leaf = fc.oneof(fc.tuple(token, intField).map(([t, f]): MaskExpr => variable(t, f)), fc.integer({ min: -3, max: 9 }).map(int));
const kindValue = fc.oneof(token.map((t): MaskExpr => variable(t, 'kind')), fc.constantFrom(...twoKinds).map((x): MaskExpr => kind(twoKinds, x.name)));

const binary = (ops: Op[], a: fc.Arbitrary<MaskExpr>, b: fc.Arbitrary<MaskExpr> = a) => fc.tuple(fc.constantFrom(...ops), a, b).map(([op, x, y]) => apply(op, x, y));

/** Anything that the language can say, up to a small depth. */
export const anyMask: fc.Arbitrary<MaskExpr> = fc.letrec<{ int: MaskExpr; bool: MaskExpr }>((tie) => ({
  int: fc.oneof({ maxDepth: 3, depthIdentifier: 'd' },
    leaf,
    binary(['add', 'sub', 'sub', 'min', 'max'], tie('int')),
    binary(['mul'], leaf, leaf),
    binary(['div', 'mod'], tie('int'), fc.constantFrom(-3, 2, 3, 4, 7).map((n): MaskExpr => int(n))),
    fc.tuple(fc.constantFrom<Op>('neg', 'abs'), tie('int')).map(([op, x]) => apply(op, x)),
    fc.tuple(tie('bool'), tie('int'), tie('int')).map(([c, x, y]) => apply('if', c, x, y))),
  bool: fc.oneof({ maxDepth: 4, depthIdentifier: 'd' },
    binary(['lt', 'le', 'gt', 'ge', 'eq', 'ne'], leaf),
    binary(['eq', 'ne'], kindValue),
    binary(['lt', 'le', 'gt', 'ge', 'eq', 'ne'], tie('int')),
    binary(['and', 'or', 'and', 'or', 'eq', 'ne'], tie('bool')),
    tie('bool').map((x) => apply('not', x)),
    fc.tuple(tie('bool'), tie('bool'), tie('bool')).map(([c, x, y]) => apply('if', c, x, y)),
    fc.boolean().map(bool)),
})).bool;

/** The parts that masks are made of in practice, joined by and, or, not and conditionals: many of them are provable. */
const atoms: readonly MaskExpr[] = [
  apply('le', k.pos, q.pos), apply('lt', k.pos, q.pos), apply('eq', k.pos, q.pos), apply('ge', k.pos, q.pos),
  apply('eq', q.image, k.image), apply('lt', q.image, k.image), apply('eq', q.index, k.index), apply('le', k.index, q.index),
  apply('lt', apply('sub', q.pos, k.pos), int(3)), apply('le', apply('abs', apply('sub', q.pos, k.pos)), int(0)),
  apply('eq', apply('sub', q.pos, q.index), apply('sub', k.pos, k.index)),
  apply('le', apply('div', k.pos, int(2)), apply('div', q.pos, int(2))),
  apply('eq', apply('mod', apply('sub', q.pos, k.pos), int(2)), int(0)),
  ...(['q', 'k'] as const).map((t) => apply('eq', variable(t, 'kind'), kind(twoKinds, 'text'))), apply('eq', q.kind, k.kind),
];
export const likelyMask: fc.Arbitrary<MaskExpr> = fc.letrec<{ mask: MaskExpr }>((tie) => ({
  mask: fc.oneof({ maxDepth: 3 },
    fc.constantFrom(...atoms),
    binary(['and', 'or'], tie('mask')),
    tie('mask').map((x) => apply('not', x)),
    fc.tuple(fc.constantFrom(...atoms), tie('mask'), tie('mask')).map(([c, x, y]) => apply('if', c, x, y))),
})).mask;

/** Segments in order: images at the front, in the middle, several, none; runs of text; single tokens; empty ones too. */
export const segmentList = (of: readonly MaskKind[] = kinds): fc.Arbitrary<MaskSegment[]> =>
  fc.array(fc.record({ kind: fc.constantFrom(...of), length: fc.integer({ min: 0, max: 5 }) }), { maxLength: 5 }).map((parts) => {
    let start = 0; let image = 0;
    return parts.map(({ kind, length }) => {
      const s = { kind: kind.name, image: kind.hasImages ? image++ : -1, start, length };
      start += length;
      return s;
    });
  });

export const tokensOf = (segments: readonly MaskSegment[]): Token[] =>
  segments.flatMap((s) => Array.from({ length: s.length }, (_, i) => ({ kind: s.kind, pos: s.start + i, index: (s.index ?? 0) + i, image: s.image })));

/** Layouts that every mask is tried on besides random ones. */
export const fixedLayouts: readonly MaskSegment[][] = [
  [['visual', 4], ['text', 3]], [['text', 2], ['visual', 4], ['text', 3]], [['text', 1], ['visual', 3], ['text', 1], ['visual', 3], ['text', 2]],
  [['visual', 3], ['visual', 2], ['text', 2]], [['text', 5]], [['text', 1]], [['visual', 1]], [['text', 2], ['visual', 0], ['text', 1]], [],
].map((parts) => {
  let start = 0; let image = 0;
  return (parts as [string, number][]).map(([kind, length]) => {
    const s = { kind, image: kind === 'text' ? -1 : image++, start, length };
    start += length;
    return s;
  });
});
