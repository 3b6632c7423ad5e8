import fc from 'fast-check';
import { expect, test } from 'vitest';
import { evaluate, evaluateInterval, printMaskExpr } from '../../compiler/ir/mask/index.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import type { Question } from '../support/masks-on-gpu.ts';
import { ask } from '../support/masks-on-gpu.ts';
import { anyMask, kinds, likelyMask } from '../support/random-masks.ts';

/** A token, and a block around it or elsewhere. */
const field = (least: number, most: number) => fc.tuple(fc.integer({ min: least, max: most }), fc.integer({ min: least, max: most }), fc.nat(8))
  .map(([at, lo, width]) => ({ at, lo, hi: lo + width }));
const side = fc.record({ kind: field(0, 2), pos: field(0, 40), index: field(0, 40), image: field(-1, 3) }).map((x) => {
  const pick = (of: 'at' | 'lo' | 'hi') => ({ kind: x.kind[of], pos: x.pos[of], index: x.index[of], image: x.image[of] });
  return { token: { ...pick('at'), kind: kinds[x.kind.at]!.name }, block: { lo: pick('lo'), hi: pick('hi') } };
});
const question: fc.Arbitrary<Question> = fc.tuple(side, side).map(([a, b]) => ({ q: a.token, k: b.token, qs: a.block, ks: b.block }));

test('a GPU answers for tokens and blocks what JavaScript does', async () => {
  const found = await findAdapter();
  const { device, close, check } = await found.open();
  for (let round = 0; round < 6; round++) {
    const masks = fc.sample(fc.oneof(anyMask, likelyMask), 30);
    const questions = fc.sample(question, 300);
    const answers = await ask(device, masks, questions, kinds);
    check();
    questions.forEach((x, i) => masks.forEach((e, j) => {
      const says = { allowed: evaluate(e, x.q, x.k), block: evaluateInterval(e, x.qs, x.ks) };
      expect(answers[i]![j], `${printMaskExpr(e)} for ${JSON.stringify(x)}`).toEqual(says);
    }));
  }
  close();
});
