/** The page: one file that needs nothing else, with every figure drawn for a desk and for a phone. */
import { readFileSync } from 'node:fs';
import { svgOf } from './draw.ts';
import type { Figure, LegendEntry, Table } from './figure.ts';
import { widths } from './figure.ts';
import type { Markup } from './format.ts';
import { amount, change, exact, html, plural, raw } from './format.ts';
import { paletteCss, seriesColour } from './palette.ts';
import type { Study } from './study.ts';

const beside = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8').trim();

/** A part of the page under a heading of its own. */
export interface Section { readonly id: string; readonly title: string; readonly lead?: readonly string[]; readonly body: Markup }

export const figureSection = (f: Figure): Section => ({ id: f.id, title: f.title, lead: f.lead, body: figureMarkup(f) });

/** The whole page as text. */
export function page(study: Study, sections: readonly Section[], version: string): string {
  const { model, sizesText, convention, answers } = study, title = `What ${model} costs`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${raw(paletteCss())}
${raw(beside('./page.css'))}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the figures</a>
<header>
<h1>${title}</h1>
<p class="lead">${answers ? 'A prefill' : 'One pass'} with ${sizesText}, ${study.variants.length > 1 ? `in ${study.variants.length} variants of the same model side by side` : 'read off the graph that is compiled'}. Every number is read off the model's graph; none comes from a formula of its own.</p>
<p class="hint">Convention <code>${convention.name}</code>: ${convention.says}</p>
<ul class="cards">${study.variants.map((v, i) => html`<li><span class="key" style="background:${seriesColour(i)}" aria-hidden="true"></span><span class="name">${v.name}</span> <span class="total"><strong>${amount(v.cost.total, 'FLOP')}</strong> <span class="note">${i ? change(v.cost.total, study.variants[0]!.cost.total) : 'baseline'}</span></span></li>`)}</ul>
<nav aria-label="Figures"><ol>${sections.map((s) => html`<li><a href="#${s.id}">${s.title}</a></li>`)}</ol></nav>
</header>
<main id="main" tabindex="-1">
${sections.map((s) => html`<section id="${s.id}" aria-labelledby="${s.id}-title">
<h2 id="${s.id}-title">${s.title}</h2>
${s.lead?.length && (s.lead.length === 1 ? html`<p class="finding">${s.lead}</p>` : html`<ul class="finding">${s.lead.map((x) => html`<li>${x}</li>`)}</ul>`)}
${s.body}
</section>
`)}</main>
<footer><p>Made by eemllm ${version} with</p><pre tabindex="0">${study.command}</pre></footer>
<script>
${raw(beside('./page.js'))}
</script>
</body>
</html>
`.text;
}

function figureMarkup(f: Figure): Markup {
  const drawn = (['wide', 'narrow'] as const).map((size) => {
    // Lines of text in a drawing are read one by one by nobody: the drawing has its own words. On a phone nothing hovers, so nothing needs a title.
    const svg = svgOf(f.draw(widths[size]), `class="${size}" role="img" aria-labelledby="${f.id}-alt-${size}" focusable="false"`, html`<desc id="${f.id}-alt-${size}">${f.alt}</desc>`.text);
    return raw(size === 'narrow' ? svg.replace(/<title>[^<]*<\/title>/g, '') : svg);
  });
  return html`<figure data-name="${f.id}">
${f.legend && f.legend.length > 1 && legend(f.legend)}
<div class="drawing">${drawn}</div>
<figcaption>${f.caption}</figcaption>
</figure>
<details><summary>The data as a table <span class="note">(${plural(f.table.rows.length, 'row')})</span></summary>${tableMarkup(f.table, `Data of the figure “${f.title}”`)}</details>`;
}

const legend = (entries: readonly LegendEntry[]): Markup => html`<ul class="legend">${entries.map(({ colour, label, dash }) => html`<li>${dash === undefined
  ? html`<span class="key" style="background:${colour}" aria-hidden="true"></span>`
  : html`<svg class="line" width="18" height="8" aria-hidden="true"><path d="M0 4H18" stroke="${colour}" stroke-width="2.5" stroke-dasharray="${dash}"/></svg>`}${label}</li>`)}</ul>`;

/** A table that scrolls by itself where the page is narrow. Cells that are no number or share read left. */
export function tableMarkup({ head, rows }: Table, caption: string): Markup {
  const numeric = head.map((_h, i) => rows.every((r) => /^[−+±\d–][\d,.\s]*( ?[%a-zµA-Z/]+)?$/.test(r[i] ?? '–')));
  return html`<div class="scroll" tabindex="0" role="group" aria-label="${caption}"><table><thead><tr>${head.map((h, i) => html`<th scope="col"${numeric[i] && i > 0 ? raw(' class="number"') : ''}>${h}</th>`)}</tr></thead>
<tbody>${rows.map((r) => html`<tr>${r.map((c, i) => (i === 0 ? html`<th scope="row">${c}</th>` : html`<td${numeric[i] ? raw(' class="number"') : ''}>${c}</td>`))}</tr>
`)}</tbody></table></div>`;
}

/** The sizes that were asked for, one row each: what every variant costs there. */
export function sizesSection({ bySize: { label, points }, variants }: Study): Section | undefined {
  const asked = points.filter((p) => p.asked);
  if (asked.length < 2) return undefined;
  return {
    id: 'sizes', title: 'At the sizes asked for',
    body: tableMarkup({
      head: [label, 'visual tokens', ...variants.flatMap((v, i) => (i ? [v.name, 'change'] : [v.name]))],
      rows: asked.map((p) => [exact(p.x), exact(p.visual), ...p.costs.flatMap((c, i) => (i ? [amount(c.total, 'FLOP'), change(c.total, p.costs[0]!.total)] : [amount(c.total, 'FLOP')]))]),
    }, 'Cost of every variant at the sizes asked for'),
  };
}
