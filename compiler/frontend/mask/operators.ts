/** Operators on values: JavaScript's own on what is known, expressions of the mask language on what depends on tokens. */
import type { Node } from 'ts-morph';
import type { MaskExpr, Op } from '../../ir/mask/index.ts';
import { apply, int } from '../../ir/mask/index.ts';
import { at, MaskError, unsupported } from './source.ts';
import type { Plain, Reader, Value } from './values.ts';
import { asBoolean, asExpr, plain, symbolic } from './values.ts';

const comparisons: Readonly<Record<string, Op>> = { '===': 'eq', '==': 'eq', '!==': 'ne', '!=': 'ne', '<': 'lt', '<=': 'le', '>': 'gt', '>=': 'ge' };
const arithmetic: Readonly<Record<string, Op>> = { '+': 'add', '-': 'sub', '*': 'mul', '%': 'mod' };

/** What JavaScript makes of two values that are both known. The casts hold for strings as well: so JavaScript has it. */
const javascript: Readonly<Record<string, (a: number, b: number) => Plain>> = {
  '+': (a, b) => a + b, '-': (a, b) => a - b, '*': (a, b) => a * b, '/': (a, b) => a / b, '%': (a, b) => a % b, '**': (a, b) => a ** b,
  '<<': (a, b) => a << b, '>>': (a, b) => a >> b, '>>>': (a, b) => a >>> b, '&': (a, b) => a & b, '|': (a, b) => a | b, '^': (a, b) => a ^ b,
  '<': (a, b) => a < b, '<=': (a, b) => a <= b, '>': (a, b) => a > b, '>=': (a, b) => a >= b,
  '===': (a, b) => a === b, '!==': (a, b) => a !== b,
  '==': (a, b) => a == b, '!=': (a, b) => a != b, // eslint-disable-line eqeqeq -- it is what the author wrote
};

/** `a op b` for everything but `&&`, `||` and `??`, which may not need their right side. */
export const binaryValues = (reader: Reader, op: string, a: Value, b: Value, node: Node): Value => {
  if (a.is === 'plain' && b.is === 'plain') {
    const compute = javascript[op];
    return compute ? plain(compute(a.value as number, b.value as number)) : unsupported(node, `A mask cannot use the operator '${op}'.`);
  }
  if (op in comparisons) return compareValues(reader, op, a, b, node);
  if (op === '/') return quotient(reader, a, b, node);
  const name = arithmetic[op];
  if (!name) return unsupported(node, `A mask cannot use the operator '${op}' on what depends on the tokens.`);
  const [x, y] = [asExpr(a, reader.kinds, node), asExpr(b, reader.kinds, node)];
  return at(node, () => symbolic(apply(name, x, y)));
};

const quotient = (reader: Reader, a: Value, b: Value, node: Node): Value => {
  if (b.is !== 'plain' || typeof b.value !== 'number' || b.value === 0) throw new MaskError(node, "A mask can divide only by a constant other than 0.");
  const dividend = asExpr(a, reader.kinds, node);
  const divisor = at(node, () => int(b.value as number)).value as number;
  if (dividend.type !== 'int') throw new MaskError(node, 'Only numbers can be divided.');
  return divisor < 0 ? { is: 'ratio', dividend: apply('neg', dividend), divisor: -divisor } : { is: 'ratio', dividend, divisor };
};

/** A comparison. Two fractions are compared by their products, which is exact. */
export const compareValues = (reader: Reader, op: string, a: Value, b: Value, node: Node): Value => {
  if (a.is === 'plain' && b.is === 'plain') return plain(javascript[op]!(a.value as number, b.value as number));
  const side = (v: Value, other: Value): MaskExpr => {
    const expr = v.is === 'ratio' ? v.dividend : asExpr(v, reader.kinds, node);
    return other.is === 'ratio' ? apply('mul', expr, int(other.divisor)) : expr;
  };
  return at(node, () => symbolic(apply(comparisons[op]!, side(a, b), side(b, a))));
};

export const unaryValue = (reader: Reader, op: string, a: Value, node: Node): Value => {
  if (a.is === 'plain') {
    const x = a.value as number;
    if (op === '-') return plain(-x);
    if (op === '+') return plain(+x);
    if (op === '!') return plain(!x);
    if (op === '~') return plain(~x);
  } else if (op === '!') {
    return symbolic(apply('not', asBoolean(a, reader.kinds, node)));
  } else if (op === '-' || op === '+') {
    if (a.is === 'ratio') return op === '+' ? a : { ...a, dividend: apply('neg', a.dividend) };
    const x = asExpr(a, reader.kinds, node);
    if (x.type !== 'int') throw new MaskError(node, `'${op}' takes a number.`);
    return op === '+' ? a : symbolic(apply('neg', x));
  }
  return unsupported(node, `A mask cannot use the operator '${op}' here.`);
};

/** `test ? a : b`, where the test depends on the tokens. */
export const choose = (reader: Reader, test: MaskExpr, a: Value, b: Value, node: Node): Value => {
  const [x, y] = [asExpr(a, reader.kinds, node), asExpr(b, reader.kinds, node)];
  return at(node, () => symbolic(apply('if', test, x, y)));
};
