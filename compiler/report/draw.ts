/**
 * Drawing with Observable Plot without a browser: the marks are made in a document of linkedom and serialised. Panels are put
 * side by side into one SVG, so that a figure is one picture however many charts it has.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { colour } from './palette.ts';
import { escapeHtml } from './format.ts';

const { document } = parseHTML('<html></html>');

/** A picture: SVG elements in one group, and the size in CSS pixels of the place that they fill. */
export interface Drawing { readonly group: string; readonly width: number; readonly height: number }

/** The picture as an `svg` element with further attributes, and elements before it such as its description. */
export const svgOf = ({ group, width, height }: Drawing, attributes: string, first = ''): string =>
  `<svg ${attributes} width="${width}" height="${round(height)}" viewBox="0 0 ${width} ${round(height)}">${first}${group}</svg>`;

export const fonts = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Open Sans', 'DejaVu Sans', sans-serif";
const fontSize = 12;

/** Draws a chart. Text is in the soft colour unless a mark says otherwise. */
export function chart(options: Plot.PlotOptions & { readonly width: number; readonly height: number }): Drawing {
  const svg = Plot.plot({ ...options, document: document as unknown as Document, style: { fontSize: `${fontSize}px`, color: colour('soft') } });
  svg.querySelector('style')?.remove();
  // Plot's own names of marks ("line", "dot") say nothing to a listener; the figure has a text of its own.
  for (const e of svg.querySelectorAll('[aria-label]')) e.removeAttribute('aria-label');
  const inside = svg.innerHTML.replace(/\d+\.\d{3,}/g, (n) => String(round(Number(n))));
  return { group: `<g fill="currentColor" color="${colour('soft')}" font-family="${fonts}" font-size="${fontSize}" text-anchor="middle">${inside}</g>`, width: options.width, height: options.height };
}

/** Text in a drawing of one's own. */
export interface TextStyle { readonly size?: number; readonly weight?: number; readonly anchor?: 'start' | 'middle' | 'end'; readonly fill?: string }
export const text = (x: number, y: number, content: string, { size = fontSize, weight = 400, anchor = 'start', fill = colour('soft') }: TextStyle = {}): string =>
  `<text x="${round(x)}" y="${round(y)}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${fill}">${escapeHtml(content)}</text>`;
export const round = (x: number): number => Math.round(x * 100) / 100;

/** A drawing out of SVG elements. */
export const drawing = (width: number, height: number, ...elements: readonly string[]): Drawing =>
  ({ width, height, group: `<g font-family="${fonts}" font-size="${fontSize}">${elements.join('')}</g>` });

export interface Panel { readonly title?: string; readonly note?: string; readonly of: Drawing }
/** Panels in rows, each under its title, `columns` to a row. */
export function panels(all: readonly Panel[], width: number, columns: number, gap = 24): Drawing {
  const titled = all.some((p) => p.title !== undefined), noted = all.some((p) => p.note !== undefined), head = (titled ? 20 : 0) + (noted ? 16 : 0);
  const cell = (width - gap * (columns - 1)) / columns;
  let y = 0, out = '';
  for (let i = 0; i < all.length; i += columns) {
    const row = all.slice(i, i + columns);
    row.forEach((p, j) => {
      const x = j * (cell + gap);
      if (p.title !== undefined) out += text(x, y + 13, p.title, { size: 13, weight: 600, fill: colour('ink') });
      if (p.note !== undefined) out += text(x, y + (titled ? 30 : 13), p.note, { size: 11 });
      out += `<g transform="translate(${round(x)} ${round(y + head)})">${p.of.group}</g>`;
    });
    y += head + Math.max(...row.map((p) => p.of.height)) + (i + columns < all.length ? gap : 0);
  }
  return drawing(width, y, out);
}
