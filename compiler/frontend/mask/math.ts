/** `Math`: what a mask can do with tokens, and everything on constants. */
import type { Node } from 'ts-morph';
import type { MaskExpr } from '../../ir/mask/index.ts';
import { always, apply, int } from '../../ir/mask/index.ts';
import { at, unsupported } from './source.ts';
import type { Reader, Value } from './values.ts';
import { asExpr, plain, symbolic } from './values.ts';

/** Roundings of a quotient, by the one that rounds down. The divisor is positive. */
const roundings: Readonly<Record<string, (a: MaskExpr, by: number) => MaskExpr>> = {
  floor: (a, by) => apply('div', a, int(by)),
  ceil: (a, by) => apply('neg', apply('div', apply('neg', a), int(by))),
  trunc: (a, by) => apply('if', apply('ge', a, int(0)), roundings.floor!(a, by), roundings.ceil!(a, by)),
  /** Halves go up, as in JavaScript. */
  round: (a, by) => apply('div', apply('add', apply('mul', int(2), a), int(by)), int(2 * by)),
};

const symbolicCall = (reader: Reader, name: string, args: readonly Value[], node: Node): Value => {
  const [first] = args;
  const round = roundings[name];
  if (round && first && args.length === 1) return first.is === 'ratio' ? symbolic(round(first.dividend, first.divisor)) : symbolic(numberOf(reader, first, node));
  if (name === 'abs' && first && args.length === 1) return symbolic(apply('abs', numberOf(reader, first, node)));
  if (name === 'min' || name === 'max') return symbolic(args.map((a) => numberOf(reader, a, node)).reduce((a, b) => apply(name, a, b)));
  return unsupported(node, `A mask cannot use Math.${name}() on what depends on the tokens.`);
};

const numberOf = (reader: Reader, v: Value, node: Node): MaskExpr => {
  const e = asExpr(v, reader.kinds, node);
  if (e.type !== 'int') apply('if', always, int(0), e); // says that a number was expected
  return e;
};

/** The object `Math`. */
export const mathOf = (reader: Reader): Value => ({
  is: 'record', what: 'Math',
  get: (name) => {
    const member = (Math as unknown as Record<string, unknown>)[name];
    if (typeof member === 'number') return plain(member);
    if (typeof member !== 'function') return undefined;
    return {
      is: 'known', name: `Math.${name}`,
      call: (args, node) => {
        if (name === 'random') return unsupported(node, 'Math.random() says something else each time; a mask says the same of the same tokens.');
        const known = args.map((a) => (a.is === 'plain' ? Number(a.value) : undefined));
        if (known.every((x) => x !== undefined)) return plain((member as (...xs: number[]) => number)(...known as number[]));
        return at(node, () => symbolicCall(reader, name, args, node));
      },
    };
  },
});
