/**
 * Masks as WGSL: the predicate for a pair of tokens, and what it does to a block of them.
 *
 * A token is a `vec4<i32>` of (pos, kind, index, image), where a kind is its place in the sequence's declaration. The
 * block function runs the rules of compiler/ir/mask/interval.ts on text instead of numbers, so that a kernel skips
 * exactly the blocks for which `evaluateInterval` answers `none`, and drops the predicate where it answers `all`. Both
 * agree with JavaScript as long as no part leaves 32 bits, which `findOverflow` decides.
 */
import type { MaskExpr, TokenField } from '../ir/mask/expr.ts';
import { operations } from '../ir/mask/expr.ts';
import type { Machine } from '../ir/mask/interval.ts';
import { intervalRules, rangeOf } from '../ir/mask/interval.ts';

const component: Readonly<Record<TokenField, string>> = { pos: 'x', kind: 'y', index: 'z', image: 'w' };

/** What the block function returns. */
export const blockNone = 0;
export const blockSome = 1;
export const blockAll = 2;

const literal = (n: number): string => (n >= 0 ? `${n}i` : `(-${-n}i)`);

/** WGSL divides towards zero; a mask rounds down. */
const floorDiv = (name: string): string => `${name}_floor_div`;
const floorDivFn = (name: string): string => `fn ${floorDiv(name)}(a: i32, by: i32) -> i32 {
  return a / by - select(0i, 1i, a % by < 0i);
}
`;

/**
 * `fn name(q: vec4<i32>, k: vec4<i32>) -> bool`: whether query `q` attends to key `k`. A helper that it needs is named
 * after it.
 */
export const maskPredicateWgsl = (expr: MaskExpr, name: string): string => {
  const body = text(expr, name);
  return `${body.includes(floorDiv(name)) ? floorDivFn(name) : ''}fn ${name}(q: vec4<i32>, k: vec4<i32>) -> bool {\n  return ${body};\n}\n`;
};

const text = (e: MaskExpr, name: string): string => {
  if (e.is === 'constant') return e.type === 'bool' ? String(e.value) : literal(e.ordinal ?? (e.value as number));
  if (e.is === 'variable') return `${e.token}.${component[e.field]}`;
  const [a, b, c] = e.args.map((x) => text(x, name)) as [string, string, string];
  switch (e.op) {
    case 'not': case 'neg': return `(${operations[e.op].symbol}${a})`;
    case 'abs': return `abs(${a})`;
    case 'min': case 'max': return `${e.op}(${a}, ${b})`;
    case 'div': return rangeOf(e.args[0]!).lo >= 0 ? `(${a} / ${b})` : `${floorDiv(name)}(${a}, ${b})`;
    case 'if': return `select(${c}, ${b}, ${a})`;
    default: return `(${a} ${operations[e.op].symbol} ${b})`;
  }
};

/** A value of the generated code: a constant, or the text of a WGSL expression without side effects. */
type Int = number | string;
type Truth = boolean | string;

/** The machine that writes code: each result that is not constant becomes a `let`, equal results share one. */
const codeMachine = (name: string): Machine<Int, Truth> & { readonly lines: string[] } => {
  const lines: string[] = [];
  const names = new Map<string, string>();
  const define = (code: string): string => {
    let known = names.get(code);
    if (!known) {
      names.set(code, (known = `t${names.size}`));
      lines.push(`  let ${known} = ${code};`);
    }
    return known;
  };
  const show = (x: Int | Truth): string => (typeof x === 'number' ? literal(x) : String(x));
  /** `fold` where both are constants, code otherwise. */
  const on = (a: Int, b: Int, fold: (a: number, b: number) => number, code: (a: string, b: string) => string): Int =>
    (typeof a === 'number' && typeof b === 'number' ? fold(a, b) : define(code(show(a), show(b))));
  return {
    lines,
    int: (v) => v,
    add: (a, b) => (a === 0 ? b : b === 0 ? a : on(a, b, (x, y) => x + y, (x, y) => `${x} + ${y}`)),
    mul: (a, b) => (a === 1 ? b : b === 1 ? a : on(a, b, (x, y) => x * y, (x, y) => `${x} * ${y}`)),
    div: (a, by) => (typeof a === 'number' ? Math.floor(a / by) : define(`${floorDiv(name)}(${a}, ${literal(by)})`)),
    mod: (a, by) => (typeof a === 'number' ? a % by : define(`${a} % ${literal(by)}`)),
    min: (a, b) => (a === b ? a : on(a, b, Math.min, (x, y) => `min(${x}, ${y})`)),
    max: (a, b) => (a === b ? a : on(a, b, Math.max, (x, y) => `max(${x}, ${y})`)),
    choose: (t, a, b) => (typeof t === 'boolean' ? (t ? a : b) : a === b ? a : define(`select(${show(b)}, ${show(a)}, ${t})`)),
    bool: (v) => v,
    le: (a, b) => (typeof a === 'number' && typeof b === 'number' ? a <= b : define(`${show(a)} <= ${show(b)}`)),
    and: (a, b) => (typeof a === 'boolean' ? a && b : typeof b === 'boolean' ? b && a : a === b ? a : define(`${a} && ${b}`)),
    or: (a, b) => (typeof a === 'boolean' ? a || b : typeof b === 'boolean' ? b || a : a === b ? a : define(`${a} || ${b}`)),
    not: (a) => (typeof a === 'boolean' ? !a : define(`!${a}`)),
  };
};

/**
 * `fn name(qlo, qhi, klo, khi: vec4<i32>) -> u32`: 2 if the predicate holds for all pairs of queries between `qlo` and
 * `qhi` and keys between `klo` and `khi` (field by field, both included), 0 if for none, 1 if it must be asked pair by pair.
 */
export const maskBlockWgsl = (expr: MaskExpr, name: string): string => {
  const machine = codeMachine(name);
  const { must, may } = intervalRules(machine, (v) => ({ lo: `${v.token}lo.${component[v.field]}`, hi: `${v.token}hi.${component[v.field]}` })).truth(expr);
  const body = [...machine.lines, `  return select(select(${blockNone}u, ${blockSome}u, ${may}), ${blockAll}u, ${must});`].join('\n');
  return `${body.includes(floorDiv(name)) ? floorDivFn(name) : ''}fn ${name}(qlo: vec4<i32>, qhi: vec4<i32>, klo: vec4<i32>, khi: vec4<i32>) -> u32 {\n${body}\n}\n`;
};
