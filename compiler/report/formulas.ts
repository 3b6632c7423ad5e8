/** The cost as formulas: one for each part of each variant, as MathML and as LaTeX to copy. */
import temml from 'temml';
import type { Part } from '../cost/conventions.ts';
import { partNames } from '../cost/conventions.ts';
import { latex, latexBlock } from '../cost/latex.ts';
import { readable } from '../cost/readable.ts';
import type { Poly } from '../ir/poly.ts';
import type { Markup } from './format.ts';
import { html, raw } from './format.ts';
import type { Study } from './study.ts';

const partLabels: Readonly<Record<Part, string>> = { vision: 'vision tower', projector: 'projector', decoder: 'decoder', head: 'head' };
const dimLabels: Readonly<Record<string, string>> = { V: 'visual tokens', T: 'text tokens', G: 'generated tokens', tiles: 'pictures that the vision tower sees', P: 'patches of each', images: 'images of the prompt' };

/** Formulas that are the same in every variant are written once. */
export interface FormulaGroup { readonly part: Part; readonly variants: readonly string[]; readonly formula: Poly }
export function formulaGroups({ variants }: Pick<Study, 'variants'>): FormulaGroup[] {
  return partNames.flatMap((part) => {
    const groups = new Map<string, { part: Part; variants: string[]; formula: Poly }>();
    for (const { name, formula } of variants) {
      const p = formula.parts[part], group = groups.get(p.toString()) ?? { part, variants: [], formula: p };
      groups.set(p.toString(), group);
      group.variants.push(name);
    }
    return [...groups.values()].filter((g) => !g.formula.isZero);
  });
}

export function formulasSection(study: Study): Markup {
  const groups = formulaGroups(study), dims = [...new Set(groups.flatMap((g) => g.formula.variables))], { convention, variants } = study;
  const open = dims.filter((d) => !(d in dimLabels));
  const nameOf = (g: FormulaGroup): string => `${partLabels[g.part]}${g.variants.length < variants.length ? `, ${g.variants.join(', ')}` : ''}`;
  return html`<dl class="formulas">${groups.map((g) => html`<div><dt>${nameOf(g)}</dt><dd tabindex="0" role="group" aria-label="${`Formula: ${nameOf(g)}`}">${raw(temml.renderToString(latex(g.formula), { displayMode: true, annotate: false }))}</dd></div>`)}</dl>
<p class="caption">FLOPs of a ${study.answers ? 'prefill' : 'pass'} in the convention ${convention.name}, exact at every size. ${dims.filter((d) => d in dimLabels).map((d, i) => html`${i ? '; ' : ''}<var>${d}</var>: ${dimLabels[d]!}`)}.${open.length ? ' ⌊ ⌋ rounds a share of rows down; N counts the pairs that a mask admits.' : ''}</p>
<details><summary>As text and as LaTeX</summary>
<pre tabindex="0">${groups.map((g) => `${nameOf(g)} = ${readable(g.formula)}`).join('\n')}</pre>
<pre tabindex="0">${latexBlock(groups.map((g) => [nameOf(g), g.formula] as const), [`FLOPs of a prefill of ${study.model}, convention ${convention.name}`])}</pre></details>`;
}
