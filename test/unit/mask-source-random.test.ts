import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lowerMask } from '../../compiler/frontend/mask/lower.ts';
import type { MaskExpr } from '../../compiler/ir/mask/index.ts';
import { evaluate, findOverflow, isOp, printMaskExpr } from '../../compiler/ir/mask/index.ts';
import { anyMask, fixedLayouts, kinds, likelyMask, tokensOf } from '../support/random-masks.ts';

/** The expression as TypeScript; `name` spells the fields of the tokens. */
const source = (e: MaskExpr, name: (token: string, field: string) => string): string => {
  const of = (x: MaskExpr): string => source(x, name);
  if (e.is === 'constant') return e.type === 'kind' ? `'${e.value}'` : `(${e.value})`;
  if (e.is === 'variable') return name(e.token, e.field);
  const [a, b, c] = e.args.map(of) as [string, string, string];
  switch (e.op) {
    case 'not': return `!${a}`;
    case 'neg': return `(-${a})`;
    case 'abs': case 'min': case 'max': return `Math.${e.op}(${e.args.map(of).join(', ')})`;
    case 'div': return `Math.floor(${a} / ${b})`;
    case 'if': return `(${a} ? ${b} : ${c})`;
    default: return `(${a} ${{ add: '+', sub: '-', mul: '*', mod: '%', lt: '<', le: '<=', gt: '>', ge: '>=', eq: '===', ne: '!==', and: '&&', or: '||' }[e.op]} ${b})`;
  }
};
const dotted = (token: string, field: string): string => `${token}.${field}`;

/** Ways in which somebody might write the same predicate; each gives a declaration of `name`. */
const styles: readonly ((name: string, e: MaskExpr) => string)[] = [
  (name, e) => `export const ${name} = (q: T, k: T): boolean => ${source(e, dotted)};`,
  (name, e) => `export function ${name}({ kind: qkind, pos: qpos, index: qindex, image: qimage }: T, k: T): boolean {\n  return ${source(e, (t, f) => (t === 'q' ? `q${f}` : `k.${f}`))};\n}`,
  (name, e) => `export const ${name} = (q: T, k: T): boolean => {\n${statements(e)}\n};`,
  (name, e) => `const ${name}_inner = (to: T, from: T): boolean => ${source(e, (t, f) => (t === 'q' ? `from.${f}` : `to.${f}`))};\nexport const ${name} = (q: T, k: T): boolean => ${name}_inner(k, q);`,
  (name, e) => {
    const numbers: number[] = [];
    const body = source(e, dotted).replace(/\((-?\d+)\)/g, (_, n: string) => `n[${numbers.push(Number(n)) - 1}]!`);
    return `const ${name}_made = (n: readonly number[]) => (q: T, k: T): boolean => ${body};\nexport const ${name} = ${name}_made([${numbers.join(', ')}]);`;
  },
];
const statements = (e: MaskExpr): string => {
  if (isOp(e, 'if')) return `  if (${source(e.args[0]!, dotted)}) {\n${statements(e.args[1]!)}\n  } else {\n${statements(e.args[2]!)}\n  }`;
  if (isOp(e, 'and')) return `  if (!${source(e.args[0]!, dotted)}) return false;\n${statements(e.args[1]!)}`;
  return `  const { pos: here } = q, there = k.pos;\n  return ${source(e, (t, f) => (f === 'pos' ? (t === 'q' ? 'here' : 'there') : dotted(t, f)))};`;
};

test('a predicate in any style is read as what it computes', async () => {
  const drawn = fc.sample(fc.tuple(fc.oneof(anyMask, likelyMask), fc.nat(styles.length - 1)), 150).filter(([e]) => !findOverflow(e));
  const file = join(mkdtempSync(join(tmpdir(), 'masks-')), 'random.ts');
  writeFileSync(file, `interface T { readonly kind: string; readonly pos: number; readonly index: number; readonly image: number }\n${drawn.map(([e, style], i) => styles[style]!(`mask${i}`, e)).join('\n')}\n`);
  const module = await import(/* @vite-ignore */ pathToFileURL(file).href) as Record<string, (...args: never[]) => unknown>;
  const tokens = fixedLayouts.flatMap(tokensOf);
  drawn.forEach(([e], i) => {
    const lowered = lowerMask({ fn: module[`mask${i}`]!, kinds });
    for (const q of tokens) for (const k of tokens) if (evaluate(lowered, q, k) !== evaluate(e, q, k)) expect.fail(`${printMaskExpr(e)} was read as ${printMaskExpr(lowered)}.`);
  });
  expect(drawn.length).toBeGreaterThan(50);
}, 60_000);
