/** The formulas of `eemllm flops`: readable ones, and LaTeX for a paper. */
import type { Poly } from '../../ir/poly.ts';
import { partNames } from '../../cost/conventions.ts';
import { latexBlock } from '../../cost/latex.ts';
import { readable } from '../../cost/readable.ts';
import type { VariantCost } from './costs.ts';
import type { Head } from './report.ts';

type Named = readonly [name: string, formula: Poly];

/** By part of the prompt, and of the tokens after it; else the groups of the table. */
function formulasOf({ formula, decode, groups }: VariantCost, { by, convention }: Head): Named[] {
  if (by !== 'part') return groups.flatMap((g): Named[] => (g.formula.isZero ? [] : [[g.name, g.formula]]));
  const prompt = partNames.map((p): Named => [p, formula.parts[p]]), total: Named = [`total (${convention.total.join(' + ')})`, decode ? formula.total.add(decode.total) : formula.total];
  return [...prompt, ...(decode ? partNames.flatMap((p): Named[] => (decode.parts[p].isZero ? [] : [[`${p}, decode`, decode.parts[p]]])) : []), total];
}

/** What the letters of some formulas stand for. */
function legend(formulas: readonly Named[]): string {
  const dims = new Set(formulas.flatMap(([, p]) => p.variables)), open = [...dims].some((d) => d.startsWith('pairs('));
  const said = [['V', 'visual tokens'], ['T', 'text tokens'], ['G', 'tokens decoded after the prompt'], ['tiles', 'pictures that the vision tower sees'], ['P', 'patches of each']] as const;
  return [
    ...said.flatMap(([d, text]) => (dims.has(d) ? [`${d}: ${text}`] : [])),
    ...(open ? ['pairs(mask:query>key): pairs of query and key that the mask admits, counted at given sizes'] : []),
    ...([...dims].some((d) => d.startsWith('floor(')) ? ['floor(…): rounded down'] : []),
  ].join('; ');
}

export function formulaText(head: Head, costs: readonly VariantCost[]): string {
  return costs.map((c) => {
    const list = formulasOf(c, head), width = Math.max(0, ...list.map(([name]) => name.length)), said = legend(list);
    return [`${c.name}, FLOPs, convention ${head.convention.name}${said ? ` (${said})` : ''}:`, ...list.map(([name, p]) => `  ${name.padEnd(width)} = ${readable(p)}`)].join('\n');
  }).join('\n\n') + '\n';
}

export const formulaLatex = (head: Head, costs: readonly VariantCost[]): string => costs.map((c) => {
  const list = formulasOf(c, head), said = legend(list);
  return latexBlock(list, [`${head.model}, variant ${c.name}; FLOPs, convention ${head.convention.name}: ${head.convention.says}`, ...(said ? [said] : [])]);
}).join('\n\n') + '\n';

/** The same by name, as JSON holds them: polynomials that `Poly.parse` reads. */
export const formulaJson = (head: Head, c: VariantCost, write: (p: Poly) => string = String): Record<string, string> =>
  Object.fromEntries(formulasOf(c, head).map(([name, p]) => [name, write(p)]));
