/** The mask language and what is proven about it. The file heads of this folder tell each part's idea. */
export { countPairs, maxEvaluations, type MaskSegment } from './count.ts';
export { evaluate, predicate, type TokenPredicate } from './eval.ts';
export {
  always, and, apply, bool, int, isOp, k, kind, never, not, operations, or, q, sameExpr, substitute, tokenFields, tokenNames, variable,
  type Constant, type MaskExpr, type MaskKind, type MaskType, type MaskValue, type Op, type Operation, type Token, type TokenField, type TokenName, type Variable,
} from './expr.ts';
export { evaluateInterval, evaluateRange, findOverflow, intervalRules, maxImages, maxTokens, rangeOf, type Machine, type Range, type TokenBlock, type TokenNumbers, type Truth } from './interval.ts';
export { parseMaskExpr } from './parse.ts';
export { printMaskExpr } from './print.ts';
export { classify, classTable, readsFuture, relations, staysInImage, usesAbsolutePosition, verdicts, type PairClass, type Relation, type Verdict, type Verdicts } from './prove.ts';
export { constantValue, simplify, specialise } from './simplify.ts';
